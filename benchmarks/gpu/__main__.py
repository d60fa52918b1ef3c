"""Check and measure a CUDA machine: `python -m benchmarks.gpu --out FILE`.

The table is complete after at most eight minutes. `--device cpu --small` runs everything at tiny
sizes. The exit status is 1 if a check failed or a part did not end.
"""

import argparse
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch

from benchmarks.gpu import correct, speed
from benchmarks.gpu.report import ERROR, Budget, Row, Setup, Table, run
from umtfss.common.manifests import package_versions

PACKAGES = ("umtfss", "torch", "torchvision", "numpy", "h5py", "scipy", "timm", "faiss-gpu")


def machine(setup: Setup) -> Iterator[Row]:
    """The card, the driver and the versions."""
    yield Row("python", platform.python_version())
    for name, found in package_versions(*PACKAGES).items():
        yield Row(name, found)
    if setup.device == "cpu":
        yield Row("card", "none: run on the CPU")
        return
    if not torch.cuda.is_available():
        yield Row("card", "torch sees none", verdict=ERROR)
        return
    facts = torch.cuda.get_device_properties(setup.device)
    yield Row("card", facts.name)
    yield Row("memory", facts.total_memory / 1e9, "GB")
    yield Row("CUDA of torch", str(torch.version.cuda))
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        yield Row("driver", done.stdout.strip().partition("\n")[0])


PARTS = (  # the most telling first: the last ones are left out if time runs out
    Budget("machine", machine, 40),
    Budget("models", correct.models, 60),
    Budget("steps", speed.steps, 90),
    Budget("tests", speed.tests, 90),
    Budget("time shares", speed.time_shares, 45),
    Budget("mixed precision", correct.mixed, 75),
    Budget("repeated", correct.repeated, 45),
    Budget("jobs", correct.jobs, 75),
    Budget("distributed", correct.distributed, 60),
    Budget("extraction", speed.extraction, 60),
    Budget("optional packages", correct.optional_packages, 30),
    Budget("k-means", speed.kmeans, 90),
)


def main() -> int:
    """Run the parts, and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the CSV file")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:1 or cpu")
    parser.add_argument("--small", action="store_true", help="tiny sizes, which judge no speed")
    parser.add_argument("--seconds", type=float, default=460, help="most time of all parts")
    parser.add_argument("--parts", nargs="*", default=[], help="names of parts; default: all")
    arguments = parser.parse_args()
    known = {budget.name: budget for budget in PARTS}
    if unknown := [name for name in arguments.parts if name not in known]:
        parser.error(f"expected parts among {list(known)}, but got {unknown}")
    chosen = [known[name] for name in arguments.parts or known]
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    table = Table(arguments.out)
    run(chosen, arguments.device, arguments.small, table, arguments.seconds)
    return int(table.failed())


if __name__ == "__main__":
    sys.exit(main())
