"""The choice of a run, by its name or by trial: it finds each support by the others best."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from umtfss.common.errors import DataError
from umtfss.plan.cells import floor_features, matcher_run
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.predict.segmenter import Segmenter
from umtfss.predict.supports import Support

PROTOTYPE = "prototype"  # the training-free matcher, on the floor's features


def run_named(plan: Plan, name: str) -> RunSpec:
    """The run of a name; empty: the trained run that most cells share.

    Args:
        plan: The plan of the experiment.
        name: A path that `umtfss plan` prints, or `PROTOTYPE`.

    Raises:
        ConfigError: The experiment has no such run.
    """
    if name == PROTOTYPE:
        return replace(matcher_run(plan.experiment), features=floor_features(plan.experiment))
    return plan.runs.run_at(name) if name else plan.runs.main_run


def both_runs(plan: Plan) -> list[RunSpec]:
    """What is tried: the trained run that most cells share, and the matcher."""
    return [run_named(plan, ""), run_named(plan, PROTOTYPE)]


@dataclass(frozen=True)
class Tried:
    """A segmenter, tried on the supports.

    Attributes:
        name: What it is called, e.g. the path of its run.
        segmenter: The segmenter, fitted to all supports.
        ious: Object -> IoU of each of its supports, found by its other supports.
    """

    name: str
    segmenter: Segmenter
    ious: dict[str, list[float]]

    @property
    def iou(self) -> float:
        """The mean over objects of the mean over supports."""
        return mean_iou(self.ious)


def try_runs(
    plan: Plan,
    runs: Iterable[RunSpec],
    supports: Sequence[Support],
    mask_value: int | None = None,
    device: torch.device | str = "cpu",
) -> list[Tried]:
    """Try runs on the supports, the best first (see `best_first`).

    Args:
        plan: The plan of the experiment.
        runs: The runs, trained or training-free.
        supports: Photos and masks of every object, two or more of each.
        mask_value: The object's value in the masks; None: every value but 0.
        device: Where backbone and meta-learner run.

    Raises:
        DataError: An object has one support alone.
        StoreError: A run has not been trained.
    """
    check_several([one.name for one in supports])
    segmenters = {run.path: Segmenter.of_run(plan, run, device) for run in runs}
    for one in segmenters.values():
        one.fit(*zip(*supports, strict=True), mask_value=mask_value)
    return best_first(segmenters)


def best_first(segmenters: Mapping[str, Segmenter]) -> list[Tried]:
    """The segmenters, the best first; of equals the one that was named first.

    Args:
        segmenters: Name -> segmenter, all fitted to the same supports, two or more of each object.
    """
    tried = [Tried(name, one, one.leave_one_out()) for name, one in segmenters.items()]
    return sorted(tried, key=lambda one: -one.iou)


def verdict(tried: Sequence[Tried]) -> str:
    """Which segmenter is used, and the scores that decide, e.g. for a terminal.

    Args:
        tried: From `best_first`.
    """
    best, *others = (f"{one.name}: {100 * one.iou:.1f}" for one in tried)
    return f"IoU of each support, found by the others: {best}, used; {', '.join(others)}"


def mean_iou(ious: Mapping[str, Sequence[float]]) -> float:
    """The mean over objects of the mean over supports.

    Args:
        ious: Object -> IoU of each of its supports.
    """
    means = [sum(own) / len(own) for own in ious.values()]
    return sum(means) / len(means)


def check_several(names: Sequence[str]) -> None:
    """Refuse objects with one support alone.

    Args:
        names: The object of every support.

    Raises:
        DataError: An object has one support alone.
    """
    if alone := sorted(name for name in set(names) if names.count(name) == 1):
        raise DataError(
            f"the best run cannot be found for {', '.join(alone)}",
            expected="two supports or more of each object: each is searched with the others",
            found="one support",
            fix="add a support, or name the run with --run",
        )
