"""The job of the rule `draw_base_episodes`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from umtfss.experiment.training import TrainingLength
from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class DrawBaseEpisodes(Job):
    """Draw the labelled training episodes of a fold's base classes at one label ratio.

    Attributes:
        key: Name of the draw, which keys every random choice.
        seed: Seed of the episodes and of the choice of labelled images.
        ratio: Labelled part of the images, percent.
        classes: Base classes of the fold.
        left_out: Classes whose images are not used; empty if images with novel classes are kept.
        min_area: px that a class must cover to count as present.
        shot: K.
        lengths: Lengths of the trainings that read the episodes; enough are drawn for the longest.
    """

    key: str
    seed: int
    ratio: int
    classes: tuple[int, ...]
    left_out: tuple[int, ...]
    min_area: int
    shot: int
    lengths: tuple[TrainingLength, ...]

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "DrawBaseEpisodes":
        """The job of the data set, fold, ratio and seed of `wildcards`."""
        name, ratio = wildcards.dataset, int(wildcards.ratio)
        settings, fold = plan.experiment.datasets[name], int(wildcards.fold.removeprefix("fold"))
        stages, source = plan.runs.label_stages(name), plan.paths.source(name)
        excluded = plan.experiment.episodes.novel_images == "exclude"
        return cls(
            key=f"train/{name}/sup-{wildcards.fold}-labels{ratio}",
            seed=int(wildcards.seed),
            ratio=ratio,
            classes=source.base_classes(fold),
            left_out=source.novel_classes(fold) if excluded else (),
            min_area=settings.min_class_area,
            shot=stages[0].shot,  # the experiment refuses stages with different shots
            lengths=tuple(stage.length for stage in stages),
        )
