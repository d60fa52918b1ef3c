"""Writing of a shard of a feature cache, part by part, so that a stopped job can resume."""

import logging
import os
import shutil
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

from tqdm import tqdm

from umtfss.common.errors import DiskSpaceError, StoreError
from umtfss.common.locks import only_writer
from umtfss.common.manifests import manifest_path, package_versions, write_manifest
from umtfss.features.standard import Moments, part_moments
from umtfss.features.store import (
    KIND,
    FeatureSpec,
    ImageFeatures,
    finished_digests,
    part_name,
    write_feature_manifest,
    write_part,
)

logger = logging.getLogger(__name__)

PART_MB = 256


def shard_ids(ids: Sequence[str], shard: int, shards: int) -> list[str]:
    """The ids of one shard: every `shards`-th id, starting with number `shard`."""
    if not 0 <= shard < shards:
        raise ValueError(f"expected 0 <= shard < {shards}, but got {shard}")
    return list(ids[shard::shards])


def same_shards(folder: Path) -> list[Path]:
    """The folders of the same shard of the same split in all other caches, of any experiment.

    Args:
        folder: results/<experiment>/features/<features>/<data set>/<split>/<shard>.
    """
    shard = Path(*folder.parts[-3:])
    found = folder.parents[5].glob(f"*/features/*/{shard}")
    return sorted(one for one in found if one != folder)


def write_shard(
    folder: Path,
    spec: FeatureSpec,
    origin: str,
    ids: Sequence[str],
    features: Callable[[Sequence[str]], Iterator[ImageFeatures]],
    *,
    elsewhere: Sequence[Path] = (),
    image_bytes: int,
    part_mb: int = PART_MB,
    description: str,
    packages: Sequence[str],
    progress: bool = True,
) -> Path:
    """Write the features of `ids` as a shard, and return the path of its manifest.

    A part is written under a temporary name and renamed. Finished parts of the same origin are
    checked against their digests and kept, or linked if they lie in another shard.

    Args:
        folder: The shard's folder.
        spec: The settings that decide the features.
        origin: Digest of the images and the code that the features are made from.
        ids: Qualified image ids.
        features: Computes the features of images, in any order.
        elsewhere: Folders of other shards, whose parts may be the same.
        image_bytes: Largest size of an image's features, bytes.
        part_mb: Largest size of a part, MB (one image is never split).
        description: Title of the progress bar.
        packages: Packages whose versions the manifest names.
        progress: Show a bar.

    Raises:
        DiskSpaceError: The features would not fit the disk.
        StoreError: A part does not read back, or another process writes to the folder.
    """
    per_part = max(part_mb * 10**6 // image_bytes, 1)
    parts = [list(ids[start : start + per_part]) for start in range(0, len(ids), per_part)]
    paths = [folder / part_name(index) for index in range(len(parts))]
    bar: tqdm[Any] = tqdm(total=len(ids), unit="image", desc=description, disable=not progress)
    with only_writer(folder), bar:
        for path, part in zip(paths, parts, strict=True):
            if not path.exists():
                _link(path, [other / path.name for other in elsewhere], spec, origin, part)
        done = {
            path: finished
            for path, part in zip(paths, parts, strict=True)
            if (finished := finished_digests(path, spec, origin, part)) is not None
        }
        _remove_others(folder, done)
        missing = sum(len(p) for path, p in zip(paths, parts, strict=True) if path not in done)
        _check_disk(folder, missing * image_bytes)
        digests: dict[str, str] = {}
        moments: dict[str, list[Moments]] = {level: [] for level in spec.channels}
        for path, part in zip(paths, parts, strict=True):
            if path in done:
                bar.update(len(part))
            else:
                write_part(path, spec, origin, part, _counted(features(part), bar))
                finished = finished_digests(path, spec, origin, part)
                if finished is None:
                    raise StoreError(
                        f"{path} does not read back as it was written",
                        fix="check the disk and run again",
                    )
                done[path] = finished
            digests |= zip(part, done[path], strict=True)
            for level, images in moments.items():
                images.extend(part_moments(path, level, part))
        return write_feature_manifest(
            folder,
            spec,
            digests,
            len(parts),
            moments={level: astuple(Moments.combine(one)) for level, one in moments.items()},
            versions=package_versions(*packages),
        )


def _link(
    path: Path, others: Sequence[Path], spec: FeatureSpec, origin: str, ids: Sequence[str]
) -> None:
    """Link a part to the first of the others that is the same, if there is one.

    A part is never changed in place, so a link is as good as a copy.
    """
    for other in others:
        if other.exists() and finished_digests(other, spec, origin, ids) is not None:
            try:
                os.link(other, path)
            except OSError:  # another file system, or one without links: the part is computed
                continue
            write_manifest(manifest_path(path), KIND.format, files=[path])
            logger.info("%s has the features of %s: linked", other, path)
            return


def _counted(images: Iterator[ImageFeatures], bar: "tqdm[Any]") -> Iterator[ImageFeatures]:
    for image in images:
        yield image
        bar.update()


def _remove_others(folder: Path, kept: Container[Path]) -> None:
    """Remove parts that cannot be kept, and their manifests."""
    for path in folder.glob("part*.*"):
        if path.with_suffix(".h5") not in kept:
            logger.warning("removing %s: unfinished, damaged or made otherwise", path)
            path.unlink()


def _check_disk(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise DiskSpaceError(
            f"the features do not fit the disk of {folder}",
            expected=f"{needed / 1e6:,.0f} MB free (upper bound)",
            found=f"{free / 1e6:,.0f} MB free",
            fix="free some space, lower long_side, or have live ones: `cache: false`",
        )
