"""Memory that a process keeps, and gives back."""

import subprocess
import sys

import pytest

from umtfss.common.files import PACKAGE_ROOT

SCRIPT = """
from pathlib import Path
from umtfss.common.device import prepare_process, release_freed_memory

def held() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20

prepare_process(1)
blocks = [bytearray(2**20) for _ in range(300)]
kept = blocks[-1]  # the heap cannot shrink below it
del blocks
before = held()
release_freed_memory()
print(before - held(), len(kept))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone keeps blocks")
def test_freed_blocks_are_kept_until_they_are_released():
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, cwd=PACKAGE_ROOT, capture_output=True, text=True, check=True)
    released, kept = map(float, done.stdout.split())
    assert released > 250
    assert kept == 2**20
