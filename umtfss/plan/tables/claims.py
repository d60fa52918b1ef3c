"""The paper's claims as data: each a set of comparisons of cells of our own tables.

Nothing here reads a result; `umtfss/tables/claims.py` judges. Claims are the paper's, so that its
models alone count (`PAPER_MODELS`), and docs/claims.md says what each one shows.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from umtfss.experiment.models import MODELS, PAPER_MODELS
from umtfss.plan.cells import Cell, Table
from umtfss.plan.tables.layout import start_row
from umtfss.plan.tables.zero_labels import FLOOR_ROW, MATCHER_ROW, ZERO_LABELS_ROW

FEW_LABELS = "20 %"


@dataclass(frozen=True)
class Comparison:
    """A sum of cells with signs, which the claim says is positive.

    Attributes:
        name: What is compared, for the reader.
        terms: (sign, cell).
    """

    name: str
    terms: tuple[tuple[int, Cell], ...]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and the test that it becomes here.

    Attributes:
        key: Short name.
        claim: What the paper claims, in our words.
        test: What every comparison must show.
        comparisons: None if the experiment's tables lack the cells.
    """

    key: str
    claim: str
    test: str
    comparisons: tuple[Comparison, ...]


def claims(tables: Sequence[Table]) -> tuple[Claim, ...]:
    """The claims that are measured, over the tables that an experiment fills."""
    by_name = {table.name: table for table in tables}

    def made(build: Callable[..., Iterator[Comparison]], *names: str) -> tuple[Comparison, ...]:
        if not set(names) <= set(by_name):
            return ()
        return tuple(build(*(by_name[name] for name in names)))

    return (
        Claim(
            "unsupervised",
            "Unsupervised meta-training works with existing models.",
            "Without labels, each model beats the training-free matcher on the features it sees.",
            made(_above_floor, "table1", "headline"),
        ),
        Claim(
            "fine_tuning",
            "Fine-tuning from unsupervised weights beats training from scratch at every ratio.",
            "At each label ratio, each model is better from unsupervised weights.",
            made(_above_scratch, "table2"),
        ),
        Claim(
            "few_labels",
            f"With {FEW_LABELS} of the labels UMTFSS outperforms supervised competitors.",
            f"UMTFSS, fine-tuned on {FEW_LABELS}, is better than each other model on 100 %.",
            made(_above_supervised, "table1", "table2"),
        ),
        Claim(
            "prototype_attention",
            "Prototype-aware cross-attention is better than vanilla cross-attention.",
            "Meta-trained alike without labels, the prototype variant is better.",
            made(_above_vanilla, "table3"),
        ),
        Claim(
            "more_prototypes",
            "More foreground prototypes help.",
            "At each K_bg, the largest K_fg is better than the smallest.",
            made(_more_prototypes, "table4"),
        ),
        Claim(
            "saturation",
            "The gain of more foreground prototypes saturates.",
            "At each K_bg, the first step of K_fg gains more than the last one.",
            made(_saturation, "table4"),
        ),
        Claim(
            "masksplit",
            "UMTFSS is better than MaskSplit.",
            "Without labels, UMTFSS is better than MaskSplit, in each setting of Table 5.",
            made(_above_masksplit, "table5"),
        ),
        Claim(
            "folds",
            "The result is robust across folds.",
            "On each fold UMTFSS without labels beats the training-free matcher on its features.",
            made(_every_fold, "headline"),
        ),
        Claim(
            "more_shots",
            "5 shots are better than 1.",
            "Without labels, UMTFSS is better with the most supports than with the fewest; "
            "each number of supports has test episodes of its own.",
            made(_more_shots, "headline"),
        ),
        Claim(
            "labels",
            "Labels are better than none.",
            "UMTFSS, fine-tuned on the most labels, is better than without labels.",
            made(_above_none, "table2"),
        ),
    )


def _difference(name: str, one: Cell | None, other: Cell | None) -> Iterator[Comparison]:
    """One comparison if both cells are measured on the same episodes, else none."""
    if one is not None and other is not None and _episodes(one) == _episodes(other):
        yield Comparison(name, ((1, one), (-1, other)))


def _episodes(cell: Cell) -> set[tuple[str, int, int]]:
    return {(m.dataset, m.fold, m.shot) for m in cell.measurements}


def _matcher(headline: Table, column: str) -> Cell | None:
    """What needs no training on the features that models see: else features pass for training."""
    return headline.cell(MATCHER_ROW, column) or headline.cell(FLOOR_ROW, column)


def _above_floor(table1: Table, headline: Table) -> Iterator[Comparison]:
    floor = _matcher(headline, "1-shot mean")
    for model in _of_the_paper(table1.columns):
        yield from _difference(f"{model} minus matcher", table1.cell("unsup", model), floor)


def _above_scratch(table2: Table) -> Iterator[Comparison]:
    for model in _models(table2):
        for ratio in table2.columns:
            one = table2.cell(start_row(model, "unsup_init"), ratio)
            other = table2.cell(start_row(model, "scratch"), ratio)
            yield from _difference(f"{model}, {ratio}", one, other)


def _above_supervised(table1: Table, table2: Table) -> Iterator[Comparison]:
    one = table2.cell(start_row("UMTFSS", "unsup_init"), FEW_LABELS)
    for model in _of_the_paper(table1.columns):
        if model != "UMTFSS":
            other = table1.cell("sup", model)
            yield from _difference(f"UMTFSS {FEW_LABELS} minus {model} 100 %", one, other)


def _models(table2: Table) -> list[str]:
    return _of_the_paper(dict.fromkeys(row.split(",")[0] for row in table2.rows))


def _of_the_paper(titles: Iterable[str]) -> list[str]:
    known = {MODELS[model] for model in PAPER_MODELS}
    return [title for title in titles if title in known]


def _above_vanilla(table3: Table) -> Iterator[Comparison]:
    vanilla, prototype = (table3.cell(row, "mean") for row in table3.rows)
    yield from _difference("prototype minus vanilla", prototype, vanilla)


def _more_prototypes(table4: Table) -> Iterator[Comparison]:
    few, *_, many = sorted(table4.columns, key=int) if len(table4.columns) > 1 else ("", "")
    for k_bg in table4.rows:
        one, other = table4.cell(k_bg, many), table4.cell(k_bg, few)
        yield from _difference(f"K_bg {k_bg}: K_fg {many} minus {few}", one, other)


def _saturation(table4: Table) -> Iterator[Comparison]:
    steps = list(pairwise(sorted(table4.columns, key=int)))
    if len(steps) < 2:
        return
    (a, b), (c, d) = steps[0], steps[-1]
    for k_bg in table4.rows:
        signed = ((1, b), (-1, a), (-1, d), (1, c))
        cells = [(sign, table4.cell(k_bg, k_fg)) for sign, k_fg in signed]
        terms = tuple((sign, cell) for sign, cell in cells if cell is not None)
        yield Comparison(f"K_bg {k_bg}: gain of {a} → {b} minus gain of {c} → {d}", terms)


def _above_masksplit(table5: Table) -> Iterator[Comparison]:
    for row in table5.rows:
        setting, _, model = row.partition(": ")
        for column in table5.columns:
            if model == "UMTFSS" and column.endswith("mean"):
                other = table5.cell(f"{setting}: MaskSplit", column)
                dataset = column.removesuffix(" mean")
                name = f"{dataset}, {setting}: UMTFSS minus MaskSplit"
                yield from _difference(name, table5.cell(row, column), other)


def _every_fold(headline: Table) -> Iterator[Comparison]:
    for column in headline.columns:
        if column.startswith("1-shot fold"):
            one, other = headline.cell(ZERO_LABELS_ROW, column), _matcher(headline, column)
            yield from _difference(f"{column}: UMTFSS minus matcher", one, other)


def _more_shots(headline: Table) -> Iterator[Comparison]:
    """K supports have test episodes of their own: of these, nothing cancels out."""
    shots = sorted({int(column.split("-shot ")[0]) for column in headline.columns})
    few, many = (headline.cell(ZERO_LABELS_ROW, f"{k}-shot mean") for k in (shots[0], shots[-1]))
    if len(shots) > 1 and few is not None and many is not None:
        yield Comparison(f"{shots[-1]} shots minus {shots[0]}", ((1, many), (-1, few)))


def _above_none(table2: Table) -> Iterator[Comparison]:
    row = start_row("UMTFSS", "unsup_init")
    most = max(table2.columns, key=lambda title: int(title.split()[0]))
    yield from _difference(
        f"UMTFSS, {most} minus 0 %", table2.cell(row, most), table2.cell(row, "0 %")
    )
