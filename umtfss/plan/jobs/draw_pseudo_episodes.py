"""The job of the rule `draw_pseudo_episodes`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.data.splits import ClassPresence
from umtfss.experiment.training import TrainingLength
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class DrawPseudoEpisodes(Job):
    """Draw the pseudo-episodes of a pool.

    Attributes:
        key: Name of the draw, which keys every random choice.
        seed: Episode seed.
        classes: Data set -> classes; an image is used if it holds one of them. None: all images
            are used, and no label is read.
        length: Shots and number of episodes.
        max_border: Largest border ratio of clusters that make episodes; None: no limit.
    """

    key: str
    seed: int
    classes: dict[str, ClassPresence] | None
    length: TrainingLength
    max_border: float | None

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "DrawPseudoEpisodes":
        """The job of the pool `wildcards.pool`, `wildcards.fold` and `wildcards.seed`."""
        pool, fold = wildcards.pool, wildcards.fold
        pixels = pool in plan.experiment.pools_of("pixels")
        return cls(
            key=f"train/{pool}/unsup-{fold}",
            seed=int(wildcards.seed),
            classes=plan.runs.fold_classes(pool, fold),
            length=plan.experiment.training[pool].length,
            max_border=plan.experiment.episodes.max_border if pixels else None,
        )
