"""Departures: the effect of each departure from the released UMTFSS, without labels, 1-shot."""

from typing import Any

from umtfss.experiment.model import UMTFSS_PRESETS
from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import TableConfig
from umtfss.plan.cells import Cell, Column, Table, build_table, measure_folds, unsupervised_run
from umtfss.plan.run import Measurement

OURS, RELEASE = "as configured", "released code"
DIFFERENCE = "minus as configured"

# Row of the table -> keys that take their values from the preset `release`.
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


def departures(experiment: Experiment, settings: TableConfig) -> Table[Measurement]:
    """UMTFSS as configured, as released, and with one departure taken back at a time.

    Cells are means of the folds; the second column is the paired difference to UMTFSS as
    configured.
    Keys: taken_back ("none", "all", or keys of the preset with a blank between them), minus
    ("none", the row whose difference is shown).
    """
    seeds, released = experiment.tables.ablation_seeds, UMTFSS_PRESETS["release"]
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        OURS: ("none", {}),
        RELEASE: ("all", {"preset": "release"}),
    }
    for row, keys in SWITCHES.items():
        changes[row] = (" ".join(keys), {key: released[key] for key in keys})

    own = unsupervised_run(experiment, settings.pool)
    base = measure_folds(experiment, own, settings.dataset, 1, seeds)
    cells: list[Cell[Measurement]] = []
    for row, (taken_back, overrides) in changes.items():
        run = unsupervised_run(experiment, settings.pool, **overrides)
        measured = measure_folds(experiment, run, settings.dataset, 1, seeds)
        key = {"taken_back": taken_back}
        cells.append(Cell(row, Column("mIoU"), key, measured))
        if run != own:
            key = {**key, "minus": "none"}
            cells.append(Cell(row, Column(DIFFERENCE), key, measured, minus=base))
    title = (
        f"UMTFSS against its released code, and with one departure from it taken back at a time, "
        f"without labels, 1-shot, on {settings.dataset}."
    )
    note = "Differences are taken on the same episodes and training seeds."
    return build_table(experiment, "departures", title, "variant", cells, note=note)
