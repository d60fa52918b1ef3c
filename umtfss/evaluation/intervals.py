"""Intervals of mIoU over test episodes and training seeds (protocol section 6).

Shapes: R resamples, E episodes, n training seeds.

All n trainings of a model are tested on the same episodes. The value of training s, the mean over
folds of the metric, is

    y_s = mu + e + t_s + i_s

with e what the draw of episodes does to all trainings alike, t_s what the seed does to a training,
and i_s what the draw of episodes does to this training alone. The reported mean over s has the
variance Var(e) + (Var(t) + Var(i)) / n, and both parts are estimated on their own:

* The spread of the y_s over the seeds estimates Var(t) + Var(i). It holds i_s and lacks e. Its
  half-width is Student's, with n - 1 degrees of freedom.
* The bootstrap resamples the episodes of every class of every fold with replacement among
  themselves, so that no class vanishes, and alike for all trainings. The covariance of two
  trainings over the resamples estimates Var(e). It lacks i_s, so that nothing counts twice. Its
  half-widths are the percentiles of the resampled mean, brought to that variance.

The two half-widths are added as squares (Howe, 1974, Approximate confidence limits on the mean of
X + Y where X and Y are two tabled independent random variables). With one training the interval
is the bootstrap's, and covers the draw of episodes alone.
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
NOT_COUNTED = -1  # no class
Trainings = Sequence[Sequence[EpisodeScores]]  # training seed -> fold -> episode seeds pooled


@dataclass(frozen=True)
class Interval:
    """A value and its interval, fractions.

    Attributes:
        value: The estimate from all episodes, the mean over training seeds.
        low: Lower end.
        high: Upper end.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Term:
    """One summand of a contrast.

    Attributes:
        weight: Its factor.
        trainings: What was measured; one entry where nothing is trained, the same for all seeds.
        tested: What it was tested on. Terms of one name share their episodes, which are resampled
            alike; those of two names are resampled independently.
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
    """The mean over training seeds and folds of the mIoU (or of another metric), and its interval.

    Args:
        trainings: Of every training seed the folds, episode seeds pooled.
        resamples: R.
        coverage: Of the interval, e.g. 0.95.
        metric: "miou", or "class_means": the mean over classes of their episodes' mean IoU.
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
    """A weighted sum of several models' metric, and the sum's interval.

    The sum is taken for every training seed, on the same resampled episodes for all models, so
    that what the models have in common, of episodes or of seeds, cancels out.

    Args:
        terms: The models with their weights.
        resamples: R.
        coverage: Of the interval.
        metric: As of `miou_interval`.

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
            if not all(_same_episodes(models[0], model) for model in models[1:]):
                raise ValueError(
                    f"expected identical episodes in all, but they differ in entry {k} "
                    f"({' and '.join(str(len(model)) for model in models)} episodes)"
                )
            means = [getattr(summarise(model), metric) for model in models]
            random = generator("bootstrap", tested, k)
            values += weights @ means / number
            drawn += weights @ _resampled(models, random, resamples, metric) / number
    return _interval(values, drawn, coverage)


def _weights(term: Term, count: int) -> np.ndarray:
    """(n, models of the term): the weight of each of its models in the sum of every seed."""
    one = len(term.trainings) == 1
    return term.weight * (np.ones((count, 1)) if one else np.eye(count))


def _same_episodes(one: EpisodeScores, other: EpisodeScores) -> bool:
    """Whether classes and labelled pixels agree, episode by episode."""
    return np.array_equal(one.class_id, other.class_id) and np.array_equal(
        one.bg_intersection + one.union, other.bg_intersection + other.union
    )


def _resampled(
    models: Sequence[EpisodeScores], random: np.random.Generator, resamples: int, metric: Metric
) -> np.ndarray:
    """The fold's metric in every resample, (models, R); all models see the same resamples."""
    class_id = models[0].class_id
    if metric == "class_means":  # it leaves out episodes whose union is 0
        class_id = np.where(models[0].union > 0, class_id, NOT_COUNTED)
    classes = np.setdiff1d(class_id, NOT_COUNTED)
    total = np.zeros((len(models), resamples))
    for label in classes:
        rows = np.flatnonzero(class_id == label)
        parts = [part[rows] for scores in models for part in _parts(scores, metric)]
        columns = np.stack(parts, axis=1)  # numerators and denominators in turn
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
    """What a class's score is the sum of, and what the sum is divided by, (E,) float64 each."""
    if metric == "miou":
        return scores.intersection.astype(float), scores.union.astype(float)
    return scores.intersection / scores.union, np.ones(len(scores))


def _interval(values: np.ndarray, drawn: np.ndarray, coverage: float) -> Interval:
    """From the values of n training seeds, (n,), and what they are in R resamples, (n, R)."""
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
