"""The speed of the workers that an experiment's jobs share.

A core's rate is the matrix-product rate of a core of this machine times the measured efficiency of
each arrow. A GPU's rate is in a table of `python -m benchmarks.gpu`.
"""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import process_time

from umtfss.common.errors import ConfigError

# The constants were measured on PASCAL with the packaged ViT, on two cores of 111 GFLOP/s
# (AMD EPYC). Seconds exclude the start of each job.
# Arrow -> efficiency, the achieved part of a core's matrix-product rate.
EFFICIENCY = {
    "features": 0.90,  # 63.2 TFLOP in 8 jobs that took 680 s
    "training": 0.60,  # runs of 150 steps of 4 episodes, 2.94 TFLOP each, took about 50 s
    "evaluation": 0.63,  # 54.4 TFLOP in 12 jobs that took 849 s, reading included
}
# Core-seconds for the imports of a job.
START_SECONDS = 6.0
# The part and the line of the GPU's table that tell its rate, TFLOP/s.
GPU_PART, GPU_STEP, GPU_NAME = "time shares", "training step", "card"


@dataclass(frozen=True)
class Rates:
    """The speed of the workers that share the jobs.

    Attributes:
        of: What works, e.g. "this machine's CPU".
        gflops: Arrow -> GFLOP/s of one worker.
        workers: Number of workers.
    """

    of: str
    gflops: Mapping[str, float]
    workers: int

    def seconds(self, arrow: str, gflop: float) -> float:
        """Seconds of one worker for an arrow's work."""
        return gflop / self.gflops[arrow]

    def hours(self, jobs: int, seconds: float) -> float:
        """Hours with all workers busy, for a number of jobs and their seconds in total."""
        return (seconds + jobs * START_SECONDS) / self.workers / 3600


def cpu_rates() -> Rates:
    """The rates of this machine's cores."""
    rate = matmul_rate()
    gflops = {arrow: rate * part for arrow, part in EFFICIENCY.items()}
    return Rates("this machine's CPU", gflops, os.cpu_count() or 1)


def gpu_rates(table: Path) -> Rates:
    """The rates of one GPU: every arrow at the rate of its training step.

    Args:
        table: What `python -m benchmarks.gpu` wrote on the GPU's machine.

    Raises:
        ConfigError: The file is missing, or does not tell the rate of a training step.
    """
    try:
        with open(table, newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
        values = {(row["part"], row["what"]): row["value"] for row in rows}
        rate = 1000 * float(values[GPU_PART, GPU_STEP])
    except (OSError, KeyError, ValueError) as error:
        raise ConfigError(
            f"{table} tells no rate of a GPU",
            expected=f"a table with the line {GPU_STEP!r} of the part {GPU_PART!r}",
            found=f"{type(error).__name__}: {error}",
            fix="run python -m benchmarks.gpu --out FILE on its machine, and give FILE",
        ) from error
    name = values.get(("machine", GPU_NAME), "GPU")
    return Rates(f"one {name}", dict.fromkeys(EFFICIENCY, rate), 1)


def matmul_rate(seconds: float = 0.3) -> float:
    """GFLOP/s of single-precision matrix products on one core of this machine.

    The measurement takes `seconds` of processor time, so other programs affect it little.
    """
    import torch  # takes seconds, and only this function needs it

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        a = torch.ones(1024, 1024)
        a @ a
        start, products = process_time(), 0
        while process_time() - start < seconds:
            a @ a
            products += 1
        return 2 * 1.024**3 * products / (process_time() - start)
    finally:
        torch.set_num_threads(threads)
