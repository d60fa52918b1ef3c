"""The procedural data set `shapes`: 20 classes of patterned toys on soft grounds.

With it the whole pipeline runs without a download, on exact masks. Every image is drawn from its
own key (seed, split, number), so the first n images do not depend on how many follow.

Shapes: H W pixels.
"""

import json
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from umtfss.common.digests import digest_json
from umtfss.common.errors import DataError
from umtfss.common.files import atomic_path, write_json
from umtfss.common.randomness import generator
from umtfss.data.dataset import known_split
from umtfss.data.images import read_image, read_mask
from umtfss.data.shape_art import draw
from umtfss.data.shape_looks import BODY_AND_INLAY, CLASS_NAMES, class_looks
from umtfss.experiment.datasets import ShapesConfig

DRAWING_VERSION = 2  # raise this number whenever the same settings give other pixels
RECIPE = "recipe.json"
SPLITS = ("train", "val", "dev")
MOST_OBJECTS = 2


def write_shapes(root: Path, settings: ShapesConfig, workers: int = 1) -> str:
    """Draw the data set into a folder and return its digest; images of the same recipe are kept.

    Files appear whole or not at all; the lists of the splits are written last. Images of another
    recipe (seed, size or version of the drawing) are deleted first.

    Args:
        root: The folder.
        settings: Counts, sizes and seed.
        workers: Number of processes; the pixels do not depend on it.

    Raises:
        DataError: The folder holds files that were not drawn here.
    """
    root = Path(root)
    recipe = _recipe(settings)
    if (root / RECIPE).is_file() and json.loads((root / RECIPE).read_text()) != recipe:
        for split in SPLITS:
            (root / f"{split}.txt").unlink(missing_ok=True)
        for folder in ("images", "masks"):
            shutil.rmtree(root / folder, ignore_errors=True)
    elif root.is_dir() and any(root.iterdir()) and not (root / RECIPE).is_file():
        raise DataError(
            f"{root} is not empty and was not written as data set `shapes`",
            expected="an empty or absent folder",
            found=sorted(path.name for path in root.iterdir())[:10],
            fix="choose another folder",
        )
    write_json(root / RECIPE, recipe)
    for split, count in _counts(settings).items():
        bar = partial(tqdm, total=count, desc=f"draw shapes/{split}", unit="image")
        write = partial(_write_image, root, settings, split)
        if workers == 1:
            ids = [write(number) for number in bar(range(count))]
        else:
            from loky import ProcessPoolExecutor  # one process needs no library

            with ProcessPoolExecutor(workers) as pool:
                ids = list(bar(pool.map(write, range(count), chunksize=8)))
        with atomic_path(root / f"{split}.txt") as temporary:
            temporary.write_text("".join(f"{image_id}\n" for image_id in ids))
    return digest_json([recipe, _counts(settings)])


class ShapesDataset:
    """The drawn data set, splits train, val and dev.

    Args:
        name: Name in the experiment.
        root: The folder that `write_shapes` filled.
        settings: Counts, sizes and seed.

    Raises:
        DataError: The folder was written with other settings, or is incomplete.
    """

    has_masks = True
    splits: tuple[str, ...] = SPLITS

    def __init__(self, name: str, root: Path, settings: ShapesConfig) -> None:
        self.name = name
        self.root = root
        self.class_names: Mapping[int, str] = dict(enumerate(CLASS_NAMES, 1))
        self._ids = {split: _read_list(root / f"{split}.txt") for split in SPLITS}
        found = (
            json.loads((root / RECIPE).read_text()) if (root / RECIPE).is_file() else None,
            {split: len(ids) for split, ids in self._ids.items()},
        )
        expected = (_recipe(settings), _counts(settings))
        if found != expected:
            raise DataError(
                f"{root} does not hold the shapes that the experiment describes",
                expected=expected,
                found=found,
                fix="run snakemake --cores all all_data; an unfinished drawing goes on",
            )

    def ids(self, split: str) -> list[str]:
        """The image ids of a split, in the order in which they were drawn.

        Raises:
            DataError: There is no such split.
        """
        return list(self._ids[known_split(self, split)])

    def image(self, image_id: str) -> np.ndarray:
        """The image, (H, W, 3) uint8 RGB.

        Raises:
            DataError: The file is missing or damaged.
        """
        return read_image(_image_path(self.root, image_id))

    def mask(self, image_id: str) -> np.ndarray:
        """The class ids, (H, W) uint8, 255 along the outlines.

        Raises:
            DataError: The file is missing or damaged.
        """
        return read_mask(_mask_path(self.root, image_id))


def object_classes(seed: int, split: str, number: int) -> list[int]:
    """The class ids of the 1 or 2 objects of an image, from back to front.

    Classes are balanced: in each block of 20 images every class is in front once, and is drawn once
    for the layer behind, which only some of the images show.
    """
    block, row = divmod(number, len(CLASS_NAMES))
    layers = [
        int(
            generator("shapes-classes", seed, split, block, layer).permutation(len(CLASS_NAMES))[
                row
            ]
        )
        for layer in range(MOST_OBJECTS)
    ]
    count = int(generator("shapes-count", seed, split, number).integers(1, MOST_OBJECTS + 1))
    return [layer + 1 for layer in layers[-count:]]


def _write_image(root: Path, settings: ShapesConfig, split: str, number: int) -> str:
    """Draw an image unless its files exist, and return its id."""
    image_id = f"{split}_{number:05d}"
    paths = _image_path(root, image_id), _mask_path(root, image_id)
    if not all(path.is_file() for path in paths):
        for path, picture in zip(paths, _draw(settings, split, number), strict=True):
            with atomic_path(path) as temporary:
                picture.save(temporary, compress_level=3)
    return image_id


def _draw(settings: ShapesConfig, split: str, number: int) -> tuple[Image.Image, Image.Image]:
    classes = object_classes(settings.seed, split, number)
    rng = generator("shapes", settings.seed, split, number)
    looks = class_looks(settings.seed, settings.parts)
    image, mask = draw(looks, classes, settings.height, settings.width, rng)
    labels = Image.fromarray(mask, mode="P")
    labels.putpalette(_palette())
    return Image.fromarray(image), labels


def _palette() -> list[int]:
    """RGB of 256 class ids: bits of an id spread over the channels, so near ids look different."""
    ids = np.arange(256)
    channels = [
        sum(((ids >> (3 * bit + channel)) & 1) << (7 - bit) for bit in range(3))
        for channel in range(3)
    ]
    return np.stack(channels, axis=1).ravel().tolist()


def _recipe(settings: ShapesConfig) -> dict[str, int]:
    """Everything but split and number that decides the pixels of an image."""
    recipe = {
        "version": DRAWING_VERSION,
        "seed": settings.seed,
        "height": settings.height,
        "width": settings.width,
    }
    if settings.parts != BODY_AND_INLAY:
        recipe["parts"] = settings.parts
    return recipe


def _counts(settings: ShapesConfig) -> dict[str, int]:
    counts = settings.train_images, settings.val_images, settings.dev_images
    return dict(zip(SPLITS, counts, strict=True))


def _image_path(root: Path, image_id: str) -> Path:
    return root / "images" / f"{image_id}.png"


def _mask_path(root: Path, image_id: str) -> Path:
    return root / "masks" / f"{image_id}.png"


def _read_list(path: Path) -> list[str]:
    return path.read_text().split() if path.is_file() else []
