"""Test images must not be learnt from, whatever their names are."""

from collections.abc import Iterable

from umtfss.common.errors import DataError
from umtfss.data.index import DatasetIndex


def refuse_test_images(index: DatasetIndex, tested: Iterable[DatasetIndex]) -> None:
    """Refuse a split that holds the pixels of a test image.

    Args:
        index: The split that is learnt from.
        tested: The splits that what is learnt is tested on.

    Raises:
        DataError: Test images are in the split; the message names each of them.
    """
    known = {
        (*size, digest): image_id for split in tested for image_id, size, digest in _images(split)
    }
    common = [
        f"{image_id} is {known[*size, digest]}"
        for image_id, size, digest in _images(index)
        if (*size, digest) in known
    ]
    if common:
        raise DataError(
            f"{len(common)} of {len(index.image_ids)} images of {index.dataset}/{index.split}, "
            "which is learnt from, are test images:\n    " + "\n    ".join(common),
            fix=f"take them out of the folder or list of {index.dataset}/{index.split}; to choose "
            "settings on training images, write `test_split: train`, and every table says so",
        )


def _images(index: DatasetIndex) -> Iterable[tuple[str, tuple[int, int], str]]:
    """Id, height and width, and digest of every image."""
    sizes = ((int(height), int(width)) for height, width in index.sizes)
    return zip(index.image_ids, sizes, index.digests, strict=True)
