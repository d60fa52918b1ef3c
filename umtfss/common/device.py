"""The device that torch computes on, and how a process uses its cores and its memory."""

import ctypes
import logging
import os
import sys
from functools import cache
from pathlib import Path

import torch

from umtfss.common.errors import ConfigError

logger = logging.getLogger(__name__)

MIXED_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # by name in an experiment
CPUINFO, BF16 = Path("/proc/cpuinfo"), {"avx512_bf16", "amx_bf16", "bf16"}  # flags of processors
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def autocast(device: torch.device | str, precision: str) -> torch.autocast:
    """The autocast context of a forward pass in mixed precision.

    bf16 on a CPU without instructions for it is slower than fp32, so the context computes in fp32
    there.

    Args:
        device: Where the forward pass runs.
        precision: "bf16" or "fp16"; every other name ("off", "fp32") is float32 throughout.
    """
    dtype = MIXED_DTYPES.get(precision)
    kind = torch.device(device).type
    emulated = kind == "cpu" and dtype == torch.bfloat16 and not processor_has_bf16()
    enabled = dtype is not None and not emulated
    return torch.autocast(kind, dtype or torch.bfloat16, enabled=enabled)


@cache
def processor_has_bf16() -> bool:
    """Whether Linux lists instructions for bf16 (AVX-512, AMX, Arm); False on other systems."""
    listed = CPUINFO.read_text().split() if CPUINFO.is_file() else []
    found = not BF16.isdisjoint(listed)
    if not found:
        logger.warning("this processor has no bf16: the CPU computes in fp32 in its place")
    return found


def usable_cores() -> int:
    """The CPU threads for this process: $OMP_NUM_THREADS, else the cores that it may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]
    if asked.isdecimal() and int(asked) > 0:
        return int(asked)
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def named_device(name: str) -> torch.device:
    """The device of a name such as "cpu", "cuda", "cuda:1" or "mps".

    Raises:
        ConfigError: There is no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    # PyTorch raises each of these, depending on the kind of device.
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        raise ConfigError(
            f"the device {name!r} cannot be used",
            expected="cpu, or a device that this PyTorch sees, such as cuda, cuda:1 or mps",
            found=str(error).partition("\n")[0],
            fix="correct --device, or leave it out",
        ) from error
    return device


def prepare_process(threads: int) -> torch.device:
    """Set threads and memory up, and return the device: the GPU if there is one, else the CPU.

    On Linux, glibc is told to keep large freed blocks. Torch frees and allocates tensors of tens of
    megabytes in every step; by default glibc maps each anew, and the kernel page-faults it in. All
    threads share the main arena, as an arena of a thread's own holds 64 MB at most.

    Args:
        threads: CPU threads of this process.
    """
    torch.set_num_threads(threads)
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_M_ARENA_MAX, 1)
            libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
            libc.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def release_freed_memory() -> None:
    """Give the freed blocks that `prepare_process` lets glibc keep back to Linux.

    Loops over images of many sizes call it: a block of one size seldom fits another size, so kept
    blocks pile up. On other systems nothing happens.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):
            libc.malloc_trim(0)
