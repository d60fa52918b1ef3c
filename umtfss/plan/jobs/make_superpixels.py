"""The job of the rule `make_superpixels`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.data.source import DatasetSource
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class MakeSuperpixels(Job):
    """Find the superpixels of a shard of a split's images.

    Attributes:
        dataset: Data set of the images.
        shard: Number of the shard, from 0.
        shards: Number of shards of a split.
        scale: Felzenszwalb scale.
        sigma: Felzenszwalb smoothing, px.
        min_size: Smallest superpixel, px.
    """

    dataset: DatasetSource
    shard: int
    shards: int
    scale: float
    sigma: float
    min_size: int

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "MakeSuperpixels":
        """The job of the shard `wildcards.shard` of images of `wildcards.dataset`."""
        experiment = plan.experiment
        settings = experiment.pseudo_masks
        return cls(
            dataset=plan.paths.source(wildcards.dataset),
            shard=int(wildcards.shard),
            shards=experiment.extraction.shards,
            scale=settings.scale,
            sigma=settings.sigma,
            min_size=settings.min_size,
        )
