"""The job of the rule `make_object_masks`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class MakeObjectMasks(Job):
    """Find the object of every image of a shard, and its cluster.

    Attributes:
        level: Level of the features that are cut and averaged.
    """

    level: str

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "MakeObjectMasks":
        """The job of the pool `wildcards.pool`."""
        experiment = plan.experiment
        return cls(experiment.features[experiment.assigned_features(wildcards.pool)].level)
