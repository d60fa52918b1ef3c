"""Two runs on the same test episodes: their paired difference, in all, by fold and by class."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from rich.markup import escape
from rich.table import Table

from umtfss.common.errors import DataError, StoreError
from umtfss.data.open import open_dataset
from umtfss.evaluation.intervals import Interval, Term, Trainings, contrast_interval
from umtfss.evaluation.miou import EpisodeScores, summarise
from umtfss.evaluation.results import RunResult, load_result
from umtfss.experiment.evaluation import EvaluationConfig
from umtfss.plan.plan import Plan
from umtfss.plan.run import EvaluationSpec, RunSpec


@dataclass(frozen=True)
class Comparison:
    """The second run against the first, as fractions.

    Attributes:
        title: What is compared: "all", a fold or a class.
        episodes: Number of test episodes.
        first: mIoU of the first run, or IoU of a class, mean over its trainings.
        second: That of the second run.
        difference: Second minus first, with its interval.
    """

    title: str
    episodes: int
    first: float
    second: float
    difference: Interval


def results_of(plan: Plan, run: RunSpec, dataset: str, shot: int) -> list[RunResult]:
    """The results of all trainings of a run on a data set.

    Raises:
        StoreError: The run was not tested, or not yet.
    """
    seeds = run.seeded(plan.experiment.evaluation.training_seeds)
    return [load_result(_evaluation_file(plan, one, dataset, shot)) for one in seeds]


def compared(
    first: Sequence[RunResult],
    second: Sequence[RunResult],
    settings: EvaluationConfig,
    class_names: Mapping[int, str],
    tested: str = "",
) -> Iterator[Comparison]:
    """The paired differences on the folds and episode seeds that both runs were tested on.

    With several trainings of a run, intervals cover episodes and trainings, else episodes alone
    (`umtfss/evaluation/intervals.py`).

    Args:
        first: Results of the first run's trainings; one if it is training-free.
        second: Results of the second run's trainings.
        settings: Resamples and coverage.
        class_names: Class id -> name.
        tested: Name of the test, which keys the resamples; as tables name it, so that numbers
            agree.

    Raises:
        StoreError: The runs share no fold or seed, or were tested on other episodes.
    """
    results = [*first, *second]
    folds = sorted(set.intersection(*(set(one.folds) for one in results)))
    if not folds:
        raise StoreError(
            "the runs were not tested on the same folds",
            found=", ".join(str(sorted(one.folds)) for one in results),
            fix="compare runs that a table tests on the same fold",
        )
    seeds = {
        fold: sorted(set.intersection(*(set(one.folds[fold].seeds) for one in results)))
        for fold in folds
    }
    _check_episodes(results, folds)

    def scores(some: Sequence[RunResult], fold: int) -> list[EpisodeScores]:
        """The pooled episodes of a fold, for every training."""
        return [
            EpisodeScores.concatenate([one.folds[fold].seeds[seed] for seed in seeds[fold]])
            for one in some
        ]

    pairs = {fold: (scores(first, fold), scores(second, fold)) for fold in folds}
    if len(folds) > 1:
        yield _compared("all folds", [pairs[fold] for fold in folds], settings, tested)
    for fold in folds:
        yield _compared(f"fold {fold}", [pairs[fold]], settings, tested)
    for fold in folds:
        for class_id in np.unique(pairs[fold][0][0].class_id).tolist():
            own = tuple([_of_class(one, class_id) for one in side] for side in pairs[fold])
            name = class_names.get(class_id, f"class {class_id}")
            yield _compared(name, [own], settings, tested)


def class_names(plan: Plan, dataset: str) -> Mapping[int, str]:
    """Class id -> name of a data set; empty if its files are not here, as none is needed."""
    try:
        source = plan.paths.source(dataset)
        return open_dataset(source, plan.experiment.raw_data_root).class_names
    except DataError:
        return {}


def comparison_table(
    rows: Iterable[Comparison],
    tested: str,
    settings: EvaluationConfig,
    runs: Sequence[RunSpec],
    trainings: int,
) -> Table:
    """Comparisons as a table for a terminal, in percent.

    Args:
        rows: The comparisons.
        tested: Name of the test.
        settings: Coverage of the intervals.
        runs: The first and the second run.
        trainings: Trainings of the run that has more.
    """
    covers = f"episodes and {trainings} trainings" if trainings > 1 else "episodes alone"
    table = Table(
        "", "episodes", "first", "second", "second minus first", title_justify="left",
        title=f"{tested}, mIoU in percent; {settings.interval:.0%} intervals over {covers}\n"
        f"first: {runs[0].path}\nsecond: {runs[1].path}",
    )  # fmt: skip
    for row in rows:
        value, low, high = (100 * getattr(row.difference, end) for end in ("value", "low", "high"))
        numbers = (f"{100 * row.first:.1f}", f"{100 * row.second:.1f}")
        cell = f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
        table.add_row(escape(row.title), str(row.episodes), *numbers, escape(cell))
    return table


Pair = tuple[list[EpisodeScores], ...]  # of the first and the second run, one for each training


def _compared(
    title: str, folds: Sequence[Pair], settings: EvaluationConfig, tested: str
) -> Comparison:
    """The comparison over some folds."""
    sides: list[Trainings] = [
        [list(training) for training in zip(*(pair[side] for pair in folds), strict=True)]
        for side in (0, 1)
    ]
    values = [
        float(np.mean([[summarise(fold).miou for fold in training] for training in side]))
        for side in sides
    ]
    difference = contrast_interval(
        [Term(-1, sides[0], tested), Term(1, sides[1], tested)],
        resamples=settings.bootstrap,
        coverage=settings.interval,
    )
    episodes = sum(len(pair[0][0]) for pair in folds)
    return Comparison(title, episodes, values[0], values[1], difference)


def _of_class(scores: EpisodeScores, class_id: int) -> EpisodeScores:
    """The episodes of one class."""
    rows = scores.class_id == class_id
    return EpisodeScores(*(getattr(scores, field.name)[rows] for field in fields(scores)))


def _check_episodes(results: Sequence[RunResult], folds: Sequence[int]) -> None:
    """Check that all results were counted on the same episode files.

    Raises:
        StoreError: They were not.
    """

    def files(one: RunResult) -> dict[str, str]:
        return {
            key: digest
            for key, digest in one.facts["episodes"].items()
            if int(key.removeprefix("fold").partition("-")[0]) in folds
        }

    every = [files(one) for one in results]
    shared = set.intersection(*map(set, every))
    if other := sorted(key for key in shared if len({one[key] for one in every}) > 1):
        raise StoreError(
            "the runs were tested on other episodes",
            expected="the same episode files",
            found=f"another {other[0]}",
            fix="compare runs of one data set and shot, tested by one experiment",
        )


def _evaluation_file(plan: Plan, run: RunSpec, dataset: str, shot: int) -> str:
    """The evaluation of a run; with every step of `evaluation.refine`, where that is tested."""

    def tested(matches: Callable[[EvaluationSpec], bool]) -> list[EvaluationSpec]:
        return [one for one in plan.runs.evaluations.values() if matches(one)]

    own = tested(lambda one: (one.run, one.dataset, one.shot) == (run, dataset, shot))
    if not own:
        others = tested(lambda one: (one.dataset, one.shot) == (dataset, shot))
        raise StoreError(
            f"no table of experiment {plan.experiment.name} tests the run {run.path} on {dataset} "
            f"with {shot} shots",
            expected="one of " + ", ".join(sorted({one.run.path for one in others})),
            fix="correct the run, --dataset or --shots",
        )
    path = plan.paths.evaluation(max(own, key=lambda one: len(one.refine)))
    if not Path(path).is_file():
        raise StoreError(
            f"the run {run.path} has not been tested here",
            expected=path,
            fix="in the project's folder: snakemake --cores all --config "
            f"experiment={plan.experiment.name} -- {path}",
        )
    return path
