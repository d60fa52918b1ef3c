"""The ablation: additions to the paper's method, part by part, without labels, 1-shot."""

from dataclasses import replace

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

Row = tuple[str, RunSpec, tuple[str, ...]]


def ablation(experiment: Experiment, settings: AblationConfig) -> Table[Measurement]:
    """A row for each set of additions, per fold.

    Keys: model ("prototype", "umtfss"), added (names with a blank between them), fold.
    """
    cells: list[Cell[Measurement]] = []
    for title, (added, run, steps) in _rows(experiment, settings).items():
        measured = measure_folds(
            experiment, run, settings.dataset, 1, experiment.tables.ablation_seeds, steps
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


def _rows(experiment: Experiment, settings: AblationConfig) -> dict[str, Row]:
    """Row title -> (names of additions, run, steps of refinement)."""
    pool, own, plain = settings.pool, settings.paper_pool, floor_features(experiment)
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

    paper = unsupervised_run(experiment, own, features=plain, **bare)
    with_matcher = unsupervised_run(experiment, own, features=plain, **scored)
    diffused = unsupervised_run(experiment, pool, **bare)
    both = unsupervised_run(experiment, pool, **scored)
    rows |= {
        "UMTFSS of the paper": ("", paper, ()),
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
