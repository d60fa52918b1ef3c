"""The ablation: additions to the paper's method, part by part, without labels, 1-shot."""

from dataclasses import replace

from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import TableConfig
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

Row = tuple[str, RunSpec, tuple[str, ...]]


def ablation(experiment: Experiment, settings: TableConfig) -> Table[Measurement]:
    """A row for each set of additions, per fold.

    Keys: model ("prototype", "umtfss"), added (names with a blank between them), fold.
    """
    cells: list[Cell[Measurement]] = []
    for title, (added, run, steps) in _rows(experiment, settings).items():
        measured = measure_folds(
            experiment, run, settings.dataset, 1, experiment.tables.ablation_seeds, steps
        )
        cells += fold_cells(title, {"model": run.model, "added": added}, measured)
    additions = {
        "averages over mirror images": floor_is_mirrored(experiment),
        "batches of pairs": bool(experiment.training[settings.pool].augment.pairs),
        "the factor on the prior mask": experiment.model.prior_scale != 1,
    }
    kept = [name for name, used in additions.items() if used]
    note = (
        "Every trained row learns from the same tasks. + matcher: the training-free score is added."
    )
    if kept:
        note += f" Not taken away, and not in the paper either: {', '.join(kept)}."
    title = f"What is added to the paper's method, part by part, 1-shot, on {settings.dataset}."
    return build_table(experiment, "ablation", title, "model", cells, note=note)


def _rows(experiment: Experiment, settings: TableConfig) -> dict[str, Row]:
    """Row title -> (names of additions, run, steps of refinement)."""
    pool, plain = settings.pool, floor_features(experiment)
    bare, scored = {**PLAIN_MATCHER, "residual": "none"}, PLAIN_MATCHER
    matcher, trained = matcher_run(experiment), unsupervised_run(experiment, pool)
    steps = experiment.evaluation.refine.steps

    rows: dict[str, Row] = {
        "matcher": ("", floor_run(experiment), ()),
        "matcher, self-support": ("self_support", replace(matcher, features=plain), ()),
        "matcher, diffused": ("diffusion", matcher_run(experiment, **PLAIN_MATCHER), ()),
        "matcher, diffused, self-support": ("diffusion self_support", matcher, ()),
    }
    if steps:
        title = ", ".join(["matcher, diffused, self-support", *steps])
        rows[title] = (" ".join(["diffusion self_support", *steps]), matcher, steps)

    frozen = unsupervised_run(experiment, pool, features=plain, **bare)
    with_matcher = unsupervised_run(experiment, pool, features=plain, **scored)
    diffused = unsupervised_run(experiment, pool, **bare)
    both = unsupervised_run(experiment, pool, **scored)
    rows |= {
        "UMTFSS": ("", frozen, ()),
        "UMTFSS + matcher": ("matcher", with_matcher, ()),
        "UMTFSS, diffused": ("diffusion", diffused, ()),
        "UMTFSS + matcher, diffused": ("matcher diffusion", both, ()),
        "UMTFSS + matcher, diffused, self-support": (
            "matcher diffusion self_support",
            trained,
            (),
        ),
    }
    if steps:
        title = ", ".join(["UMTFSS + matcher, diffused, self-support", *steps])
        rows[title] = (" ".join(["matcher diffusion self_support", *steps]), trained, steps)
    return rows
