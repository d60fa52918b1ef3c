"""The job of the rule `draw_table4_heatmap`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class DrawTable4Heatmap(Job):
    """Draw Table 4 as a heat map from the table's CSV."""

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "DrawTable4Heatmap":
        """The job, which has no settings."""
        return cls()
