"""The training curve: `log.csv`, with equal bytes for equal trainings, and its picture."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from umtfss.common.files import atomic_path

HEADER = "step,loss,iou,rate"


@dataclass
class Curve:
    """Loss and IoU of every step, averaged over `every` steps into one line of `log.csv`.

    Attributes:
        path: The CSV file; `start` writes it anew, and every full line is appended at once.
        every: Number of steps that one line averages.
        lines: The lines so far.
        window: (loss, IoU) of the steps since the last line.
        step: Number of steps so far.
    """

    path: Path
    every: int
    lines: list[str] = field(default_factory=list)
    window: list[tuple[float, float]] = field(default_factory=list)
    step: int = 0

    def start(self) -> None:
        """Write the header and the lines so far; later lines of an interrupted run are dropped."""
        self.path.write_text("\n".join([HEADER, *self.lines]) + "\n")

    def add(self, loss: float, iou: float, rate: float) -> None:
        """Count a step; a line has the learning rate of its last step."""
        self.step += 1
        self.window.append((loss, iou))
        if len(self.window) == self.every:
            self._close_window(rate)

    def finish(self, rate: float) -> None:
        """Make the rest of the window the last line, and write the whole file anew."""
        if self.window:
            self._close_window(rate)
        with atomic_path(self.path) as temporary:
            temporary.write_text("\n".join([HEADER, *self.lines]) + "\n")

    def latest(self, steps: int = 100) -> tuple[float, float]:
        """Mean loss and IoU of about the last `steps` steps, from whole lines."""
        rows = [line.split(",") for line in self.lines[-max(1, steps // self.every) :]]
        _, loss, iou, _ = np.array(rows, dtype=float).mean(0).tolist()
        return loss, iou

    def _close_window(self, rate: float) -> None:
        loss, iou = (sum(values) / len(values) for values in zip(*self.window, strict=True))
        self.lines.append(f"{self.step},{loss:.6f},{iou:.6f},{rate:.6g}")
        self.window.clear()
        with open(self.path, "a") as stream:
            stream.write(self.lines[-1] + "\n")


def draw_curve(log: Path, picture: Path) -> None:
    """Draw loss and IoU of a `log.csv` over the steps, smoothed over a twentieth of its lines."""
    # read by numpy: importing pandas takes as long as reading the features of a short training
    table = np.genfromtxt(log, delimiter=",", names=True, ndmin=1)
    width, ends = max(1, len(table) // 20), range(1, len(table) + 1)
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    for axes, column, title in zip(
        figure.subplots(1, 2), ("loss", "iou"), ("loss", "IoU on training tasks"), strict=True
    ):
        axes.plot(table["step"], table[column], color="tab:blue", alpha=0.3, linewidth=0.8)
        smooth = [table[column][max(0, end - width) : end].mean() for end in ends]
        axes.plot(table["step"], smooth, color="tab:blue")
        axes.set(xlabel="step", title=title)
        axes.grid(alpha=0.3)
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})
