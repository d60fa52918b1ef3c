"""The job of the rule `diffuse_features`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class DiffuseFeatures(Job):
    """Diffuse one shard of a split's features; the map holds the settings."""

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "DiffuseFeatures":
        """The job of any shard."""
        return cls()
