"""What each departure from the released UMTFSS costs, as data.

Nothing here reads a result.
"""

from typing import Any

from umtfss.experiment.model import UMTFSS_PRESETS
from umtfss.experiment.schema import Experiment
from umtfss.plan.cells import Cell, Table, build_table, measure_folds, unsupervised_run

OURS, RELEASE = "as configured", "released code"
DIFFERENCE = "minus as configured"

# Row of the table -> keys of the preset `release` that it takes.
SWITCHES: dict[str, tuple[str, ...]] = {
    "20 and 50 prototypes": ("k_fg", "k_bg"),
    "emptied groups attended to": ("mask_empty_groups",),
    "support's self-attention thrown away": ("support_self_attention",),
    "loss with label 255": ("ignore_in_loss",),
    "masks read at single pixels": ("token_masks",),
    "position code by counts": ("position_code",),
    "padding seen": ("padding",),
    "attention dropout": ("attention_dropout",),
}


def departures(experiment: Experiment) -> Table:
    """UMTFSS as configured against the released code, and with each departure alone taken back.

    Without labels, 1-shot, the mean of the folds; the second column is the paired difference.
    """
    settings, seeds = experiment.tables.departures, experiment.tables.ablation_seeds
    assert settings is not None
    released = UMTFSS_PRESETS["release"]
    changes: dict[str, dict[str, Any]] = {OURS: {}, RELEASE: {"preset": "release"}}
    for row, keys in SWITCHES.items():
        changes[row] = {key: released[key] for key in keys}
    own = unsupervised_run(experiment, settings.pool)
    base = measure_folds(experiment, own, settings.dataset, 1, seeds)
    cells: list[Cell] = []
    for row, overrides in changes.items():
        run = unsupervised_run(experiment, settings.pool, **overrides)
        measured = measure_folds(experiment, run, settings.dataset, 1, seeds)
        cells.append(Cell(row, "mIoU", measured))
        if run != own:
            cells.append(Cell(row, DIFFERENCE, measured, minus=base))
    title = (
        f"UMTFSS against its released code, and with one departure from it taken back at a time, "
        f"without labels, 1-shot, on {settings.dataset}."
    )
    note = "Differences are taken on the same episodes and training seeds."
    return build_table(
        experiment,
        "departures",
        title,
        "variant",
        tuple(changes),
        ("mIoU", DIFFERENCE),
        cells,
        note,
    )
