"""Detection of collapsed trainings, which find nothing on their own tasks."""

from dataclasses import dataclass, field

COLLAPSED_IOU = 0.05
TENTHS = 10


@dataclass
class TaskIoU:
    """The IoU on training tasks in each tenth of the training.

    A tenth is low if its mean IoU is below `COLLAPSED_IOU`. The first low tenth, apart from the
    first tenth of the training, is logged at once. A training collapsed if a tenth of its second
    half is low: it never learned, or it has forgotten. A low second tenth may be normal in a short
    training.

    Attributes:
        steps: Steps of the training.
        sums: Sum of the steps' IoU in each tenth.
        counts: Number of steps in each tenth so far.
    """

    steps: int
    sums: list[float] = field(default_factory=lambda: [0.0] * TENTHS)
    counts: list[int] = field(default_factory=lambda: [0] * TENTHS)

    def add(self, step: int, iou: float) -> bool:
        """Count a step, from 0, and return whether it completes the first low tenth to log."""
        before = self._low_since(1)
        tenth = TENTHS * step // self.steps
        self.sums[tenth] += iou
        self.counts[tenth] += 1
        return self._low_since(1) and not before

    @property
    def collapsed(self) -> bool:
        """Whether a completed tenth of the second half is low."""
        return self._low_since(TENTHS // 2)

    def _low_since(self, first: int) -> bool:
        return any(
            count > 0 and count == self._size(tenth) and total / count < COLLAPSED_IOU
            for tenth, (total, count) in enumerate(zip(self.sums, self.counts, strict=True))
            if tenth >= first
        )

    def _size(self, tenth: int) -> int:
        """The number of steps s with TENTHS * s // steps equal to the tenth."""
        ends = (-(-edge * self.steps // TENTHS) for edge in (tenth, tenth + 1))
        start, stop = ends
        return stop - start
