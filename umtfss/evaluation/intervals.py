"""Bootstrap intervals of mIoU over episodes (protocol section 6).

Shapes: R resamples, E episodes. The episodes of every class of every fold are resampled with
replacement among themselves, so that no class vanishes; a mean over folds resamples all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from umtfss.evaluation.miou import EpisodeScores, summarise
from umtfss.randomness import generator

RESAMPLES = 1000
COVERAGE = 0.95
CHUNK = 4_000_000
NOT_COUNTED = -1  # no class
Metric = Literal["miou", "class_means"]


@dataclass(frozen=True)
class Interval:
    """A value and its bootstrap percentile interval, fractions.

    Attributes:
        value: The estimate from all episodes.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


def miou_interval(
    folds: Sequence[EpisodeScores],
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    metric: Metric = "miou",
) -> Interval:
    """The mean over folds of the mIoU (or of another metric), and its interval.

    Args:
        folds: One entry per fold, seeds pooled.
        resamples: R.
        coverage: Of the interval, e.g. 0.95.
        metric: "miou", or "class_means": the mean over classes of their episodes' mean IoU.
    """
    value = float(np.mean([getattr(summarise(fold), metric) for fold in folds]))
    parts = [_resampled([fold], k, resamples, metric)[0] for k, fold in enumerate(folds)]
    return _interval(value, np.mean(parts, axis=0), coverage)


def contrast_interval(
    terms: Sequence[tuple[int, Sequence[EpisodeScores]]],
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
) -> Interval:
    """A weighted sum of several models' mIoU on the same episodes, and the sum's interval.

    All are resampled alike, so that what the episodes have in common cancels out.

    Args:
        terms: (weight, one entry per fold, seeds pooled) of each model.
        resamples: R.
        coverage: Of the interval.

    Raises:
        ValueError: The episodes differ.
    """
    counts = [len(folds) for _, folds in terms]
    if len(set(counts)) != 1:
        raise ValueError(f"expected the same folds, but got {' and '.join(map(str, counts))}")
    values, drawn = [], []
    for k in range(counts[0]):
        models = [folds[k] for _, folds in terms]
        if not all(_same_episodes(models[0], model) for model in models[1:]):
            raise ValueError(
                f"expected identical episodes in both, but they differ in entry {k} "
                f"({' and '.join(str(len(model)) for model in models)} episodes)"
            )
        weights = [weight for weight, _ in terms]
        means = [summarise(model).miou for model in models]
        values.append(sum(w * mean for w, mean in zip(weights, means, strict=True)))
        parts = _resampled(models, k, resamples)
        drawn.append(np.tensordot(weights, parts, axes=1))
    return _interval(float(np.mean(values)), np.mean(drawn, axis=0), coverage)


def _same_episodes(one: EpisodeScores, other: EpisodeScores) -> bool:
    """Whether classes and labelled pixels agree, episode by episode."""
    return np.array_equal(one.class_id, other.class_id) and np.array_equal(
        one.bg_intersection + one.union, other.bg_intersection + other.union
    )


def _resampled(
    models: Sequence[EpisodeScores], entry: int, resamples: int, metric: Metric = "miou"
) -> list[np.ndarray]:
    """The fold's metric in every resample, (R,) per model; all models see the same resamples."""
    random = generator("bootstrap", entry)
    class_id = models[0].class_id
    if metric == "class_means":  # it leaves out episodes whose union is 0
        class_id = np.where(models[0].union > 0, class_id, NOT_COUNTED)
    classes = np.setdiff1d(class_id, NOT_COUNTED)
    total = [np.zeros(resamples) for _ in models]
    for label in classes:
        rows = np.flatnonzero(class_id == label)
        columns = [
            (scores.intersection[rows].astype(float), scores.union[rows].astype(float))
            for scores in models
        ]
        step = max(1, CHUNK // len(rows))
        for start in range(0, resamples, step):
            stop = min(start + step, resamples)
            drawn = random.integers(len(rows), size=(stop - start, len(rows)), dtype=np.int32)
            for place, (intersection, union) in enumerate(columns):
                if metric == "miou":
                    total[place][start:stop] += intersection[drawn].sum(1) / union[drawn].sum(1)
                else:
                    total[place][start:stop] += (intersection / union)[drawn].mean(1)
    return [values / len(classes) for values in total]


def _interval(value: float, drawn: np.ndarray, coverage: float) -> Interval:
    low, high = np.quantile(drawn, [(1 - coverage) / 2, (1 + coverage) / 2])
    return Interval(value, float(low), float(high))
