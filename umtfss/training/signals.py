"""Handling of SIGTERM and SIGINT: the step finishes, and the training is saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class StopRequest:
    """A request to stop the training.

    Attributes:
        number: Number of the first signal; 0: no request.
    """

    number: int = 0


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Record the first SIGTERM or SIGINT within the block, instead of ending the process.

    The block must run in the main thread, as Python requires for signal handlers. The training loop
    reads the request once per step. SIGKILL and SIGQUIT still end the process at once.
    """
    request = StopRequest()

    def note(number: int, frame: FrameType | None) -> None:
        request.number = request.number or number

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def leave_signals_to_parent(worker: int) -> None:
    """Ignore both signals in a loader process, which the training process ends.

    Ctrl-C and schedulers signal the whole process group. A loader process that ended would make the
    training fail in the middle of a step.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
