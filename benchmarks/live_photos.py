"""What PASCAL's photos ask of a live training step: layer4 of their supports, and their loading.

UMTFSS_DATA_ROOT=data python -m benchmarks.live_photos    # half a minute of one core

Photos are VOC's training images, each with the mask of one of its classes, in the views of the
default augmentation. A time is the CPU-milliseconds of an image, the mean over all; files are in
the system's cache.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import h5py
import numpy as np
import torch
import typer

from benchmarks.tables import write_rows
from benchmarks.world import RESULTS
from umtfss.backbones.boxes import Box
from umtfss.common.device import prepare_process
from umtfss.common.randomness import generator
from umtfss.data.dataset import Dataset
from umtfss.data.images import IGNORE
from umtfss.data.open import open_dataset
from umtfss.data.source import DatasetSource
from umtfss.episodes.augment import OUTSIDE
from umtfss.episodes.live import augmented
from umtfss.experiment.augment import AugmentConfig
from umtfss.experiment.backbones import backbone_spec
from umtfss.features.geometry import cell_weights

PIXELS = 473
CHANNELS, WIDTH = 2048, 512  # of layer4 and of its 3x3 convolutions
DILATIONS = (2, 4, 4)  # of its blocks
COLUMNS = ("measured", "unit", "mean", "lower_quartile", "median", "upper_quartile")


def layer4_products(box: Box, side: int) -> float:
    """The products of layer4 at a box of a grid; a 3x3 kernel takes a quarter (Winograd)."""
    total = 0.0
    for number, dilation in reversed(list(enumerate(DILATIONS))):
        outer = box.grown(dilation, (side, side))
        tokens, tokens_before = (
            (one.bottom - one.top) * (one.right - one.left) for one in (box, outer)
        )
        channels = CHANNELS if number else CHANNELS // 2
        shortcut = 0 if number else channels * CHANNELS
        total += tokens * (9 / 4 * WIDTH**2 + WIDTH * CHANNELS + shortcut)
        total += tokens_before * channels * WIDTH
        box = outer
    return total


def computed_part(mask: torch.Tensor, side: int) -> float:
    """The part of layer4 that a support with this mask, (P, P) in {0, 1, 2, 255}, needs."""
    weights = torch.from_numpy(cell_weights(side, len(mask), True).copy())
    foreground, labelled = (
        weights @ one.float() @ weights.T for one in (mask == 1, mask < OUTSIDE)
    )
    box = Box.around((foreground > 0) & (labelled >= 0.5))
    whole = layer4_products(Box(0, side, 0, side), side)
    return layer4_products(box, side) / whole if box else 0.0


def milliseconds(call: Callable[..., Any], *arguments: Any, **named: Any) -> tuple[Any, float]:
    """The result of a call and its CPU-milliseconds."""
    start = time.process_time()
    result = call(*arguments, **named)
    return result, 1000 * (time.process_time() - start)


def measured(dataset: Dataset, ids: Sequence[str], folder: Path) -> dict[str, list[float]]:
    """What is measured, with its unit -> the value of every photo that shows a class."""
    side = backbone_spec("resnet50").grid(PIXELS, PIXELS)[0]
    found: dict[str, list[float]] = {}

    def note(what: str, value: float) -> None:
        found.setdefault(what, []).append(value)

    with h5py.File(folder / "images.h5", "w") as kept:
        for number, image_id in enumerate(ids):
            labels, reading_mask = milliseconds(dataset.mask, image_id)
            classes = np.setdiff1d(labels, [0, IGNORE])
            if not len(classes):
                continue
            random = generator("live_photos", number)
            mask = np.where(labels == IGNORE, IGNORE, labels == random.choice(classes))
            image, decoding = milliseconds(dataset.image, image_id)
            given = (image, mask.astype(np.uint8), AugmentConfig())
            (scaled, _, view), rest = milliseconds(augmented, *given, pixels=PIXELS, random=random)
            kept[image_id] = scaled.numpy()
            _, reading = milliseconds(kept[image_id].__getitem__, ...)
            note("object in the photo, %", 100 * float((view == 1).sum() / (view != OUTSIDE).sum()))
            note("computed of a support's layer4, %", 100 * computed_part(view, side))
            note("decoding, ms", decoding)
            note("decoding of its mask, ms", reading_mask)
            note("scaling and masks, ms", rest)
            note("reading as uint8 from HDF5, ms", reading)
    return found


def main(
    count: Annotated[int, typer.Option(help="photos")] = 600,
    out: Annotated[Path, typer.Option(help="the CSV")] = RESULTS / "live_photos.csv",
) -> None:
    """Measure photos of VOC, and write the table."""
    prepare_process(1)
    dataset = open_dataset(DatasetSource("pascal", "voc2012", "voc2012"))
    every = dataset.ids("train")
    ids = [every[row] for row in generator("live_photos").permutation(len(every))[:count]]
    with tempfile.TemporaryDirectory() as folder:
        found = measured(dataset, ids, Path(folder))
    rows = []
    for what, values in found.items():
        name, _, unit = what.rpartition(", ")
        quartiles = np.quantile(values, [0.25, 0.5, 0.75])
        rows.append((name, unit, *(f"{one:.3g}" for one in (np.mean(values), *quartiles))))
    write_rows(out, COLUMNS, rows)


if __name__ == "__main__":
    typer.run(main)
