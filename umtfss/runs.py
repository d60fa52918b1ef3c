"""The vocabulary of the plan: a run (one trained model) and a measurement (one tested fold)."""

from dataclasses import dataclass

FOLDS = (0, 1, 2, 3)

# Every meta-learner: its file in umtfss/models -> the class in it, which is also its title.
MODELS = {
    "umtfss": "UMTFSS",
    "pfenet": "PFENet",
    "cyctr": "CyCTR",
    "masksplit": "MaskSplit",
    "prototype": "PrototypeMatcher",
}


@dataclass(frozen=True, order=True)
class RunSpec:
    """A distinct model: how it is trained, and on what.

    Attributes:
        model: Meta-learner, e.g. "umtfss"; "prototype" is the training-free floor.
        pool: Unlabelled pool, e.g. "pascal"; empty for a model without training.
        tasks: Task source: "unsup" (pseudo-tasks) or "none" (training-free).
        fold: "all", or "fold0" .. "fold3": only images with a base class of that fold.
        overrides: (model key, value) where the run differs from the experiment's model block.
        seed: Training seed.
    """

    model: str
    pool: str = ""
    tasks: str = "none"
    fold: str = "all"
    overrides: tuple[tuple[str, str | int], ...] = ()
    seed: int = 0

    @property
    def is_trained(self) -> bool:
        """Whether the model has weights of its own."""
        return self.tasks != "none"

    @property
    def path(self) -> str:
        """The run's readable path below training/ and evaluation/."""
        if not self.is_trained:
            return f"{self.model}/training_free"
        variant = "+".join(
            [f"seed{self.seed}", *(f"{key}={value}" for key, value in self.overrides)]
        )
        return f"{self.pool}/{self.model}/{self.tasks}-{self.fold}/{variant}"


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
