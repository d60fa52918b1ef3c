"""The tables that the paper has not, as data: zero labels against the training-free floor.

Nothing here reads a result.
"""

from dataclasses import replace
from typing import Any

from umtfss.experiment.schema import Experiment
from umtfss.plan.cells import (
    PLAIN_MATCHER,
    Cell,
    Table,
    build_table,
    floor_run,
    fold_cells,
    fold_columns,
    matcher_run,
    measure_folds,
    unsupervised_run,
)

FLOOR_ROW = "prototype matcher (training-free)"
MATCHER_ROW = "prototype matcher on what UMTFSS sees (training-free)"
ZERO_LABELS_ROW = "UMTFSS (unsupervised)"


def headline(experiment: Experiment) -> Table:
    """The training-free floor against UMTFSS without labels, per fold, for every shot."""
    settings, shots = experiment.tables.headline, experiment.evaluation.shots
    assert settings is not None
    seeds = settings.seeds or experiment.evaluation.seeds
    runs = {
        FLOOR_ROW: floor_run(experiment),
        MATCHER_ROW: matcher_run(experiment),
        ZERO_LABELS_ROW: unsupervised_run(experiment, settings.pool),
    }
    for pool in settings.other_pools:
        runs[f"UMTFSS (unsupervised, pool {pool})"] = unsupervised_run(experiment, pool)
    if runs[MATCHER_ROW] == runs[FLOOR_ROW]:
        del runs[MATCHER_ROW]
    cells: list[Cell] = []
    columns: list[str] = []
    for shot in shots:
        names = fold_columns(experiment, f"{shot}-shot ")
        columns += names
        for row, run in runs.items():
            measured = measure_folds(experiment, run, settings.dataset, shot, seeds)
            cells += fold_cells(row, names, measured, {})
    title = f"Zero labels on {settings.dataset}: the training-free floor and UMTFSS."
    note = ""
    if MATCHER_ROW in runs:
        mirrored = ", averaged over the image and its mirror image"
        note = "The first row is the usual matcher on the backbone's own features"
        note += f"{mirrored if experiment.features.mirrored else ''}."
    return build_table(
        experiment, "headline", title, "model", tuple(runs), tuple(columns), cells, note
    )


def ablation(experiment: Experiment) -> Table:
    """What is added to the paper's method, part by part, without labels, per fold, 1-shot."""
    settings = experiment.tables.ablation
    assert settings is not None
    pool, own = settings.pool, settings.paper_pool
    bare, scored = {**PLAIN_MATCHER, "residual": "none"}, PLAIN_MATCHER
    # what is done to a score -> the keys that leave the rest out
    steps: dict[str, dict[str, Any]] = {"": {"superpixels": 0.0}}
    if experiment.model.superpixels:
        steps[", superpixels"] = {}
    runs = {
        "matcher": floor_run(experiment),
        "matcher, self-support": replace(matcher_run(experiment, **steps[""]), raw=True),
        "matcher, diffused": matcher_run(experiment, **PLAIN_MATCHER),
    }
    for title, left_out in steps.items():
        runs[f"matcher, diffused, self-support{title}"] = matcher_run(experiment, **left_out)
    runs |= {
        "UMTFSS of the paper": unsupervised_run(experiment, own, raw=True, **bare),
        "UMTFSS + matcher": unsupervised_run(experiment, own, raw=True, **scored),
        "UMTFSS, diffused": unsupervised_run(experiment, pool, **bare),
        "UMTFSS + matcher, diffused": unsupervised_run(experiment, pool, **scored),
    }
    for title, left_out in steps.items():
        run = unsupervised_run(experiment, pool, **left_out)
        runs[f"UMTFSS + matcher, diffused, self-support{title}"] = run
    columns = fold_columns(experiment)
    cells: list[Cell] = []
    for row, run in runs.items():
        measured = measure_folds(
            experiment, run, settings.dataset, 1, experiment.tables.ablation_seeds
        )
        cells += fold_cells(row, columns, measured, {})
    title = f"What is added to the paper's method, part by part, 1-shot, on {settings.dataset}."
    note = (
        "The paper's rows are meta-trained on clusters of the backbone's features, the diffused "
        "ones on clusters of diffused features. + matcher: the training-free score is added."
    )
    kept = ["averages over mirror images"] if experiment.features.mirrored else []
    kept += ["the choice of clusters by max_border"] if experiment.episodes.max_border else []
    if kept:
        note += f" {' and '.join(kept).capitalize()}, not in the paper either, are in every row."
    return build_table(experiment, "ablation", title, "model", tuple(runs), columns, cells, note)
