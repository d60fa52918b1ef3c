"""The job of the rule `draw_cluster_gallery`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.data.source import DatasetSource
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class DrawClusterGallery(Job):
    """Draw the most central regions of a pool's clusters, and say how pure clusters are.

    Attributes:
        datasets: Where the pool's images are read.
        regions: Regions drawn for each cluster.
    """

    datasets: tuple[DatasetSource, ...]
    regions: int

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "DrawClusterGallery":
        """The job of the pool `wildcards.pool`."""
        experiment = plan.experiment
        datasets = plan.sources(experiment.pools[wildcards.pool].images)
        return cls(tuple(datasets), experiment.clustering.gallery_regions)
