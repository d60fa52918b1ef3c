"""CPU time, memory and growth of a call.

CPU-seconds of this process are measured, so other programs on the machine affect them little. The
caches and the memory bus are shared, though, and the median of the repeats does not correct this.
"""

import ctypes
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from umtfss.common.onednn import linear


@dataclass(frozen=True)
class Measurement:
    """The cost of a call.

    Attributes:
        seconds: Median CPU-seconds per item.
        megabytes: Peak memory of the first call above the memory before the call, MB; NaN if the
            system does not report the memory.
    """

    seconds: float
    megabytes: float


def measure(call: Callable[[], Any], items: int = 1, repeats: int = 5) -> Measurement:
    """Measure a call: memory in a first call, which also warms up, then time in further calls.

    Args:
        call: The call.
        items: Number of items that the call processes, e.g. episodes.
        repeats: Number of timed calls.
    """
    before = start_peak()
    call()
    peak = peak_memory()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return Measurement(median(seconds) / items, peak - before)


def growth_exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent p of the best fit of the power law seconds = c * size ** p."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def product_rates(size: int) -> dict[str, float]:
    """GFLOP/s of a square fp32 matrix product: torch's own, and through oneDNN."""
    a = torch.randn(size, size)
    calls = {"torch.mm": lambda: a @ a, "oneDNN": lambda: linear(a, a)}
    return {name: 2e-9 * size**3 / measure(call).seconds for name, call in calls.items()}


def start_peak() -> float:
    """Give freed memory back, forget the peak, and return the resident memory, MB."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def peak_memory() -> float:
    """The peak of the resident memory since `start_peak`, MB; NaN if the system does not say."""
    return _status("VmHWM")


def _status(key: str) -> float:
    """A line of Linux's /proc/self/status, MB."""
    if sys.platform != "linux":
        return float("nan")
    found = re.search(rf"{key}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")
