"""Intervals of mIoU over test episodes and training seeds.

Shapes: R resamples, E episodes, n training seeds.

All n trainings of a model are tested on the same episodes. The value of training s, the mean over
folds of the metric, is

    y_s = mu + e + t_s + i_s

where e is the common effect of the drawn episodes on all trainings, t_s the effect of the seed on
training s, and i_s the effect of the drawn episodes on training s alone. The reported mean over s
has the variance Var(e) + (Var(t) + Var(i)) / n. The two terms are estimated separately:

* The variance of y_s over the seeds estimates Var(t) + Var(i); the common effect e cancels out. The
  half-width is Student's, with n - 1 degrees of freedom.
* The bootstrap resamples the episodes with replacement, separately in every class of every fold, so
  no class vanishes. All trainings have the same resamples. The covariance of two trainings over the
  resamples estimates Var(e); the effects i_s are not part of it, so no variance counts twice. The
  half-widths are the percentiles of the resampled mean, scaled to the variance Var(e).

The two half-widths are added in squares (Howe, 1974, Approximate confidence limits on the mean of
X + Y where X and Y are two tabled independent random variables). With one training the interval is
the bootstrap's alone, and covers the draw of episodes but not the training.

Coverage of the 95 % interval, and how often the paired test finds a difference where there is none,
in 4,000 simulations each (the test of this module repeats n = 5):

| variance of seeds / of episodes | n = 2 | n = 3 | n = 5 | n = 10 |
|---|---|---|---|---|
| 0 | 98.7 %, 4.8 % | 96.6 %, 4.9 % | 95.3 %, 4.7 % | 94.4 %, 4.5 % |
| 1 | 98.3 %, 4.6 % | 97.5 %, 4.6 % | 96.4 %, 4.0 % | 95.1 %, 4.3 % |
| 4 | 97.2 %, 5.1 % | 96.8 %, 5.0 % | 96.2 %, 5.3 % | 95.7 %, 5.2 % |

A rank correlation has no such sum: its interval holds the percentiles of resamples that draw the
episodes, the same for all models, and the trainings of every model, both with replacement.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtrit  # scipy.stats takes far longer to import

from umtfss.common.randomness import generator
from umtfss.evaluation.miou import EpisodeScores, summarise
from umtfss.experiment.evaluation import Metric

RESAMPLES = 1000
COVERAGE = 0.95
CHUNK = 4_000_000
NOT_COUNTED = -1  # marks an episode that belongs to no class
Trainings = Sequence[Sequence[EpisodeScores]]  # training seed -> fold -> episode seeds pooled


@dataclass(frozen=True)
class Interval:
    """A value and its interval, as fractions.

    Attributes:
        value: The estimate from all episodes, the mean over training seeds.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Term:
    """One summand of a contrast.

    Attributes:
        weight: Factor of the term.
        trainings: Counts of every training; a single entry, used for all seeds, if nothing is
            trained.
        tested: Name of the test. Terms with the same name share their episodes and resamples; terms
            with different names are resampled independently.
    """

    weight: float
    trainings: Trainings
    tested: str = ""


def miou_interval(
    trainings: Trainings,
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    metric: Metric = "miou",
) -> Interval:
    """The mean of a metric over training seeds and folds, with its interval.

    Args:
        trainings: For every training seed, the counts of every fold, with episode seeds pooled.
        resamples: R.
        coverage: Coverage of the interval, e.g. 0.95.
        metric: "miou", or "class_means": the mean over classes of the mean IoU of their episodes.
    """
    terms = [Term(1, trainings)]
    return contrast_interval(terms, resamples=resamples, coverage=coverage, metric=metric)


def contrast_interval(
    terms: Sequence[Term],
    *,
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
    metric: Metric = "miou",
) -> Interval:
    """A weighted sum of the metrics of several models, with its interval.

    The sum is computed for every training seed, on the same resampled episodes for all models. So
    effects of episodes or seeds that the models share cancel out.

    Args:
        terms: The models with their weights.
        resamples: R.
        coverage: Coverage of the interval.
        metric: As in `miou_interval`.

    Raises:
        ValueError: Folds, episodes or the numbers of trainings differ.
    """
    trained = {len(term.trainings) for term in terms} - {1}
    folds = {len(training) for term in terms for training in term.trainings}
    if len(trained) > 1 or 0 in trained:
        raise ValueError(f"expected the same number of training seeds, but got {sorted(trained)}")
    if len(folds) != 1:
        raise ValueError(f"expected the same folds, but got {sorted(folds)}")
    count, number = max(trained, default=1), folds.pop()
    values, drawn = np.zeros(count), np.zeros((count, resamples))
    for tested in dict.fromkeys(term.tested for term in terms):
        shared = [term for term in terms if term.tested == tested]
        weights = np.hstack([_weights(term, count) for term in shared])
        for k in range(number):
            models = [training[k] for term in shared for training in term.trainings]
            means, of_fold = _fold(models, tested, k, resamples, metric)
            values += weights @ means / number
            drawn += weights @ of_fold / number
    return _interval(values, drawn, coverage)


def rank_interval(
    models: Sequence[Trainings],
    printed: Sequence[float],
    *,
    tested: str = "",
    resamples: int = RESAMPLES,
    coverage: float = COVERAGE,
) -> Interval:
    """Spearman's rank correlation of the mIoU of models with numbers in print, with its interval.

    Args:
        models: The trainings of every model, tested on the same episodes.
        printed: A number for every model.
        tested: Name of the test, as in `Term`.
        resamples: R.
        coverage: Coverage of the interval.

    Raises:
        ValueError: Episodes differ.
    """
    trainings = [training for model in models for training in model]
    parts = [
        _fold([training[k] for training in trainings], tested, k, resamples, "miou")
        for k in range(len(trainings[0]))
    ]
    values = np.mean([of_fold for of_fold, _ in parts], axis=0)
    drawn = np.mean([of_fold for _, of_fold in parts], axis=0)
    means, redrawn, first = [], [], 0
    for place, model in enumerate(models):
        own = slice(first, first := first + len(model))
        random = generator("bootstrap", tested, "trainings", place)
        chosen = random.integers(len(model), size=(len(model), resamples))
        means.append(values[own].mean(keepdims=True))
        redrawn.append(np.take_along_axis(drawn[own], chosen, 0).mean(0))
    (value,) = _rank_correlation(printed, np.stack(means))
    sides = ((1 - coverage) / 2, (1 + coverage) / 2)
    low, high = np.quantile(_rank_correlation(printed, np.stack(redrawn)), sides)
    return Interval(float(value), float(low), float(high))


def _rank_correlation(printed: Sequence[float], measured: np.ndarray) -> np.ndarray:
    """Spearman's correlation of numbers with each column of (models, R), (R,)."""
    from scipy.stats import rankdata  # takes far longer to import than all of this module

    one, other = rankdata(printed)[:, None], rankdata(measured, axis=0)
    one, other = one - one.mean(), other - other.mean(0)
    size = np.sqrt((one**2).sum() * (other**2).sum(0))
    found: np.ndarray = (one * other).sum(0) / size
    return found


def _fold(
    models: Sequence[EpisodeScores], tested: str, k: int, resamples: int, metric: Metric
) -> tuple[np.ndarray, np.ndarray]:
    """The metric of every model on a fold, (models,), and in every resample, (models, R).

    Raises:
        ValueError: Episodes differ.
    """
    if not all(_same_episodes(models[0], model) for model in models[1:]):
        raise ValueError(
            f"expected identical episodes in all, but they differ in entry {k} "
            f"({' and '.join(str(len(model)) for model in models)} episodes)"
        )
    means = np.array([getattr(summarise(model), metric) for model in models])
    random = generator("bootstrap", tested, k)
    return means, _resampled(models, random, resamples, metric)


def _weights(term: Term, count: int) -> np.ndarray:
    """The weights of the term's models in the sum of every seed, (n, models of the term)."""
    one = len(term.trainings) == 1
    return term.weight * (np.ones((count, 1)) if one else np.eye(count))


def _same_episodes(one: EpisodeScores, other: EpisodeScores) -> bool:
    """Whether classes and labelled pixels are equal, episode by episode."""
    return np.array_equal(one.class_id, other.class_id) and np.array_equal(
        one.bg_intersection + one.union, other.bg_intersection + other.union
    )


def _resampled(
    models: Sequence[EpisodeScores], random: np.random.Generator, resamples: int, metric: Metric
) -> np.ndarray:
    """The fold's metric in every resample, (models, R); all models share the resamples."""
    class_id = models[0].class_id
    if metric == "class_means":  # this metric leaves out episodes with union 0
        class_id = np.where(models[0].union > 0, class_id, NOT_COUNTED)
    classes = np.setdiff1d(class_id, NOT_COUNTED)
    total = np.zeros((len(models), resamples))
    for label in classes:
        rows = np.flatnonzero(class_id == label)
        parts = [part[rows] for scores in models for part in _parts(scores, metric)]
        columns = np.stack(parts, axis=1)  # numerators and denominators alternate
        step = max(1, CHUNK // len(rows))
        for start in range(0, resamples, step):
            stop = min(start + step, resamples)
            size = (stop - start, len(rows))
            drawn = random.integers(len(rows), size=size) + len(rows) * np.arange(size[0])[:, None]
            times = np.bincount(drawn.ravel(), minlength=drawn.size).reshape(size)
            sums = times.astype(float) @ columns
            total[:, start:stop] += (sums[:, ::2] / sums[:, 1::2]).T
    return total / len(classes)


def _parts(scores: EpisodeScores, metric: Metric) -> tuple[np.ndarray, np.ndarray]:
    """Per-episode terms of a class's numerator and of its denominator, (E,) float64 each."""
    if metric == "miou":
        return scores.intersection.astype(float), scores.union.astype(float)
    return scores.intersection / scores.union, np.ones(len(scores))


def _interval(values: np.ndarray, drawn: np.ndarray, coverage: float) -> Interval:
    """The interval from the values of n training seeds, (n,), and of R resamples, (n, R)."""
    count, value, mean = len(values), float(values.mean()), drawn.mean(axis=0)
    low, high = np.quantile(mean, [(1 - coverage) / 2, (1 + coverage) / 2])
    if count == 1:
        return Interval(value, float(low), float(high))
    covariance = np.cov(drawn)
    between = (covariance.sum() - np.trace(covariance)) / (count * (count - 1))
    common = np.sqrt(max(between, 0) / max(mean.var(ddof=1), np.finfo(float).tiny))
    student = stdtrit(count - 1, (1 + coverage) / 2) * values.std(ddof=1) / np.sqrt(count)
    below, above = (max(side, 0) * common for side in (value - low, high - value))
    return Interval(
        value, value - float(np.hypot(below, student)), value + float(np.hypot(above, student))
    )
