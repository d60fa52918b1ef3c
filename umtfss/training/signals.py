"""A polite end: SIGTERM and SIGINT let the step finish, so that the training can be saved."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass
class StopRequest:
    """Whether somebody asked the training to stop.

    Attributes:
        number: The first signal, 0 as long as there was none.
    """

    number: int = 0


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Notes the first SIGTERM or SIGINT of the block, instead of letting the process die of it.

    To be entered in the main thread, as Python demands of signal handlers. The training loop asks
    once a step; what must end it at once is SIGKILL or SIGQUIT.
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
    """Make a loader process deaf to both signals: the training process ends it when it is done.

    Ctrl-C and schedulers signal the whole process group; a loader that died of it would take the
    training down in the middle of a step.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
