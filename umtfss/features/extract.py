"""From images to a shard of the feature cache.

Shapes: B batch, H W original pixels, H' W' resized pixels, h w grid, C channels.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from umtfss.backbones.extractor import Extractor, prepare_image
from umtfss.common.device import autocast, release_freed_memory, usable_cores
from umtfss.common.digests import digest_code, digest_json
from umtfss.common.errors import StoreError
from umtfss.experiment.backbones import BackboneSpec
from umtfss.features.shard import PART_MB, write_shard
from umtfss.features.store import FeatureSpec, ImageFeatures

DECODERS = 2  # threads beside a CPU backbone, of whose time decoding takes about 1 %
WAITING_BATCHES = 8  # batches of images that wait for other images of their size
IMAGES_PER_RELEASE = 32  # a release takes 0.1 s, a hundredth of the time of 32 images


class NamedImages(Protocol):
    """A data set, as far as extraction needs it."""

    name: str

    def image(self, image_id: str, /) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB; the id is not qualified."""


class Prepared(NamedTuple):
    """An image on its way to the backbone.

    Attributes:
        image_id: Qualified id.
        size: (H, W).
        pixels: (3, H', W') float32 in [0, 1].
    """

    image_id: str
    size: tuple[int, int]
    pixels: Tensor


def estimate_bytes(
    backbone: BackboneSpec, levels: Sequence[str], long_side: int, images: int
) -> int:
    """Bytes of the features of `images` square images, an upper bound for a cache."""
    return images * backbone.image_bytes(*backbone.resized(1, 1, long_side), levels)


def extract_features(
    dataset: NamedImages,
    ids: Sequence[str],
    extractor: Extractor,
    long_side: int,
    folder: Path,
    *,
    source: str,
    batch_size: int,
    elsewhere: Sequence[Path] = (),
    precision: str = "fp32",
    part_mb: int = PART_MB,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Path:
    """Write the features of `ids` as a shard, and return the path of its manifest.

    A stopped job resumes where it stopped (see `write_shard`).

    Args:
        dataset: Source of the images.
        ids: Qualified image ids, "<data set>/<image id>".
        extractor: The frozen backbone and its levels.
        long_side: Image long side, px.
        folder: The shard's folder.
        source: Digest of the images (the index's checksum).
        batch_size: Images of equal size per forward pass.
        elsewhere: Folders of other shards, whose parts may be the same (see `write_shard`).
        precision: "fp32", or the autocast precision "bf16" or "fp16".
        part_mb: Largest size of a part, MB (one image is never split).
        device: Where the backbone runs.
        progress: Show a bar.

    Raises:
        DiskSpaceError: The features would not fit the disk.
        StoreError: A feature is not finite in fp16, or an id is of another data set.
    """
    device = torch.device(device)
    spec = FeatureSpec(
        backbone=extractor.name,
        weights=extractor.digest,
        channels=extractor.channels,
        long_side=long_side,
        precision=precision,
        stride=extractor.spec.stride,
        multiple=extractor.spec.multiple,
        align_corners=extractor.spec.align_corners,
        mirrored=extractor.mirrored,
    )
    code = digest_code("umtfss/features/extract.py", "umtfss/backbones/build.py")
    origin = digest_json([source, code])
    extractor.to(device)
    decoders = DECODERS if device.type == "cpu" else max(DECODERS, usable_cores())
    with ThreadPoolExecutor(decoders) as pool:
        return write_shard(
            folder,
            spec,
            origin,
            ids,
            lambda part: _features(dataset, part, extractor, spec, batch_size, device, pool),
            elsewhere=elsewhere,
            image_bytes=estimate_bytes(extractor.spec, extractor.levels, long_side, 1),
            part_mb=part_mb,
            description=dataset.name,
            packages=("torch", "torchvision", "timm", "h5py"),
            progress=progress,
        )


def _prepared(
    dataset: NamedImages,
    ids: Sequence[str],
    extractor: Extractor,
    spec: FeatureSpec,
    pool: ThreadPoolExecutor,
    ahead: int,
) -> Iterator[Prepared]:
    """The images in order; background threads decode up to `ahead` images in advance."""

    def prepare(image_id: str) -> Prepared:
        name, _, own_id = image_id.partition("/")
        if name != dataset.name:
            raise StoreError(
                f"{image_id} is not an image of {dataset.name}",
                expected=f"{dataset.name}/<image id>",
            )
        image = dataset.image(own_id)
        size = image.shape[0], image.shape[1]
        return Prepared(image_id, size, prepare_image(image, extractor, spec.long_side))

    waiting: deque[Future[Prepared]] = deque()
    todo = iter(ids)
    try:
        waiting.extend(pool.submit(prepare, image_id) for image_id in islice(todo, ahead))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(prepare, image_id) for image_id in islice(todo, 1))
    finally:
        for future in waiting:
            future.cancel()


def _features(
    dataset: NamedImages,
    ids: Sequence[str],
    extractor: Extractor,
    spec: FeatureSpec,
    batch_size: int,
    device: torch.device,
    pool: ThreadPoolExecutor,
) -> Iterator[ImageFeatures]:
    """The features of `ids`, batched by image size and so in another order."""
    sizes: dict[tuple[int, ...], list[Prepared]] = {}
    waiting = 0
    images = _prepared(dataset, ids, extractor, spec, pool, 2 * batch_size)
    for number, image in enumerate(images, 1):
        if number % IMAGES_PER_RELEASE == 0:
            release_freed_memory()
        group = sizes.setdefault(tuple(image.pixels.shape), [])
        group.append(image)
        waiting += 1
        if len(group) < batch_size and waiting >= WAITING_BATCHES * batch_size:
            group = max(sizes.values(), key=len)
        elif len(group) < batch_size:
            continue
        waiting -= len(group)
        yield from _forward(group, extractor, spec, device)
        group.clear()
    for group in sizes.values():
        if group:
            yield from _forward(group, extractor, spec, device)


def _forward(
    batch: Sequence[Prepared], extractor: Extractor, spec: FeatureSpec, device: torch.device
) -> Iterator[ImageFeatures]:
    """The features of a batch of images of one size.

    Raises:
        StoreError: A feature is not finite in fp16.
    """
    pixels = torch.stack([image.pixels for image in batch]).to(device)
    with autocast(device, spec.precision):
        found = extractor(pixels)
    levels = {k: v.permute(0, 2, 3, 1).half().contiguous().cpu().numpy() for k, v in found.items()}
    for level, values in levels.items():
        if not np.isfinite(values).all():
            raise StoreError(
                f"{level} of {batch[0].image_id} or its batch is not finite in fp16",
                fix="use precision fp32, or another level",
            )
    for row, image in enumerate(batch):
        one = {k: v[row] for k, v in levels.items()}
        yield ImageFeatures(image.image_id, image.size, one)
