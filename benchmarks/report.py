"""The measurements as tables, CSV and a plot."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib
import pandas as pd
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from benchmarks.measure import growth_exponent


@dataclass(frozen=True)
class Row:
    """One way of doing a task.

    Attributes:
        task: The task, with the unit of work that the seconds refer to.
        path: The code: "umtfss", or a plain alternative.
        seconds: CPU-seconds.
        megabytes: Peak memory above the memory before the task, MB.
        peak_share: Achieved rate of the matrix products over the measured peak rate in fp32; bf16
            may exceed 1. None if matrix products do not dominate.
    """

    task: str
    path: str
    seconds: float
    megabytes: float
    peak_share: float | None = None


@dataclass(frozen=True)
class Goal:
    """A goal of the project with its measurement.

    Attributes:
        what: The quantity, with its unit.
        goal: The largest value allowed, or the smallest if `at_least`.
        measured: The measured value; None: not measured here.
        at_least: Whether more is better.
        reason: Source of the goal and, if the goal is missed, the reason.
    """

    what: str
    goal: float
    measured: float | None
    at_least: bool = False
    reason: str = ""

    @property
    def verdict(self) -> str:
        """The verdict on the goal, in a word."""
        if self.measured is None:
            return "not measured"
        is_met = self.measured >= self.goal if self.at_least else self.measured <= self.goal
        return "met" if is_met else "MISSED"


@dataclass(frozen=True)
class Curve:
    """Seconds of a path as one size grows."""

    path: str
    size: str
    sizes: Sequence[float]
    seconds: Sequence[float]

    @property
    def exponent(self) -> float:
        """The exponent p of seconds = c * size ** p."""
        return growth_exponent(self.sizes, self.seconds)


def write_report(
    folder: Path, rows: Sequence[Row], goals: Sequence[Goal], curves: Sequence[Curve]
) -> str:
    """The tables as text; also written as paths.csv, goals.csv, growth.csv and benchmarks.png."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = pd.DataFrame([asdict(row) for row in rows])
    fastest = paths[paths.path.str.startswith("umtfss")].groupby("task").seconds.first()
    paths["times_umtfss"] = paths.seconds / paths.task.map(fastest)
    targets = pd.DataFrame(
        {
            "what": goal.what,
            "goal": f"{'>=' if goal.at_least else '<='} {goal.goal:g}",
            "measured": goal.measured,
            "verdict": goal.verdict,
            "reason": goal.reason,
        }
        for goal in goals
    )
    growth = pd.DataFrame(
        {
            "path": curve.path,
            "size": curve.size,
            "at": at,
            "seconds": seconds,
            "exponent": curve.exponent,
        }
        for curve in curves
        for at, seconds in zip(curve.sizes, curve.seconds, strict=True)
    )
    text = []
    for name, table in (("goals", targets), ("paths", paths), ("growth", growth)):
        table.to_csv(folder / f"{name}.csv", index=False, float_format="%.4g")
        shown = table.to_string(index=False, float_format="%.4g", na_rep="-")
        text.append(f"{name}\n{shown}\n")
    _plot(folder / "benchmarks.png", paths, curves)
    return "\n".join(text)


def _plot(path: Path, paths: pd.DataFrame, curves: Sequence[Curve]) -> None:
    """Bars of every path, and growth curves, each relative to its first point."""
    figure = Figure((15, 0.28 * len(paths) + 2), layout="constrained")
    FigureCanvasAgg(figure)
    bars, growth = figure.subplots(1, 2, width_ratios=(3, 2))
    colours = ["#0b6e99" if name.startswith("umtfss") else "#b0b0b0" for name in paths.path]
    labels = paths.task + ": " + paths.path
    bars.barh(labels[::-1], paths.seconds[::-1], color=colours[::-1])
    bars.set_xscale("log")
    bars.set_xlabel("CPU-seconds on one core")
    for curve in curves:
        growth.plot(
            [size / curve.sizes[0] for size in curve.sizes],
            [seconds / curve.seconds[0] for seconds in curve.seconds],
            marker="o",
            label=f"{curve.path}, {curve.size}: exponent {curve.exponent:.2f}",
        )
    growth.set(xscale="log", yscale="log", xlabel="size / first", ylabel="CPU-seconds / first")
    growth.legend(fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.06))
    with matplotlib.rc_context({"savefig.facecolor": "white"}):
        figure.savefig(path, dpi=90)
