"""The speed of a training in its log."""

import logging
import time

SECONDS_BETWEEN_REPORTS = 30.0

logger = logging.getLogger(__name__)


class Report:
    """Logs the speed of a training from time to time; log.csv is reproducible and has no speed.

    Args:
        batch_size: Episodes of a step, over all processes.
    """

    def __init__(self, batch_size: int) -> None:
        self.batch_size = batch_size
        self.said = self.ended = time.monotonic()
        self.steps, self.waited = 0, 0.0

    def loaded(self) -> None:
        """Count the time since the last step as waiting for the loader."""
        self.waited += time.monotonic() - self.ended

    def stepped(self) -> None:
        """Count a step, which a GPU may still be computing."""
        self.ended = time.monotonic()
        self.steps += 1

    def log(self, step: int, steps: int, loss: float, iou: float) -> None:
        """Every half minute, log the speed since the last log."""
        self.ended = time.monotonic()
        seconds = self.ended - self.said
        if seconds < SECONDS_BETWEEN_REPORTS:
            return
        logger.info(
            "step %d of %d: loss %.4f, IoU %.3f, %.1f episodes/s, loader waited for %.0f %%, "
            "%.1f min to go",
            step,
            steps,
            loss,
            iou,
            self.steps * self.batch_size / seconds,
            100 * self.waited / seconds,
            (steps - step) * seconds / self.steps / 60,
        )
        self.said, self.steps, self.waited = self.ended, 0, 0.0
