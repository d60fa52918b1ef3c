"""The job of the rule `cluster_objects`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.experiment.clustering import ClusteringConfig
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class ClusterObjects(Job):
    """Cluster the salient objects of a pool's images.

    Attributes:
        level: Level of the features that are cut and averaged.
        clusters: N.
        settings: Iterations and seed.
    """

    level: str
    clusters: int
    settings: ClusteringConfig

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "ClusterObjects":
        """The job of the pool `wildcards.pool`."""
        experiment, pool = plan.experiment, wildcards.pool
        clusters = experiment.pools[pool].clusters
        assert clusters is not None  # the experiment refuses a training pool without clusters
        level = experiment.features[experiment.clustered_features(pool)].level
        return cls(level, clusters, experiment.clustering)
