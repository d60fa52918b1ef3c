"""The job of the rule `draw_qualitative_panel`."""

from dataclasses import dataclass

from umtfss.plan.jobs.evaluate_run import BesideFloor


@dataclass(frozen=True)
class DrawQualitativePanel(BesideFloor):
    """Draw predictions of the run and of the floor beside supports and true masks."""
