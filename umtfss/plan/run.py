"""A run (one trained model) and a measurement (one tested fold)."""

from dataclasses import dataclass, replace

from umtfss.experiment.block import ALL_LABELS

TESTED_ALONE = ("superpixels",)  # model keys that training knows nothing of


@dataclass(frozen=True, order=True)
class RunSpec:
    """A distinct model: how it is trained, and on what.

    Attributes:
        model: Meta-learner, e.g. "umtfss"; "prototype" is the training-free floor.
        pool: What it is trained on: an unlabelled pool, or with tasks "sup" a labelled data set;
            of a model without training: empty.
        tasks: Task source: "unsup" (pseudo-tasks), "saliency" (two halves of the salient
            region of one image), "sup" (labelled base classes) or "none" (training-free).
        fold: "all", or "fold0" .. "fold3": only images with a base class of that fold.
        ratio: Percent of the training images whose labels are read; for tasks "sup".
        init: Unlabelled pool of the meta-training that the weights come from; empty: scratch.
        overrides: (model key, value) where the run differs from the experiment's model block.
        seed: Training seed.
        features: Named features that it reads; empty: those of the experiment's model block.
    """

    model: str
    pool: str = ""
    tasks: str = "none"
    fold: str = "all"
    ratio: int = ALL_LABELS
    init: str = ""
    overrides: tuple[tuple[str, str | float], ...] = ()
    seed: int = 0
    features: str = ""

    @property
    def is_trained(self) -> bool:
        """Whether the model has weights of its own."""
        return self.tasks != "none"

    @property
    def trained_as(self) -> "RunSpec":
        """The run whose weights it has: it may differ from that by how it is tested."""
        kept = tuple(one for one in self.overrides if one[0] not in TESTED_ALONE)
        return replace(self, overrides=kept)

    def seeded(self, count: int) -> tuple["RunSpec", ...]:
        """The same run trained with `count` seeds, its own the first; once if training-free."""
        seeds = range(self.seed, self.seed + count) if self.is_trained else [self.seed]
        return tuple(replace(self, seed=seed) for seed in seeds)

    @property
    def initial(self) -> "RunSpec | None":
        """The run whose weights training starts from; none: from scratch."""
        if not self.init:
            return None
        return RunSpec(
            self.model,
            self.init,
            "unsup",
            overrides=self.overrides,
            seed=self.seed,
            features=self.features,
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
        tasks = [f"{self.tasks}-{self.fold}"] if self.is_trained else []
        return "/".join(filter(None, [self.pool, self.model, *tasks, "+".join(variant)]))


@dataclass(frozen=True, order=True)
class Measurement:
    """One number: a run tested on one fold of a data set.

    Attributes:
        run: The model.
        dataset: Data set tested.
        fold: Fold tested, 0 to 3.
        shot: K.
        seeds: Number of episode seeds averaged: seeds 0 .. seeds - 1.
    """

    run: RunSpec
    dataset: str
    fold: int
    shot: int
    seeds: int
