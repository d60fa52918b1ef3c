"""The job of the rule `cluster_pixels`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.experiment.clustering import ClusteringConfig
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class ClusterPixels(Job):
    """Cluster the pixel embeddings of a pool.

    Attributes:
        level: Level of the features.
        clusters: N.
        settings: Sizes, iterations and seed.
    """

    level: str
    clusters: int
    settings: ClusteringConfig

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "ClusterPixels":
        """The job of the pool `wildcards.pool`."""
        experiment, pool = plan.experiment, wildcards.pool
        clusters = experiment.pools[pool].clusters
        assert clusters is not None  # the experiment refuses a training pool without clusters
        level = experiment.features[experiment.clustered_features(pool)].level
        return cls(level, clusters, experiment.clustering)
