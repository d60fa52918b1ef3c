"""The job of the rule `draw_qualitative_panel`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from umtfss.plan.jobs.evaluate_run import EvaluateRun

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class DrawQualitativePanel(EvaluateRun):
    """Draw predictions of one evaluation beside supports and true masks."""

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> Self:
        """The job of the panel of the plan."""
        return cls.of_spec(plan, plan.runs.panel)
