"""The job of the rule `download_dataset`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.data.source import DatasetSource
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class DownloadDataset(Job):
    """Fetch the official files of a data set.

    Attributes:
        dataset: The data set, with the folder for its files.
    """

    dataset: DatasetSource

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "DownloadDataset":
        """The job of the data set `wildcards.dataset`."""
        return cls(plan.paths.source(wildcards.dataset))
