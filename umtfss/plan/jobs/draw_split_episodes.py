"""The job of the rule `draw_split_episodes`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.data.splits import ClassPresence
from umtfss.experiment.training import TrainingLength
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class DrawSplitEpisodes(Job):
    """Draw the episodes of a pool whose query and supports are one image each.

    Attributes:
        key: Names the draw; part of every draw.
        seed: Episode seed.
        classes: Data set -> the classes of which its images must hold one to be used; none: all
            images are used, and no label is read.
        length: Shots, and how many episodes are drawn.
    """

    key: str
    seed: int
    classes: dict[str, ClassPresence] | None
    length: TrainingLength

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "DrawSplitEpisodes":
        """The job of the pool `wildcards.pool`, `wildcards.fold` and `wildcards.seed`."""
        pool, fold = wildcards.pool, wildcards.fold
        return cls(
            key=f"train/{pool}/saliency-{fold}",
            seed=int(wildcards.seed),
            classes=plan.runs.fold_classes(pool, fold),
            length=plan.runs.split_stage(pool).length,
        )
