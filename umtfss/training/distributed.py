"""Training in several processes, started by torchrun; without torchrun, no function has an effect.

Each process takes its equal slice of every batch, so `batch_size` means the same for any number of
processes. Process 0 alone logs and saves.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from umtfss.common.errors import TrainingError

T = TypeVar("T")


@contextmanager
def process_group(device: str | torch.device) -> Iterator[torch.device]:
    """The device of this process, which is in a process group within the block.

    NCCL connects processes on "cuda", with one device each; gloo connects processes on "cpu".
    """
    device = torch.device(device)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield device
        return
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield device
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process's number; 0 logs and saves."""
    return dist.get_rank() if dist.is_initialized() else 0


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def wrap(module: nn.Module) -> nn.Module:
    """The module with gradients averaged over the processes.

    Parameters without gradient are allowed, because the paper's released model has some.
    """
    if world_size() == 1:
        return module
    return DistributedDataParallel(module, find_unused_parameters=True)


def mean(values: Tensor) -> Tensor:
    """The mean of a vector over the processes, the same in every process, on its device."""
    if world_size() > 1:
        dist.all_reduce(values)
    return values / world_size()


def from_first(value: T) -> T:
    """Process 0's value, in every process."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def batch_slices(start: int, steps: int, batch_size: int) -> list[range]:
    """The rows of this process's episodes, for each of the steps `start` .. `steps - 1`.

    Raises:
        TrainingError: The batch size is not a multiple of the number of processes.
    """
    if batch_size % world_size():
        raise TrainingError(
            "the batch cannot be shared equally",
            expected=f"training.<pool>.batch_size, a multiple of the {world_size()} processes",
            found=batch_size,
            fix="change batch_size or the number of devices",
        )
    part = batch_size // world_size()
    firsts = (step * batch_size + rank() * part for step in range(start, steps))
    return [range(first, first + part) for first in firsts]
