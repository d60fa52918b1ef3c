"""The job of the rule `map_pool`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.experiment.features import DiffusionConfig
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class MapPool(Job):
    """Map the segments of an unlabelled pool.

    Attributes:
        level: Level that is diffused.
        settings: Numbers of segments, links and channels.
    """

    level: str
    settings: DiffusionConfig

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "MapPool":
        """The job of the named features `wildcards.diffused`."""
        name = wildcards.diffused
        return cls(plan.features.extracted(name).level, plan.experiment.diffused[name].diffusion)
