"""The ablation: what is added to the paper's method, part by part, without labels, 1-shot."""

from dataclasses import replace
from typing import Any

from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import AblationConfig
from umtfss.plan.cells import (
    PLAIN_MATCHER,
    Cell,
    Table,
    build_table,
    floor_features,
    floor_is_mirrored,
    floor_run,
    fold_cells,
    matcher_run,
    measure_folds,
    unsupervised_run,
)
from umtfss.plan.run import Measurement, RunSpec


def ablation(experiment: Experiment, settings: AblationConfig) -> Table[Measurement]:
    """A row for each set of additions, per fold.

    Keys: model ("prototype", "umtfss"), added (names with a blank between them), fold.
    """
    cells: list[Cell[Measurement]] = []
    for title, (added, run) in _rows(experiment, settings).items():
        measured = measure_folds(
            experiment, run, settings.dataset, 1, experiment.tables.ablation_seeds
        )
        cells += fold_cells(title, {"model": run.model, "added": added}, measured)
    note = (
        "The paper's rows are meta-trained on clusters of the backbone's features, the diffused "
        "ones on clusters of diffused features. + matcher: the training-free score is added."
    )
    kept = ["averages over mirror images"] if floor_is_mirrored(experiment) else []
    kept += ["the choice of clusters by max_border"] if experiment.episodes.max_border else []
    if kept:
        note += f" {' and '.join(kept).capitalize()}, not in the paper either, are in every row."
    title = f"What is added to the paper's method, part by part, 1-shot, on {settings.dataset}."
    return build_table(experiment, "ablation", title, "model", cells, note=note)


def _rows(experiment: Experiment, settings: AblationConfig) -> dict[str, tuple[str, RunSpec]]:
    """Row title -> (what is added, run)."""
    pool, own, plain = settings.pool, settings.paper_pool, floor_features(experiment)
    bare, scored = {**PLAIN_MATCHER, "residual": "none"}, PLAIN_MATCHER
    without: dict[str, Any] = {"superpixels": 0.0}
    refined = experiment.model.superpixels > 0

    self_support = replace(matcher_run(experiment, **without), features=plain)
    rows = {
        "matcher": ("", floor_run(experiment)),
        "matcher, self-support": ("self_support", self_support),
        "matcher, diffused": ("diffusion", matcher_run(experiment, **PLAIN_MATCHER)),
    }
    whole = "matcher, diffused, self-support"
    rows[whole] = ("diffusion self_support", matcher_run(experiment, **without))
    if refined:
        rows[f"{whole}, superpixels"] = (
            "diffusion self_support superpixels",
            matcher_run(experiment),
        )

    rows |= {
        "UMTFSS of the paper": ("", unsupervised_run(experiment, own, features=plain, **bare)),
        "UMTFSS + matcher": (
            "matcher",
            unsupervised_run(experiment, own, features=plain, **scored),
        ),
        "UMTFSS, diffused": ("diffusion", unsupervised_run(experiment, pool, **bare)),
        "UMTFSS + matcher, diffused": (
            "matcher diffusion",
            unsupervised_run(experiment, pool, **scored),
        ),
    }
    whole = "UMTFSS + matcher, diffused, self-support"
    rows[whole] = (
        "matcher diffusion self_support",
        unsupervised_run(experiment, pool, **without),
    )
    if refined:
        rows[f"{whole}, superpixels"] = (
            "matcher diffusion self_support superpixels",
            unsupervised_run(experiment, pool),
        )
    return rows
