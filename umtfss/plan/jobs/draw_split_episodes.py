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
    """Draw the split episodes of a pool: one image is the query and all supports.

    Attributes:
        key: Name of the draw, which keys every random choice.
        seed: Episode seed.
        classes: Data set -> classes; an image is used if it holds one of them. None: all images
            are used, and no label is read.
        length: Shots and number of episodes.
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
