"""A table as LaTeX, CSV and Markdown."""

import csv
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from umtfss.common.errors import TableError
from umtfss.plan.cells import Cell, Column, FoldFile, Table
from umtfss.tables.values import Value
from umtfss.tables.write import caption, column_groups, escape, notes, write_table

FOLDS = tuple(Column(title, f"{shot}-shot") for shot in (1, 5) for title in ("fold 0", "mean"))
NASTY = "50 % & K_bg #1 $x$ {a} ~ ^ \\ <b> [c] | × 'd'"


def make(
    rows: tuple[str, ...] = ("floor", "[ours]"),
    columns: tuple[Column, ...] = FOLDS,
    folds: tuple[int, ...] = (0, 1, 2, 3),
    note: str = "",
) -> tuple[Table[FoldFile], dict[tuple[str, str], Value]]:
    measured = (FoldFile("a.json", 0, 5, None, "pascal 1-shot"),)
    cells = tuple(
        Cell(row, column, {"model": row}, measured, 60.2 if row == rows[-1] else None)
        for row in rows
        for column in columns
    )[:-1]
    table = Table("table9", "A title.", "model", rows, columns, cells, folds, note)
    values = {
        cell.place: Value(40 + n, 39.04 + n, 41.06 + n, 1000, 5, 0.95, 70.5)
        for n, cell in enumerate(cells)
    }
    return table, values


def write(
    folder: Path, table: Table[FoldFile], values: dict[tuple[str, str], Value]
) -> dict[str, str]:
    """What the written files say, by the end of their name after the table's."""
    write_table(table, values, folder)
    texts = {path.name.removeprefix("table9"): path.read_text() for path in folder.iterdir()}
    assert texts.keys() == {".tex", "_notes.tex", "_page.tex", ".csv", ".md"}
    return texts


def test_csv_is_tidy(tmp_path: Path) -> None:
    text = write(tmp_path, *make())[".csv"]
    lines = list(csv.DictReader(text.splitlines()))
    names = "row,column,metric,value,low,high,fb_iou,paper,episodes,seeds,trainings,collapsed"
    assert ",".join(lines[0]) == f"{names},model"  # the key's names come last
    assert len(lines) == 7
    assert list(lines[-1].values()) == [
        "[ours]",
        "5-shot fold 0",
        "miou",
        "46.000",
        "45.040",
        "47.060",
        "70.500",
        "60.2",
        "1000",
        "5",
        "1",
        "0",
        "[ours]",
    ]
    assert lines[0]["paper"] == ""


def test_markdown_has_a_line_per_row(tmp_path: Path) -> None:
    table, values = make()
    lines = write(tmp_path, table, values)[".md"].splitlines()
    assert lines[2] == ("| model | 1-shot fold 0 | 1-shot mean | 5-shot fold 0 | 5-shot mean |")
    assert lines[3] == "|---|---|---|---|---|"
    assert lines[4].startswith("| floor | 40.0 [39.0, 41.1] | 41.0 [40.0, 42.1] | ")
    assert lines[5].endswith(" | 46.0 [45.0, 47.1] (60.2) | – |")
    assert lines[6:] == ["", " ".join(notes(table, values))]
    texts = write(tmp_path, *make(columns=(Column("a|b"),), rows=("x", "y", "z")))
    assert r"| model | a\|b |" in texts[".md"]


def test_latex_shows_numbers_intervals_and_the_paper(tmp_path: Path) -> None:
    text = write(tmp_path, *make())[".tex"]
    assert text.count(r"\multicolumn{2}{c}") == 2
    assert r"\cmidrule(lr){2-3}" in text
    assert r"\cmidrule(lr){4-5}" in text
    assert " & 46.0 (60.2)\n" in text
    assert " & {\\scriptsize [45.0, 47.1]}\n" in text
    assert text.count(" & --\n") == 1
    assert "{[}ours]" in text


def test_the_caption_is_of_two_sentences() -> None:
    table, values = make(note="A note.")
    assert caption(table, values.values()) == (
        "A title. mIoU in percent with 95 % intervals; in parentheses the paper's number."
    )
    alone = replace(table, cells=table.cells[:2])
    assert caption(alone, values.values()) == "A title. mIoU in percent with 95 % intervals."
    development = replace(alone, development=("pascal/train",))
    assert caption(development, values.values()) == (
        "A title. mIoU in percent with 95 % intervals; development, tested on pascal/train, not on "
        "the test split."
    )


def test_the_notes_say_what_the_numbers_are() -> None:
    table, values = make(note="A note.")
    assert notes(table, values) == [
        "Intervals cover 1,000 episodes × 5 seeds per fold (bootstrap). Every model is trained "
        "once; intervals do not cover training.",
        "A note.",
    ]
    several = {("x", str(n)): Value(40, 39, 41, 100, 1, 0.95, 70, trainings=n) for n in (0, 5)}
    assert notes(replace(table, note=""), several) == [
        "The number of a trained model is the mean over 5 training seeds. Intervals cover training "
        "seeds (Student's t) and 100 episodes × 1 seed per fold (bootstrap)."
    ]
    assert notes(replace(table, folds=(0, 1)), several)[1] == "Mean over folds 0, 1 only."
    assert notes(replace(table, folds=(2,)), several)[1] == "Mean over fold 2 only."


def test_the_notes_count_the_classes_that_stay() -> None:
    table, values = make(columns=FOLDS[1:3])  # a mean with 1 shot, fold 0 with 5
    one, whole = (
        tuple(FoldFile("a.json", fold, 5, None, "d 1-shot") for fold in range(count))
        for count in (1, 4)
    )
    cells = [
        replace(cell, measurements=whole if cell.column.title == "mean" else one)
        for cell in table.cells
    ]
    table = replace(table, cells=tuple(cells), leaves_out=True)
    counted = {
        place: replace(v, classes=17 if "mean" in place[1] else 4) for place, v in values.items()
    }
    sentence = "Classes of K images or fewer are left out; 17 are tested."
    assert notes(table, counted)[1] == sentence
    assert sentence not in notes(replace(table, leaves_out=False), counted)


def test_columns_are_grouped_by_what_they_share() -> None:
    columns = (Column("fold 0", "a 1-shot"), Column("mean", "a 1-shot"), Column("mean", "b"))
    assert column_groups(columns) == [("a 1-shot", ["fold 0", "mean"]), ("b", ["mean"])]
    assert column_groups((Column("fold 0"), Column("mean"))) == [("", ["fold 0", "mean"])]


def test_a_quoted_number_is_shown_as_such_and_needs_no_value(tmp_path: Path) -> None:
    table, values = make()
    quoted = Cell[FoldFile](
        "PPNet (quoted)", Column("mean", "1-shot"), {"quoted": "PPNet", "shot": 1}, (), 52.8
    )
    texts = write(
        tmp_path,
        replace(table, rows=(*table.rows, quoted.row), cells=(*table.cells, quoted)),
        values,
    )
    assert " & (52.8)\n" in texts[".tex"]
    assert "| (52.8) |" in texts[".md"]
    lines = texts[".csv"].splitlines()
    assert lines[0].endswith(",collapsed,model,quoted,shot")
    assert lines[-1] == "PPNet (quoted),1-shot mean,miou,,,,,52.8,,,,,,PPNet,1"


def test_a_row_with_a_collapsed_training_is_marked(tmp_path: Path) -> None:
    table, values = make()
    place = ("floor", "5-shot fold 0")
    texts = write(tmp_path, table, {**values, place: replace(values[place], collapsed=True)})
    assert "| floor † | 40.0" in texts[".md"]
    assert r"floor $\dagger$" in texts[".tex"]
    assert "| \\[ours] |" not in texts[".md"]
    assert texts[".md"].count("†") == 2  # the row and the note
    assert "IoU below 0.05" in texts["_notes.tex"]
    marked = [
        line for line in csv.DictReader(texts[".csv"].splitlines()) if line["collapsed"] == "1"
    ]
    assert [(line["row"], line["column"]) for line in marked] == [place]


def test_special_characters_are_escaped() -> None:
    assert escape("5 % of K_x & {x}") == r"5 \% of K\_x \& \{x\}"
    assert escape("K_bg / K_fg, k_fg") == r"$K_\mathrm{bg}$ / $K_\mathrm{fg}$, k\_fg"
    assert escape("a\\b") == r"a\textbackslash{}b"


def test_a_cell_without_value_is_refused(tmp_path: Path) -> None:
    table, values = make()
    del values["floor", "1-shot mean"]
    with pytest.raises(TableError, match=r"(?s)table9 lacks the value of 1 cells.*1-shot mean"):
        write_table(table, values, tmp_path)
    assert not list(tmp_path.iterdir())


LATEX = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="pdflatex is not installed")


def compiled(source: Path) -> bytes:
    """The PDF of a document that compiles without a line that is too long."""
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", source.name]
    done = subprocess.run(command, cwd=source.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout
    assert "(1 page," in done.stdout
    return source.with_suffix(".pdf").read_bytes()


@LATEX
@pytest.mark.parametrize("wide", [True, False])
def test_the_page_compiles(tmp_path: Path, wide: bool) -> None:
    columns = tuple(Column(f"fold {n}", name) for name in ("pascal", "coco") for n in range(5))
    table, values = make(
        rows=("a", "b", NASTY), columns=columns if wide else (Column("1"),), note=NASTY
    )
    write_table(replace(table, title=NASTY), values, tmp_path)
    assert len(compiled(tmp_path / "table9_page.tex")) > 5000


@LATEX
def test_a_paper_inputs_two_tables(tmp_path: Path) -> None:
    table, values = make()
    for name in ("table8", "table9"):
        write_table(replace(table, name=name), values, tmp_path)
    floats = "".join(
        rf"\begin{{table}}\caption{{A title.}}\footnotesize\input{{{name}}}\par"
        rf"\input{{{name}_notes}}\end{{table}}"
        for name in ("table8", "table9")
    )
    paper = tmp_path / "paper.tex"
    paper.write_text(
        r"\documentclass{article}\usepackage{booktabs}\begin{document}"
        rf"{floats}\end{{document}}"
    )
    assert len(compiled(paper)) > 5000
