"""The feature cache on disk: HDF5 schema, writing and reading.

A shard is a folder: part000.h5, part001.h5, ..., each with a manifest by which an unfinished job
resumes, and manifest.json of them all, written last. A part holds
    ids       (n,) str, qualified image ids
    sizes     (n, 4) int32: H, W of the original image, h, w of its grid
    digests   (n,) str, sha256 of the image's features
    features/<level>/<image id>   (h, w, C) float16, un-padded, contiguous
and the attributes format, version, spec (JSON of `FeatureSpec`) and origin (digest of the images
and code; a resumed job does not keep a part of another origin).

Shapes: H W original pixels, h w grid, C channels, n images of a part.
"""

import json
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from umtfss.common.errors import DataError, StoreError
from umtfss.common.hdf5 import FileKind
from umtfss.common.manifests import check_files, command_for, read_manifest, write_manifest
from umtfss.features.geometry import GridGeometry

KIND = FileKind("umtfss-features", 1, "a feature file")
MANIFEST = "manifest.json"
OPEN_FILES = 16


@dataclass(frozen=True)
class FeatureSpec:
    """Everything but the image that decides the features of an image.

    Attributes:
        backbone: Name of the backbone.
        weights: Digest of the backbone's weights.
        channels: Level -> C, in the stored order.
        long_side: Image long side asked for, px.
        precision: Autocast precision: "fp32", "bf16" or "fp16".
        stride: Distance of tokens, px.
        multiple: Valid sides are multiples of this number, px.
        align_corners: Whether corner tokens lie on corner pixels (see `geometry`).
        mirrored: Whether features are averaged over the image and its mirror image.
    """

    backbone: str
    weights: str
    channels: dict[str, int]
    long_side: int
    precision: str
    stride: int
    multiple: int
    align_corners: bool
    mirrored: bool = False

    @property
    def geometry(self) -> GridGeometry:
        """The channels of the features, and how their grids lie on pixels."""
        return GridGeometry(
            self.channels, self.long_side, self.stride, self.multiple, self.align_corners
        )


@dataclass(frozen=True)
class ImageFeatures:
    """The features of one image.

    Attributes:
        image_id: Qualified id, "<dataset>/<image id>".
        size: (H, W) of the original image.
        levels: Level -> (h, w, C) float16.
    """

    image_id: str
    size: tuple[int, int]
    levels: Mapping[str, np.ndarray]


def part_name(index: int) -> str:
    """The file name of a part."""
    return f"part{index:03d}.h5"


def digest_features(levels: Mapping[str, np.ndarray]) -> str:
    """The sha256 of one image's features: level names, shapes and values."""
    digest = sha256()
    for level, values in levels.items():
        digest.update(f"{level}{values.shape}".encode())
        digest.update(np.ascontiguousarray(values, dtype=np.float16).data)
    return digest.hexdigest()


def write_part(
    path: Path,
    spec: FeatureSpec,
    origin: str,
    ids: Sequence[str],
    images: Iterable[ImageFeatures],
) -> None:
    """Write a part under a temporary name, then rename it.

    Args:
        path: The part's final path.
        spec: The settings that decide the features.
        origin: Digest of the images and the code that the features are made from.
        ids: The images of the part, in the order of its index.
        images: The features of the images, in any order.
    """
    rows = {image_id: row for row, image_id in enumerate(ids)}
    sizes = np.zeros((len(ids), 4), dtype=np.int32)
    digests = [""] * len(ids)
    with KIND.create(path) as file:
        file.attrs.update(spec=json.dumps(asdict(spec)), origin=origin)
        for image in images:
            for level, values in image.levels.items():
                file.create_dataset(f"features/{level}/{image.image_id}", data=values)
            row = rows.pop(image.image_id)
            sizes[row] = *image.size, *values.shape[:2]
            digests[row] = digest_features(image.levels)
        if rows:
            raise ValueError(f"expected the features of all of `ids`, but {len(rows)} are absent")
        file.create_dataset("ids", data=list(ids), dtype=h5py.string_dtype())
        file.create_dataset("digests", data=digests, dtype=h5py.string_dtype())
        file.create_dataset("sizes", data=sizes)


def finished_digests(
    path: Path, spec: FeatureSpec, origin: str, ids: Sequence[str]
) -> list[str] | None:
    """The digests of a part's images; None unless spec, origin and ids agree and all is intact."""
    try:
        with KIND.open(KIND.checked(path)) as file:
            made_of = json.loads(file.attrs["spec"]), file.attrs["origin"]
            if made_of != (asdict(spec), origin) or list(file["ids"].asstr()[()]) != list(ids):
                return None
            digests = list(file["digests"].asstr()[()])
            for image_id, digest in zip(ids, digests, strict=True):
                levels = {v: file[f"features/{v}/{image_id}"][()] for v in spec.channels}
                if digest_features(levels) != digest:
                    return None
    except (StoreError, OSError, KeyError, ValueError):
        return None
    return digests


def write_feature_manifest(
    folder: Path, spec: FeatureSpec, digests: Mapping[str, str], parts: int, **fields: Any
) -> Path:
    """Write the manifest of a finished shard, and return its path.

    Args:
        folder: The shard's folder.
        spec: The settings that decide the features.
        digests: Image id -> digest of its features. Equal digests give an equal content digest,
            however the images are distributed over parts.
        parts: Number of parts.
        **fields: Further fields, e.g. package versions.
    """
    content = sha256()
    for image_id in sorted(digests):
        content.update(f"{image_id}\x1f{digests[image_id]}\n".encode())
    files = [folder / part_name(index) for index in range(parts)]
    path = folder / MANIFEST
    write_manifest(
        path,
        "features",
        content.hexdigest(),
        spec=asdict(spec),
        files=files,
        images=len(digests),
        **fields,
    )
    return path


class FeatureStore:
    """The features of one or more shards, read as one.

    Parts are opened when first read, once per process and thread. So the store can be pickled, and
    can be used after the fork of a data loader's process.

    Args:
        manifests: The shards' manifests, of one or more data sets.

    Raises:
        StoreError: A manifest or part is missing, damaged or of another place, an image occurs
            twice, or the shards have different specs.
    """

    def __init__(self, manifests: Sequence[str | Path]) -> None:
        if not manifests:
            raise StoreError("no features were given", expected="at least one manifest")
        self.spec: FeatureSpec | None = None
        self._parts: list[Path] = []
        self._rows: dict[str, tuple[int, int, int, int, int]] = {}  # id -> part, H, W, h, w
        self._local = threading.local()
        for path in map(Path, manifests):
            self._add(path)
        assert self.spec is not None
        self.ids: tuple[str, ...] = tuple(self._rows)
        self.geometry: GridGeometry = self.spec.geometry

    def _add(self, path: Path) -> None:
        manifest = read_manifest(path, "features")
        if manifest["spec"].keys() != {field.name for field in fields(FeatureSpec)}:
            raise StoreError(
                f"{path} was written by another version of this package",
                expected=f"a spec of {', '.join(field.name for field in fields(FeatureSpec))}",
                found=", ".join(manifest["spec"]),
                fix=f"delete its folder and run {command_for(path)}",
            )
        spec = FeatureSpec(**manifest["spec"])
        if self.spec is None:
            self.spec = spec
        for key, expected in asdict(self.spec).items():
            if getattr(spec, key) != expected:
                raise StoreError(
                    f"{path} was made with another {key} than the first manifest",
                    expected=expected,
                    found=getattr(spec, key),
                    fix="read only features made alike together",
                )
        check_files(path, manifest)
        for name in manifest["files"]:
            file_path = path.with_name(name)
            with KIND.open(file_path) as file:
                ids, sizes = file["ids"].asstr()[()], file["sizes"][()].tolist()
            for image_id, size_row in zip(ids, sizes, strict=True):
                if image_id in self._rows:
                    raise StoreError(
                        f"the image {image_id} occurs twice",
                        found=path,
                        fix="give every shard once",
                    )
                self._rows[image_id] = (len(self._parts), *size_row)
            self._parts.append(file_path)

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._rows

    def grid(self, image_id: str) -> tuple[int, int]:
        """The un-padded grid (h, w) of an image."""
        return self._row(image_id)[3:5]

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The original size (H, W) of an image, px."""
        return self._row(image_id)[1:3]

    def read(self, image_id: str, level: str) -> np.ndarray:
        """The features of an image, (h, w, C) float16.

        Raises:
            StoreError: The image or the level is not in the store, or its part is damaged.
        """
        path = self._parts[self._row(image_id)[0]]
        if level not in self.geometry.channels:
            raise StoreError(
                f"the store has no level {level!r}",
                expected=f"one of {tuple(self.geometry.channels)}",
                fix="name the level in the features block and extract again",
            )
        with KIND.reading(path, f"{level} of {image_id}"):
            return self._file(path)[f"features/{level}/{image_id}"][()]

    def _row(self, image_id: str) -> Any:
        try:
            return self._rows[image_id]
        except KeyError:
            raise StoreError(
                f"the store has no image {image_id!r}",
                expected=f"one of {len(self)} images such as {self.ids[:2]}",
                fix="extract the features of its split",
            ) from None

    def _file(self, path: Path) -> h5py.File:
        """The open part of this process and thread."""
        files: OrderedDict[Path, h5py.File] | None = getattr(self._local, "files", None)
        if files is None or self._local.process != os.getpid():
            files = OrderedDict()
            self._local.files, self._local.process = files, os.getpid()
        if path in files:
            files.move_to_end(path)
        else:
            if len(files) >= OPEN_FILES:
                files.popitem(last=False)[1].close()
            files[path] = KIND.open(path)
        return files[path]

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_local"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _local=threading.local())


class TokenSource(Protocol):
    """Features whose tokens are compared."""

    def read(self, image_id: str, level: str) -> np.ndarray:
        """One level of one image, (h, w, C) float16."""


class FeatureSource(TokenSource, Protocol):
    """The interface of features: `FeatureStore`, `LiveFeatures`, `DiffusedFeatures` and others."""

    geometry: GridGeometry

    def grid(self, image_id: str) -> tuple[int, int]:
        """The image's un-padded grid (h, w)."""

    def image_size(self, image_id: str) -> tuple[int, int]:
        """The image's original (H, W), px."""


def unit_tokens(store: TokenSource, image_id: str, level: str) -> np.ndarray:
    """The tokens of an image as unit vectors, (h * w, C) float32; zero tokens stay zero.

    Raises:
        DataError: A feature is not finite.
    """
    grid = store.read(image_id, level)
    tokens = grid.reshape(-1, grid.shape[-1]).astype(np.float32)
    norms = np.linalg.norm(tokens, axis=1, keepdims=True)
    if not np.isfinite(norms).all():
        raise DataError(
            f"the features {level} of image {image_id} are not finite",
            expected="numbers that fit fp16",
            found=f"{np.count_nonzero(~np.isfinite(norms))} bad tokens of {len(tokens)}",
            fix="delete its features and compute them with `precision: fp32` of the features",
        )
    return np.divide(tokens, norms, out=tokens, where=norms > 0)
