"""A claim of the paper as comparisons of cells, which are found by their keys.

This module reads no result; `umtfss/tables/claims.py` judges the claims.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic

from umtfss.experiment.models import PAPER_MODELS
from umtfss.plan.cells import Cell, Measured, Other, Table
from umtfss.plan.run import Measurement

Found = Cell[Measurement] | None


@dataclass(frozen=True)
class Comparison(Generic[Measured]):
    """A signed sum of cells that is positive according to the claim.

    Attributes:
        name: Description of the comparison, for the reader.
        terms: (sign, cell) of every term.
    """

    name: str
    terms: tuple[tuple[int, Cell[Measured]], ...]


@dataclass(frozen=True)
class Ranking(Generic[Measured]):
    """Models whose measured order should be that of numbers in print.

    Attributes:
        name: Description of the ranking, for the reader.
        terms: (number in print, measured cell) of every model.
    """

    name: str
    terms: tuple[tuple[float, Cell[Measured]], ...]


@dataclass(frozen=True)
class Claim(Generic[Measured]):
    """A claim of the paper, and its test.

    Attributes:
        key: Short name.
        claim: The paper's claim, in our words.
        test: The condition that every comparison must meet.
        comparisons: The comparisons; empty if the experiment's tables lack the cells.
        rankings: The rankings, likewise; each should correlate with the numbers in print.
    """

    key: str
    claim: str
    test: str
    comparisons: tuple[Comparison[Measured], ...]
    rankings: tuple[Ranking[Measured], ...] = ()

    @property
    def measurements(self) -> Iterator[Measured]:
        """Every measurement of the claim, repetitions included."""
        for comparison in self.comparisons:
            for _, cell in comparison.terms:
                yield from cell.measurements
        for ranking in self.rankings:
            for _, cell in ranking.terms:
                yield from cell.measurements

    def of(self, change: Callable[[Measured], Other]) -> "Claim[Other]":
        """The claim with `change` applied to every measurement."""
        comparisons = tuple(
            Comparison(one.name, tuple((sign, cell.of(change)) for sign, cell in one.terms))
            for one in self.comparisons
        )
        rankings = tuple(
            Ranking(one.name, tuple((number, cell.of(change)) for number, cell in one.terms))
            for one in self.rankings
        )
        return Claim(self.key, self.claim, self.test, comparisons, rankings)


class Cells:
    """The measured cells of several tables by their keys.

    Args:
        tables: The tables that an experiment fills.
    """

    def __init__(self, tables: Iterable[Table[Measurement]]) -> None:
        self._tables: Mapping[str, Table[Measurement]] = {table.name: table for table in tables}

    def cell(self, table: str, **key: str | int) -> Found:
        """The cell of a table with exactly this key; None if the cell or the table is missing."""
        return self._tables[table].cell(key) if table in self._tables else None

    def quoted(self, table: str, **key: str | int) -> float | None:
        """The paper's number in the quoted cell with exactly this key; None if there is none."""
        cells = self._tables[table].cells if table in self._tables else ()
        return next((c.paper for c in cells if c.key == key and not c.measurements), None)

    def values_of(self, table: str, name: str) -> list[Any]:
        """The values of `name` in the keys of a table; empty without the table."""
        return self._tables[table].values_of(name) if table in self._tables else []

    def models_of(self, table: str) -> list[str]:
        """The paper's models in a table; claims compare no other models."""
        return [model for model in self.values_of(table, "model") if model in PAPER_MODELS]


def difference(name: str, one: Found, other: Found) -> Iterator[Comparison[Measurement]]:
    """`one` minus `other`, if both are measured and on the same episodes."""
    if one is not None and other is not None and _episodes(one) == _episodes(other):
        yield Comparison(name, ((1, one), (-1, other)))


def signed_sum(name: str, *terms: tuple[int, Found]) -> Iterator[Comparison[Measurement]]:
    """The signed sum of cells, if all of them are measured."""
    found = tuple((sign, cell) for sign, cell in terms if cell is not None)
    if len(found) == len(terms):
        yield Comparison(name, found)


def _episodes(cell: Cell[Measurement]) -> set[tuple[str, int, int]]:
    return {(m.dataset, m.fold, m.shot) for m in cell.measurements}
