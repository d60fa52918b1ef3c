"""A table as LaTeX, CSV and Markdown: our numbers with intervals, beside the paper's numbers."""

import csv
import io
import re
from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from umtfss.common.errors import TableError
from umtfss.common.files import atomic_path
from umtfss.experiment.block import FOLDS
from umtfss.plan.cells import Column, FoldFile, Table
from umtfss.tables.values import Value, Values

PERCENT = ("value", "low", "high", "fb_iou")
COUNTS = ("episodes", "seeds", "trainings", "collapsed")
COLUMNS = (
    "row",
    "column",
    "metric",
    *PERCENT,
    "paper",
    *COUNTS,
)  # of the CSV, which other programs read
COLLAPSED = (
    "† A training of this row found nothing on its own tasks (IoU below 0.05 over a tenth of its "
    "steps, in its second half)."
)
SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "×": r"$\times$",
    "†": r"$\dagger$",
    "[": "{[}",  # after a line break it would open an argument
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def write_table(table: Table[FoldFile], values: Values, folder: str | Path) -> None:
    """Write a table for LaTeX, for programs and for readers.

    `<name>.tex` is the tabular alone, which a paper can input; it needs booktabs.
    `<name>_notes.tex` is the text below it, `<name>_page.tex` a document that shows both.
    `<name>.csv` has a line for every cell, `<name>.md` the caption, the table and the notes.

    Args:
        table: The layout.
        values: (row title, column title) -> number of every measured cell.
        folder: Folder of the files.

    Raises:
        TableError: A cell has no value.
    """
    measured = [cell.place for cell in table.cells if cell.measurements]
    missing = [place for place in measured if place not in values]
    if missing:
        raise TableError(
            f"{table.name} lacks the value of {len(missing)} cells",
            found=missing,
            fix="run snakemake --cores all all_tables",
        )
    renderings: dict[str, Callable[[Table[FoldFile], Values], str]] = {
        ".tex": latex,
        "_notes.tex": latex_notes,
        "_page.tex": latex_page,
        ".csv": tidy_csv,
        ".md": markdown,
    }
    for suffix, render in renderings.items():
        with atomic_path(Path(folder) / f"{table.name}{suffix}") as temporary:
            temporary.write_text(render(table, values), encoding="utf-8")


def latex(table: Table[FoldFile], values: Values) -> str:
    """The tabular alone; needs booktabs."""
    return _render(_latex_templates(), "table.tex.jinja", table, values)


def latex_notes(table: Table[FoldFile], values: Values) -> str:
    """The text below the table."""
    return "".join(f"{escape(one)}\n" for one in notes(table, values))


def latex_page(table: Table[FoldFile], values: Values) -> str:
    """A document of one page, as large as the table; inputs the tabular and the notes."""
    return _render(_latex_templates(), "table_page.tex.jinja", table, values)


def markdown(table: Table[FoldFile], values: Values) -> str:
    """A GitHub table with its caption above and its notes below."""
    environment = templates()
    environment.filters["md"] = lambda text: re.sub(r"([\\|<>*`])", r"\\\1", text)
    return _render(environment, "table.md.jinja", table, values)


def templates(**delimiters: str) -> Environment:
    """The templates of this package; each template escapes its values."""
    return Environment(
        loader=PackageLoader("umtfss", "tables/templates"),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
        autoescape=False,  # nosec B701 # LaTeX and Markdown, no HTML
        **delimiters,  # type: ignore[arg-type]
    )


def tidy_csv(table: Table[FoldFile], values: Values) -> str:
    """A CSV with one line per cell: `COLUMNS`, numbers in percent, then the cell's key."""
    stream = io.StringIO()
    writer = csv.DictWriter(stream, (*COLUMNS, *table.key_names), lineterminator="\n")
    writer.writeheader()
    for cell in table.cells:
        line: dict[str, Any] = {**cell.key, "row": cell.row, "column": cell.column.name}
        line |= {"metric": cell.metric, "paper": cell.paper}
        value = values.get(cell.place)  # None: quoted from the paper
        if value is not None:
            line |= {name: f"{getattr(value, name):.3f}" for name in PERCENT}
            line |= {name: int(getattr(value, name)) for name in COUNTS}
        writer.writerow(line)
    return stream.getvalue()


def escape(text: str) -> str:
    """The text with LaTeX's special characters escaped, and K_fg and K_bg as formulas."""
    parts = re.split(r"\b(K_(?:fg|bg))\b", text)  # every second part is a number of prototypes
    parts[1::2] = [rf"$K_\mathrm{{{part[2:]}}}$" for part in parts[1::2]]
    parts[::2] = ["".join(SPECIAL.get(c, c) for c in part) for part in parts[::2]]
    return "".join(parts)


def caption(table: Table[FoldFile], values: Iterable[Value]) -> str:
    """Title, metric and interval of a table in two sentences, as plain text."""
    coverage = " or ".join(f"{100 * c:g} %" for c in sorted({value.coverage for value in values}))
    text = f"mIoU in percent with {coverage} intervals"
    if any(cell.paper is not None for cell in table.cells):
        text += "; in parentheses the paper's number"
    if table.development:
        text += f"; development, {tested_on(table.development)}"
    return f"{table.title} {text}."


def notes(table: Table[FoldFile], values: Values) -> list[str]:
    """What a caption leaves out, as plain sentences: sample, folds, marks, and the table's note."""
    found = [_sample([*values.values()])]
    if len(table.folds) < len(FOLDS):
        folds = ", ".join(map(str, table.folds))
        found.append(f"Mean over fold{'s' * (len(table.folds) > 1)} {folds} only.")
    if table.leaves_out:
        tested = _classes(table, values)
        found.append(f"Classes of K images or fewer are left out; {tested} are tested.")
    if any(value.collapsed for value in values.values()):
        found.append(COLLAPSED)
    return [*found, *filter(None, [table.note])]


def _sample(values: Sequence[Value]) -> str:
    """The sentences that say what a number is a mean of, and what its interval covers."""
    sizes = sorted({(value.episodes, value.seeds) for value in values})
    sample = " or ".join(
        f"{episodes:,} episodes × {seeds} {'seed' if seeds == 1 else 'seeds'}"
        for episodes, seeds in sizes
    )
    trained = max((value.trainings for value in values), default=0)
    if trained > 1:
        return (
            f"The number of a trained model is the mean over {trained} training seeds. Intervals "
            f"cover training seeds (Student's t) and {sample} per fold (bootstrap)."
        )
    return (
        f"Intervals cover {sample} per fold (bootstrap). Every model is trained once; intervals do "
        "not cover training."
    )


def _classes(table: Table[FoldFile], values: Values) -> str:
    """The number of tested classes; several numbers if it depends on K."""
    whole = (c for c in table.cells if {m.fold for m in c.measurements} == {*table.folds})
    return " or ".join(f"{count:,}" for count in sorted({values[c.place].classes for c in whole}))


def tested_on(splits: Sequence[str]) -> str:
    """The words that name tested splits other than the official test split; empty if none."""
    return f"tested on {', '.join(splits)}, not on the test split" if splits else ""


def column_groups(columns: Iterable[Column]) -> list[tuple[str, list[str]]]:
    """(group, titles of the columns) for neighbouring columns of one group."""
    groups = groupby(columns, lambda column: column.group)
    return [(group, [column.title for column in members]) for group, members in groups]


def _latex_templates() -> Environment:
    environment = templates(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment.filters["tex"] = escape
    environment.filters["number"] = lambda value: f"{value:.1f}".replace("-", "$-$")
    return environment


def _render(environment: Environment, template: str, table: Table[FoldFile], values: Values) -> str:
    papers = {cell.place: cell.paper for cell in table.cells}
    columns = [column.name for column in table.columns]
    collapsed = {row for (row, _), value in values.items() if value.collapsed}
    rows = [
        (
            f"{row} †" if row in collapsed else row,
            [(values.get((row, column)), papers.get((row, column))) for column in columns],
        )
        for row in table.rows
    ]
    return environment.get_template(template).render(
        name=table.name,
        corner=table.corner,
        columns=columns,
        groups=column_groups(table.columns),
        rows=rows,
        caption=caption(table, values.values()),
        notes=notes(table, values),
    )
