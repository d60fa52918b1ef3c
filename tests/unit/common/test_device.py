"""Threads, devices, and memory that a process keeps and gives back."""

import os
import subprocess
import sys

import pytest
import torch

from umtfss.common import device
from umtfss.common.device import autocast, named_device, processor_has_bf16, usable_cores
from umtfss.common.errors import ConfigError
from umtfss.common.files import PACKAGE_ROOT

SCRIPT = """
from pathlib import Path
from umtfss.common import device
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


def test_threads_are_those_asked_for_or_the_cores_that_may_be_used(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert usable_cores() == 3
    for unclear in ("", "0", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", unclear)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5}, raising=False)
        assert usable_cores() == 2


def test_a_device_that_is_not_there_is_named():
    assert named_device("cpu").type == "cpu"
    for name in ("moon", "cuda:99"):
        with pytest.raises(ConfigError, match=f"the device '{name}' cannot be used"):
            named_device(name)


@pytest.fixture
def processor(monkeypatch, tmp_path):
    """Makes Linux list a processor with the given flags."""

    def listed(flags):
        (tmp_path / "cpuinfo").write_text(f"model name : made up\nflags : fpu {flags} sse\n")
        monkeypatch.setattr(device, "CPUINFO", tmp_path / "cpuinfo")
        processor_has_bf16.cache_clear()

    yield listed
    monkeypatch.undo()
    processor_has_bf16.cache_clear()


@pytest.mark.parametrize("flag", ["avx512_bf16", "amx_bf16", "bf16"])
def test_a_cpu_computes_in_bf16_if_it_has_bf16(processor, caplog, flag):
    a = torch.randn(4, 4)
    for flags, dtype in (("avx512f", torch.float32), (flag, torch.bfloat16)):
        processor(flags)
        with autocast("cpu", "bf16"):
            assert (a @ a).dtype == dtype
        with autocast("cpu", "fp32"):
            assert (a @ a).dtype == torch.float32
    assert caplog.text.count("has no bf16") == 1


def test_the_processor_decides_nothing_for_fp16(processor):
    processor("avx512f")
    a = torch.randn(4, 4)
    with autocast("cpu", "fp16"):
        assert (a @ a).dtype == torch.float16
