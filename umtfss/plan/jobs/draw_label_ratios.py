"""The job of the rule `draw_label_ratios`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class DrawLabelRatios(Job):
    """Draw the curves of Table 2 from the table's CSV."""

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "DrawLabelRatios":
        """The job, which has no settings."""
        return cls()
