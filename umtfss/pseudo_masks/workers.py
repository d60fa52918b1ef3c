"""The same work for many images, in this process or in several; results do not depend on which."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from loky import ProcessPoolExecutor
from threadpoolctl import threadpool_limits

from umtfss.common.device import release_freed_memory

SLAB = 64  # images per process in progress at once
RELEASE_EVERY = 64  # a process gives freed memory back after this number of images

Result = TypeVar("Result")


def map_images(
    compute: Callable[[str], Result], ids: Sequence[str], workers: int
) -> Iterator[Result]:
    """The results for every image in order; at most a slab of images is in memory.

    Args:
        compute: Picklable; takes a qualified image id.
        ids: Qualified image ids.
        workers: Number of processes, each on one thread; 1: this process alone.
    """
    with _one_thread():
        if workers == 1:
            for number, image_id in enumerate(ids, 1):
                yield compute(image_id)
                if number % RELEASE_EVERY == 0:
                    release_freed_memory()
            return
        slab = SLAB * workers
        # loky starts new processes; a fork of a process whose OpenMP threads have run may hang
        with ProcessPoolExecutor(workers, initializer=_start_worker, initargs=(compute,)) as pool:
            for start in range(0, len(ids), slab):
                yield from pool.map(_compute_one, ids[start : start + slab], chunksize=2)
                release_freed_memory()


_worker_compute: Callable[[str], Any]  # set once per process, instead of sent with every image
_worker_images = 0  # number of images that this process has computed


def _start_worker(compute: Callable[[str], Any]) -> None:
    global _worker_compute
    _worker_compute = compute
    torch.set_num_threads(1)
    threadpool_limits(1)  # with several BLAS threads a process, a spectral cut takes twice as long


def _compute_one(image_id: str) -> Any:
    global _worker_images
    _worker_images += 1
    if _worker_images % RELEASE_EVERY == 0:
        release_freed_memory()
    return _worker_compute(image_id)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Torch and BLAS on one thread, as in a worker: results do not depend on `workers`."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
