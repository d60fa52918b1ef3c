"""The job of the rule `draw_test_episodes`."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from umtfss.plan.jobs.job import Job

if TYPE_CHECKING:
    from umtfss.plan.plan import Plan


@dataclass(frozen=True)
class EpisodeFile:
    """One file of test episodes.

    Attributes:
        classes: Novel classes of the fold.
        seed: Episode seed.
        key: Name of the draw, which keys every random choice.
    """

    classes: tuple[int, ...]
    seed: int
    key: str


@dataclass(frozen=True)
class DrawTestEpisodes(Job):
    """Draw the test episodes of a data set for every fold and seed.

    Attributes:
        files: The episode files, in the order of the rule's outputs.
        shot: K.
        count: Number of episodes in a file.
        draw: The kind of draw.
        min_area: px that a class must cover to count as present.
        rare_classes: Treatment of a class with fewer than K + 1 images.
    """

    files: tuple[EpisodeFile, ...]
    shot: int
    count: int
    draw: Literal["class_uniform", "list_order"]
    min_area: int
    rare_classes: Literal["refuse", "leave_out"]

    @classmethod
    def of(cls, plan: "Plan", wildcards: Any) -> "DrawTestEpisodes":
        """The job of `wildcards.shot` supports an episode on the data set `wildcards.dataset`."""
        name, shot = wildcards.dataset, int(wildcards.shot)
        settings, source = plan.experiment.datasets[name], plan.paths.source(name)
        files = tuple(
            EpisodeFile(
                classes=source.novel_classes(fold),
                seed=seed,
                key=f"test/{name}/fold{fold}/{shot}shot/seed{seed}",
            )
            for fold in plan.experiment.tables.folds
            for seed in range(plan.runs.test_seeds)
        )
        return cls(
            files=files,
            shot=shot,
            count=settings.test_episodes,
            draw=plan.experiment.episodes.draw,
            min_area=settings.min_class_area,
            rare_classes=settings.rare_classes,
        )
