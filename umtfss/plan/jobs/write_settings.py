"""The job of the rule `write_settings`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class WriteSettings(Job):
    """Write the settings of the experiment.

    Attributes:
        settings: The experiment with all defaults filled in.
    """

    settings: dict[str, Any]

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "WriteSettings":
        """The job of the experiment."""
        return cls(plan.experiment.model_dump(mode="json"))
