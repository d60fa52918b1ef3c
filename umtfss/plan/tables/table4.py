"""Table 4: a grid over the numbers of prototypes, without labels, 1-shot."""

from itertools import pairwise

from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import Table4Config
from umtfss.plan.cells import (
    Cell,
    Column,
    Table,
    build_table,
    measure_folds,
    of_all_folds,
    unsupervised_run,
)
from umtfss.plan.run import Measurement
from umtfss.plan.tables.claim import Cells, Claim, Comparison, difference, signed_sum
from umtfss.plan.tables.paper import paper_numbers


def table4(experiment: Experiment, settings: Table4Config) -> Table[Measurement]:
    """Means of the folds: a row for each K_bg, a column for each K_fg.

    Keys: k_bg, k_fg.
    """
    printed = paper_numbers()["table4"]
    cells = []
    for k_bg in settings.k_bg:
        for k_fg in settings.k_fg:
            run = unsupervised_run(experiment, settings.pool, k_fg=k_fg, k_bg=k_bg)
            measured = measure_folds(
                experiment, run, settings.dataset, 1, experiment.tables.ablation_seeds
            )
            paper = None
            if k_fg in printed["k_fg"] and k_bg in printed["k_bg"]:
                paper = printed["miou"][printed["k_bg"].index(k_bg)][printed["k_fg"].index(k_fg)]
            key, column = {"k_bg": k_bg, "k_fg": k_fg}, Column(str(k_fg))
            cells.append(Cell(str(k_bg), column, key, measured, of_all_folds(paper, measured)))
    return build_table(
        experiment,
        "table4",
        f"Numbers of prototypes (columns K_fg, rows K_bg), 1-shot, on {settings.dataset}.",
        "K_bg / K_fg",
        cells,
        note="The paper tests on PASCAL-5i.",
    )


def more_prototypes(cells: Cells) -> Claim[Measurement]:
    """The largest K_fg against the smallest, at each K_bg."""
    comparisons: list[Comparison[Measurement]] = []
    numbers = sorted(cells.values_of("table4", "k_fg"))
    if len(numbers) > 1:
        few, many = numbers[0], numbers[-1]
        for k_bg in cells.values_of("table4", "k_bg"):
            one, other = (cells.cell("table4", k_bg=k_bg, k_fg=k_fg) for k_fg in (many, few))
            comparisons += difference(f"K_bg {k_bg}: K_fg {many} minus {few}", one, other)
    return Claim(
        "more_prototypes",
        "More foreground prototypes help.",
        "At each K_bg, the largest K_fg is better than the smallest.",
        tuple(comparisons),
    )


def saturation(cells: Cells) -> Claim[Measurement]:
    """The first step of K_fg against the last step, at each K_bg; needs three values of K_fg."""
    comparisons: list[Comparison[Measurement]] = []
    steps = list(pairwise(sorted(cells.values_of("table4", "k_fg"))))
    if len(steps) > 1:
        (a, b), (c, d) = steps[0], steps[-1]
        for k_bg in cells.values_of("table4", "k_bg"):
            signs = ((1, b), (-1, a), (-1, d), (1, c))
            terms = [(sign, cells.cell("table4", k_bg=k_bg, k_fg=k_fg)) for sign, k_fg in signs]
            name = f"K_bg {k_bg}: gain of {a} → {b} minus gain of {c} → {d}"
            comparisons += signed_sum(name, *terms)
    return Claim(
        "saturation",
        "The gain of more foreground prototypes saturates.",
        "At each K_bg, the first step of K_fg gains more than the last one.",
        tuple(comparisons),
    )
