"""The parts of the check, each in a process of its own, and the table that they write.

A part that raises, crashes or takes too long loses none of its rows so far, and the next one
starts. The table is a CSV file to which every row is appended at once.
"""

import csv
import multiprocessing
import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory

OK, FAILED, MET, MISSED, MISSING, ERROR, LATE = (
    *("ok", "failed", "met", "missed", "missing", "error", "out of time"),
)
BAD = (FAILED, ERROR, LATE)  # these make the whole check fail; a missed goal does not


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        what: What was checked or measured.
        value: The result, a number or a text.
        unit: Unit of the number.
        goal: The bound or goal, as a text; empty: none.
        verdict: "ok" or "failed" of a check; "met" or "missed" of a goal; "missing" of a package;
            "error" or "out of time" of a part; empty: only measured.
        note: What else a reader must know.
    """

    what: str
    value: float | str
    unit: str = ""
    goal: str = ""
    verdict: str = ""
    note: str = ""


def check(what: str, error: float, most: float, note: str = "") -> Row:
    """A row that is "ok" if an error is at most its bound; an error that is no number fails."""
    return Row(what, error, "", f"<= {most:g}", OK if error <= most else FAILED, note)


def goal(what: str, value: float, unit: str, least: float, judged: bool, note: str = "") -> Row:
    """A row of a goal for the least value; tiny sizes judge nothing."""
    verdict = (MET if value >= least else MISSED) if judged else ""
    return Row(what, value, unit, f">= {least:g}", verdict, note)


@dataclass(frozen=True)
class Setup:
    """What every part is given.

    Attributes:
        device: "cpu", "cuda" or "cuda:1".
        small: Tiny sizes, which show that everything runs.
        folder: An empty folder.
    """

    device: str
    small: bool
    folder: Path


Part = Callable[[Setup], Iterator[Row]]


class Table:
    """The CSV file.

    Args:
        path: The file, which is written anew.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "w", newline="") as stream:
            csv.writer(stream).writerow(["part", *(field.name for field in fields(Row))])

    def add(self, part: str, row: Row) -> None:
        """Append a row, and print it."""
        value = f"{row.value:.5g}" if isinstance(row.value, float) else row.value
        with open(self.path, "a", newline="") as stream:
            csv.writer(stream).writerow([part, row.what, value, *astuple(row)[2:]])
        print(f"{part}: {row.what}: {value} {row.unit} {row.goal} {row.verdict}", flush=True)

    def rows(self) -> list[dict[str, str]]:
        """The rows so far, by column."""
        with open(self.path, newline="") as stream:
            return list(csv.DictReader(stream))

    def failed(self) -> bool:
        """Whether a check failed or a part did not end."""
        return any(row["verdict"] in BAD for row in self.rows())


@dataclass(frozen=True)
class Budget:
    """A part with the most time that it may take.

    Attributes:
        name: Name of the part.
        part: The part.
        seconds: Most seconds at full size.
    """

    name: str
    part: Part
    seconds: float


def run(budgets: Sequence[Budget], device: str, small: bool, table: Table, seconds: float) -> None:
    """Run the parts one after another.

    Args:
        budgets: The parts.
        device: As in `Setup`.
        small: As in `Setup`.
        table: The table.
        seconds: Most seconds of all parts together; parts that do not start say so.
    """
    end = time.monotonic() + seconds
    context = multiprocessing.get_context("fork")  # the imports, seconds each time, serve all
    for budget in budgets:
        rest = end - time.monotonic()
        limit = rest if small else min(budget.seconds, rest)
        if limit <= 1:
            table.add(budget.name, Row("not started", "", verdict=LATE))
            continue
        start = time.monotonic()
        with TemporaryDirectory() as folder:
            setup = Setup(device, small, Path(folder))
            process = context.Process(target=_guarded, args=(budget, setup, table))
            process.start()
            process.join(limit)
            late = process.is_alive()
            with suppress(ProcessLookupError):  # the part's own processes go with it
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
        if late:
            table.add(budget.name, Row(f"stopped after {limit:.0f} s", "", verdict=LATE))
        elif process.exitcode:
            table.add(budget.name, Row("crashed", f"exit {process.exitcode}", verdict=ERROR))
        table.add(budget.name, Row("time", time.monotonic() - start, "s"))


def _guarded(budget: Budget, setup: Setup, table: Table) -> None:
    """Run a part in this process, and keep what it raises as a row."""
    os.setpgrp()
    try:
        for row in budget.part(setup):
            table.add(budget.name, row)
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        text = str(error).strip().partition("\n")[0][:300]
        table.add(budget.name, Row(type(error).__name__, text, verdict=ERROR, note=place))
        traceback.print_exc()
