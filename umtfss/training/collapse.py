"""The notice of a training that finds nothing on its own tasks."""

from dataclasses import dataclass, field

COLLAPSED_IOU = 0.05


@dataclass
class TaskIoU:
    """The IoU on training tasks by tenths of the training.

    A training collapsed if its mean IoU over some tenth of the steps, the first tenth left out, is
    below `COLLAPSED_IOU`: it has not started by then, or it has lost what it had.

    Attributes:
        steps: Steps of the training.
        sums: Sum of the steps' IoU in each tenth.
        counts: Number of steps in each tenth so far.
    """

    steps: int
    sums: list[float] = field(default_factory=lambda: [0.0] * 10)
    counts: list[int] = field(default_factory=lambda: [0] * 10)

    def add(self, step: int, iou: float) -> bool:
        """Count a step, from 0; whether it completes the first tenth that is too low."""
        before = self.collapsed
        tenth = 10 * step // self.steps
        self.sums[tenth] += iou
        self.counts[tenth] += 1
        return self.collapsed and not before

    @property
    def collapsed(self) -> bool:
        """Whether the mean of a completed tenth, the first left out, is too low."""
        return any(
            count > 0 and count == self._size(tenth) and total / count < COLLAPSED_IOU
            for tenth, (total, count) in enumerate(zip(self.sums, self.counts, strict=True))
            if tenth > 0
        )

    def _size(self, tenth: int) -> int:
        """Number of steps s with 10 * s // steps equal to the tenth."""
        return -(-(tenth + 1) * self.steps // 10) - -(-tenth * self.steps // 10)
