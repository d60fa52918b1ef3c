"""The job of the rule `picture_episodes`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.plan.jobs.evaluate_run import EvaluateRun
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class PictureEpisodes(Job):
    """Picture test episodes as the main run and the training-free floor segment them.

    Attributes:
        run: The 1-shot evaluation of the main run.
        floor: The 1-shot evaluation of the floor on the same episodes.
    """

    run: EvaluateRun
    floor: EvaluateRun

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "PictureEpisodes":
        """The job of the experiment."""
        return cls(
            EvaluateRun.of_spec(plan, plan.runs.panel),
            EvaluateRun.of_spec(plan, plan.runs.panel_floor),
        )

    @property
    def modules(self) -> tuple[str, ...]:
        """The modules of both models."""
        return tuple(dict.fromkeys((*self.run.modules, *self.floor.modules)))
