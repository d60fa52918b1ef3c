"""The job of the rule `index_split`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.common.digests import digest_listing
from umtfss.data.source import DatasetSource
from umtfss.experiment.datasets import ExpectedCounts
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class IndexSplit(Job):
    """Verify the images and masks of a split, and list their contents.

    Attributes:
        dataset: The data set.
        split: The split.
        expected: The counts that the experiment expects.
        listing: Digest of names and sizes of the user's own files, so that new files are noticed;
            empty for drawn or downloaded files, which have a marker.
    """

    dataset: DatasetSource
    split: str
    expected: ExpectedCounts
    listing: str

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "IndexSplit":
        """The job of the split `wildcards.split` of the data set `wildcards.dataset`."""
        name, split = wildcards.dataset, wildcards.split
        marked = plan.paths.raw_marker(name)
        listing = "" if marked else digest_listing(plan.paths.dataset_root(name))
        expected = plan.experiment.datasets[name].expected(split)
        return cls(plan.paths.source(name), split, expected, listing)
