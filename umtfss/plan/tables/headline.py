"""The headline: UMTFSS without labels against the training-free floor; not in the paper."""

from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import HeadlineConfig
from umtfss.plan.cells import (
    Cell,
    Key,
    Table,
    build_table,
    floor_is_mirrored,
    floor_run,
    fold_cells,
    matcher_run,
    measure_folds,
    unsupervised_run,
)
from umtfss.plan.run import Measurement, RunSpec
from umtfss.plan.tables.claim import Cells, Claim, Comparison, Found, difference, signed_sum

FLOOR, MATCHER, UMTFSS = "floor", "matcher", "umtfss"  # values of "model" in keys


def headline(experiment: Experiment, settings: HeadlineConfig) -> Table[Measurement]:
    """The training-free floor against UMTFSS without labels, per fold, for every K.

    Keys: model ("floor", "matcher" on the features that UMTFSS sees, "umtfss"), other_pool (in the
    rows of `other_pools` alone), shot, fold.
    """
    seeds = settings.seeds or experiment.evaluation.seeds
    floor, matcher = floor_run(experiment), matcher_run(experiment)
    steps = experiment.evaluation.refine.steps  # not for the floor's score
    rows: list[tuple[str, Key, RunSpec, tuple[str, ...]]] = [
        ("prototype matcher (training-free)", {"model": FLOOR}, floor, ())
    ]
    has_matcher = (matcher, steps) != (floor, ())
    if has_matcher:
        title = "prototype matcher on what UMTFSS sees (training-free)"
        rows.append((title, {"model": MATCHER}, matcher, steps))
    own = unsupervised_run(experiment, settings.pool)
    rows.append(("UMTFSS (unsupervised)", {"model": UMTFSS}, own, steps))
    for pool in settings.other_pools:
        title = f"UMTFSS (unsupervised, pool {pool})"
        other = unsupervised_run(experiment, pool)
        rows.append((title, {"model": UMTFSS, "other_pool": pool}, other, steps))

    cells: list[Cell[Measurement]] = []
    for shot in experiment.evaluation.shots:
        for title, key, run, refine in rows:
            measured = measure_folds(experiment, run, settings.dataset, shot, seeds, refine)
            cells += fold_cells(title, {**key, "shot": shot}, measured, group=f"{shot}-shot")
    note = ""
    if has_matcher:
        mirrored = ", averaged over the image and its mirror image" * floor_is_mirrored(experiment)
        note = f"The first row is the usual matcher on {experiment.floor_features}{mirrored}."
    return build_table(
        experiment,
        "headline",
        f"Zero labels on {settings.dataset}: the training-free floor and UMTFSS.",
        "model",
        cells,
        note=note,
    )


def matcher_cell(cells: Cells, **key: int) -> Found:
    """The training-free matcher on the features that models see.

    The floor may read other features; a comparison with the floor would count the gain of the
    features as a gain of training.
    """
    matcher = cells.cell("headline", model=MATCHER, **key)
    return matcher or cells.cell("headline", model=FLOOR, **key)


def folds(cells: Cells) -> Claim[Measurement]:
    """UMTFSS without labels against the matcher, on each fold."""
    comparisons: list[Comparison[Measurement]] = []
    for fold in cells.values_of("headline", "fold"):
        one = cells.cell("headline", model=UMTFSS, shot=1, fold=fold)
        other = matcher_cell(cells, shot=1, fold=fold)
        comparisons += difference(f"1-shot fold {fold}: UMTFSS minus matcher", one, other)
    return Claim(
        "folds",
        "The result is robust across folds.",
        "On each fold UMTFSS without labels beats the training-free matcher on its features.",
        tuple(comparisons),
    )


def more_shots(cells: Cells) -> Claim[Measurement]:
    """The most supports against the fewest; the difference is unpaired, as test episodes differ."""
    comparisons: list[Comparison[Measurement]] = []
    shots = sorted(cells.values_of("headline", "shot"))
    if len(shots) > 1:
        few, many = shots[0], shots[-1]
        one = cells.cell("headline", model=UMTFSS, shot=many)
        other = cells.cell("headline", model=UMTFSS, shot=few)
        comparisons += signed_sum(f"{many} shots minus {few}", (1, one), (-1, other))
    return Claim(
        "more_shots",
        "5 shots are better than 1.",
        "Without labels, UMTFSS is better with the most supports than with the fewest; "
        "each number of supports has test episodes of its own.",
        tuple(comparisons),
    )
