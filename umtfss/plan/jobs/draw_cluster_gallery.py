"""The job of the rule `draw_cluster_gallery`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.data.source import DatasetSource
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class DrawClusterGallery(Job):
    """Draw the most central regions of a pool's clusters, and measure the clusters' purity.

    Attributes:
        datasets: Data sets of the pool's images.
    """

    datasets: tuple[DatasetSource, ...]

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "DrawClusterGallery":
        """The job of the pool `wildcards.pool`."""
        return cls(tuple(plan.paths.sources(plan.experiment.pools[wildcards.pool].images)))
