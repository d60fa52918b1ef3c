"""A run (one trained model) and a measurement (one tested fold)."""

from dataclasses import dataclass, replace
from enum import StrEnum

from umtfss.experiment.block import ALL_LABELS


class TaskSource(StrEnum):
    """The source of the tasks of a meta-training; the values are parts of paths."""

    CLUSTERS = "unsup"  # regions of clusters: pseudo-tasks
    SALIENCY = "saliency"  # two halves of the salient region of one image
    LABELS = "sup"  # labelled base classes
    NONE = "none"  # no tasks: training-free


@dataclass(frozen=True)
class RunSpec:
    """A run: one model with its training.

    Attributes:
        model: Meta-learner, e.g. "umtfss"; "prototype" is the training-free matcher.
        pool: The unlabelled pool of the training; for a training on labels, the data set; empty
            for a training-free model.
        tasks: Source of the training tasks.
        fold: 0 to 3: training uses only images with a base class of this fold; None: all images.
        ratio: Percent of the training images whose labels are read.
        init: Unlabelled pool of the meta-training whose weights the training starts from; empty:
            from scratch.
        overrides: (model key, value) where the run differs from the experiment's model block.
        seed: Training seed.
        features: Named features that the model reads; empty: the features of the model block.
    """

    model: str
    pool: str = ""
    tasks: TaskSource = TaskSource.NONE
    fold: int | None = None
    ratio: int = ALL_LABELS
    init: str = ""
    overrides: tuple[tuple[str, str | float], ...] = ()
    seed: int = 0
    features: str = ""

    @property
    def is_trained(self) -> bool:
        """Whether the model is trained."""
        return self.tasks is not TaskSource.NONE

    @property
    def tasks_of_fold(self) -> str:
        """The part of paths for tasks and fold, e.g. "unsup-all" or "sup-fold0"."""
        return f"{self.tasks}-{'all' if self.fold is None else f'fold{self.fold}'}"

    def seeded(self, count: int) -> tuple["RunSpec", ...]:
        """The run with `count` training seeds from its own on; one run if training-free."""
        seeds = range(self.seed, self.seed + count) if self.is_trained else [self.seed]
        return tuple(replace(self, seed=seed) for seed in seeds)

    @property
    def initial(self) -> "RunSpec | None":
        """The run whose weights the training starts from; None: from scratch."""
        if not self.init:
            return None
        return replace(
            self,
            pool=self.init,
            tasks=TaskSource.CLUSTERS,
            fold=None,
            ratio=ALL_LABELS,
            init="",
        )

    @property
    def path(self) -> str:
        """The run's readable path below training/ and evaluation/."""
        variant = [f"seed{self.seed}" if self.is_trained else "training_free"]
        if self.features:
            variant.append(f"features={self.features}")
        if self.ratio != ALL_LABELS:
            variant.append(f"labels={self.ratio}")
        if self.init:
            variant.append(f"init={self.init}")
        variant += [f"{key}={value}" for key, value in self.overrides]
        tasks = [self.tasks_of_fold] if self.is_trained else []
        return "/".join(filter(None, [self.pool, self.model, *tasks, "+".join(variant)]))


@dataclass(frozen=True)
class EvaluationSpec:
    """One evaluation: a run tested on a data set with K shots, folds and seeds together.

    Attributes:
        run: The model.
        dataset: Tested data set.
        shot: K.
        folds: Tested folds.
        seeds: Number of episode seeds.
        refine: Steps of `evaluation.refine` that are applied to the scores.
    """

    run: RunSpec
    dataset: str
    shot: int
    folds: tuple[int, ...]
    seeds: int
    refine: tuple[str, ...] = ()


@dataclass(frozen=True)
class Measurement:
    """One number: a run tested on one fold of a data set.

    Attributes:
        run: The model.
        dataset: Tested data set.
        fold: Tested fold, 0 to 3.
        shot: K.
        seeds: Number of episode seeds that are averaged: seeds 0 .. seeds - 1.
        refine: Steps of `evaluation.refine` that are applied to the scores.
    """

    run: RunSpec
    dataset: str
    fold: int
    shot: int
    seeds: int
    refine: tuple[str, ...] = ()


def evaluation_file(one: EvaluationSpec | Measurement) -> str:
    """The file below evaluation/ of an evaluation, or of the evaluation with a measurement."""
    refined = f"-{'+'.join(one.refine)}" if one.refine else ""
    return f"{one.run.path}/{one.dataset}-{one.shot}shot{refined}.json"
