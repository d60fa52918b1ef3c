"""The pseudo-masks on disk: label maps and regions; no other module knows the HDF5 schema.

Shapes: H W pixels, N clusters, R regions of all images, C channels.

A shard is one file. Its attributes are `format`, `version`, `digest`, `clusters` (N), `centroids`
(digest of the cluster centres) and `settings` (JSON). Its data sets are
    image_ids                  qualified ids
    label_map/<row>            (H, W) uint8 label map of the image in that row, one compressed chunk
    regions/image, cluster, area    one entry per region, image after image
    regions/feature/<cluster>  features of the cluster's regions in the same order, read in one go
    pixels                     (2, N) pixels of every cluster in all images, whether the region is
                               valid or not, and the number of these on the images' borders
"""

import hashlib
import json
import os
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from umtfss.common.digests import digest_json
from umtfss.common.errors import StoreError
from umtfss.common.hdf5 import FileKind

KIND = FileKind("umtfss-pseudo-masks", 2, "a file of pseudo-masks")
CHUNK_BYTES = 1 << 16


@dataclass(frozen=True)
class RegionTable:
    """The valid regions of a set of images.

    Attributes:
        image: (R,) int32, row of the image in the store's ids.
        cluster: (R,) int32.
        area: (R,) int32, px.
        cluster_features: Reads the features of one cluster's regions from disk, (R', C) float32,
            L2-normalised, in the order of the table.
    """

    image: np.ndarray
    cluster: np.ndarray
    area: np.ndarray
    cluster_features: Callable[[int], np.ndarray]

    def __len__(self) -> int:
        return len(self.image)

    def of(self, clusters: np.ndarray) -> "RegionTable":
        """The table of the regions of `clusters`.

        Args:
            clusters: Numbers of the clusters to keep.
        """
        kept = np.isin(self.cluster, clusters)
        return RegionTable(
            self.image[kept], self.cluster[kept], self.area[kept], self.cluster_features
        )

    @cached_property
    def feature(self) -> np.ndarray:
        """The features of all regions, (R, C) float32; they must fit into memory."""
        clusters = np.unique(self.cluster)
        blocks = [self.cluster_features(int(c)) for c in clusters]
        if not blocks:
            return np.empty((0, 0), dtype=np.float32)
        feature = np.empty((len(self), blocks[0].shape[1]), dtype=np.float32)
        for cluster, block in zip(clusters, blocks, strict=True):
            feature[self.cluster == cluster] = block
        return feature


@dataclass(frozen=True)
class ImageRegions:
    """The stored pseudo-masks of one image.

    Attributes:
        label_map: (H, W) uint8, cluster of every pixel, 255 where no valid region is.
        cluster: (V,) int, clusters of the valid regions, ascending.
        area: (V,) int, px.
        feature: (V, C) float32, L2-normalised.
        pixels: (2, N) int, pixels of every cluster in the image and on its border.
    """

    label_map: np.ndarray
    cluster: np.ndarray
    area: np.ndarray
    feature: np.ndarray
    pixels: np.ndarray


class ShardWriter:
    """Writes one shard image by image; of earlier images, memory holds a few bytes per region.

    Args:
        file: A new file of `KIND`, open for writing.
        image_ids: Qualified ids, in the order in which the images are appended.
        clusters: N.
        channels: C.
        centroids: Digest of the cluster centres.
        settings: Settings that decided the masks, JSON-able.
    """

    def __init__(
        self,
        file: h5py.File,
        image_ids: Sequence[str],
        clusters: int,
        channels: int,
        centroids: str,
        settings: Mapping[str, Any],
    ) -> None:
        self._file = file
        head = {"clusters": clusters, "centroids": centroids, "settings": dict(settings)}
        self._digest = hashlib.sha256(digest_json({**head, "ids": list(image_ids)}).encode())
        file.attrs.update(
            clusters=clusters,
            centroids=centroids,
            settings=json.dumps(settings, sort_keys=True),
        )
        file["image_ids"] = np.array(image_ids, dtype=h5py.string_dtype())
        self._maps = file.create_group("label_map")
        self._features = file.create_group("regions/feature")
        chunk = (max(1, CHUNK_BYTES // (4 * channels)), channels)
        for cluster in range(clusters):
            self._features.create_dataset(
                str(cluster), (0, channels), "f4", maxshape=(None, channels), chunks=chunk
            )
        # Arrays are one block of memory each: many small objects would fragment the heap.
        self._counts, self._clusters, self._areas = array("i"), array("i"), array("i")
        self._pixels = np.zeros((2, clusters), np.int64)

    def append(self, image: ImageRegions) -> None:
        """Write the next image."""
        labels = image.label_map
        self._maps.create_dataset(
            str(len(self._counts)), data=labels, chunks=labels.shape, compression="gzip"
        )
        for cluster, feature in zip(image.cluster, image.feature, strict=True):
            dataset = self._features[str(cluster)]
            dataset.resize(len(dataset) + 1, axis=0)
            dataset[-1] = feature
        self._counts.append(len(image.cluster))
        self._clusters.extend(image.cluster.tolist())
        self._areas.extend(image.area.tolist())
        self._pixels += image.pixels
        self._digest.update(repr(labels.shape).encode())
        for values in (labels, image.cluster.astype("<i4"), image.area.astype("<i4")):
            self._digest.update(np.ascontiguousarray(values).tobytes())
        self._digest.update(image.feature.astype("<f4").tobytes())
        self._digest.update(image.pixels.astype("<i8").tobytes())

    def finish(self) -> str:
        """Finish after the last image, and return the content digest, equal for equal content."""
        regions = self._file["regions"]
        regions["image"] = np.repeat(np.arange(len(self._counts), dtype=np.int32), self._counts)
        regions["cluster"] = np.array(self._clusters, np.int32)
        regions["area"] = np.array(self._areas, np.int32)
        self._file["pixels"] = self._pixels
        self._file.attrs["digest"] = self._digest.hexdigest()
        return self._digest.hexdigest()


class PseudoMaskStore:
    """Label maps and regions of one or more shards, read as one.

    Files are opened when first read, once per process. So a store can be pickled and used in loader
    processes.

    Args:
        manifests: The manifests of the shards.

    Attributes:
        paths: The shards.
        ids: Qualified ids of all images, sorted, however the images are distributed over shards.
        clusters: N.
        digest: Content digest of all shards.

    Raises:
        StoreError: A shard or its manifest is missing, damaged, or of another kind or place; a
            shard repeats an image, or was made with other centres or settings than the first.
    """

    def __init__(self, manifests: Sequence[str | Path]) -> None:
        if not manifests:
            raise StoreError("no pseudo-masks given", expected="at least one shard")
        self.paths = tuple(map(KIND.checked, manifests))
        self._files: dict[int, h5py.File] = {}
        self._pid = os.getpid()
        heads = [_read_head(path) for path in self.paths]
        for path, head in zip(self.paths, heads, strict=True):
            for key in ("clusters", "centroids", "settings"):
                if head[key] != heads[0][key]:
                    raise StoreError(
                        f"{path} and {self.paths[0]} differ in {key}",
                        expected=heads[0][key],
                        found=head[key],
                        fix="delete both and run snakemake --cores all all_pseudo_masks",
                    )
        self.clusters = int(heads[0]["clusters"])
        self.digest = digest_json([head["digest"] for head in heads])
        stored = [
            (i, shard, row) for shard, h in enumerate(heads) for row, i in enumerate(h["ids"])
        ]
        stored.sort()
        self.ids: tuple[str, ...] = tuple(image_id for image_id, _, _ in stored)
        self._places = {image_id: (shard, row) for image_id, shard, row in stored}
        self._rank = [np.empty(len(head["ids"]), np.int64) for head in heads]  # row -> row in `ids`
        for rank, (_, shard, row) in enumerate(stored):
            self._rank[shard][row] = rank
        if len(self._places) != len(self.ids):
            repeated = next(a for a, b in zip(self.ids, self.ids[1:], strict=False) if a == b)
            raise StoreError(
                f"image {repeated} is in two shards",
                expected="every image once",
                found=", ".join(map(str, self.paths)),
                fix="give each shard once",
            )

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._places

    def __getstate__(self) -> dict[str, Any]:
        return {
            k: v for k, v in self.__dict__.items() if k not in ("regions", "_stored_regions")
        } | {"_files": {}}

    def _file(self, shard: int) -> h5py.File:
        if self._pid != os.getpid():  # a handle must not be shared with the parent process
            self._files, self._pid = {}, os.getpid()
        if shard not in self._files:
            self._files[shard] = KIND.open(self.paths[shard])
        return self._files[shard]

    def label_map(self, image_id: str) -> np.ndarray:
        """The cluster of every pixel, (H, W) uint8; 255 where no valid region is.

        Raises:
            StoreError: There is no such image, or its file is damaged.
        """
        if image_id not in self._places:
            raise StoreError(
                f"there are no pseudo-masks of image {image_id}",
                expected=f"one of {len(self)} images such as {self.ids[0] if self.ids else '-'}",
                fix="run snakemake --cores all all_pseudo_masks for a pool that holds it",
            )
        shard, row = self._places[image_id]
        file = self._file(shard)
        with KIND.reading(file.filename, f"that of {image_id}"):
            return file[f"label_map/{row}"][()]

    @cached_property
    def regions(self) -> RegionTable:
        """The valid regions of all images, image after image in the order of `ids`."""
        image, cluster, area = self._stored_regions
        order = np.argsort(image, kind="stable")
        return RegionTable(image[order], cluster[order], area[order], self._cluster_features)

    @cached_property
    def _stored_regions(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row in `ids`, cluster and area of every region, shard after shard."""
        tables = [self._file(shard)["regions"] for shard in range(len(self.paths))]
        image = [rank[t["image"][()]] for t, rank in zip(tables, self._rank, strict=True)]
        return (
            np.concatenate(image).astype(np.int32),
            np.concatenate([t["cluster"][()] for t in tables]),
            np.concatenate([t["area"][()] for t in tables]),
        )

    @cached_property
    def border_ratio(self) -> np.ndarray:
        """Each cluster's share of pixels on image borders, over the share of all pixels, (N,).

        Objects seldom touch the border and backgrounds often do, which needs no labels. A cluster
        without pixels has 0.
        """
        shards = range(len(self.paths))
        area, border = sum(self._file(shard)["pixels"][()] for shard in shards)
        return border / np.maximum(area, 1) / (border.sum() / area.sum())

    def object_regions(self, max_border: float | None) -> RegionTable:
        """The regions of clusters with a `border_ratio` up to `max_border`; None: all regions."""
        if max_border is None:
            return self.regions
        return self.regions.of(np.flatnonzero(self.border_ratio <= max_border))

    def _cluster_features(self, cluster: int) -> np.ndarray:
        shards = range(len(self.paths))
        found = [self._file(shard)[f"regions/feature/{cluster}"][()] for shard in shards]
        image, clusters, _ = self._stored_regions
        order = np.argsort(image[clusters == cluster], kind="stable")
        return np.concatenate(found)[order]


def _read_head(path: Path) -> dict[str, Any]:
    """The checked attributes and image ids of a shard."""
    with KIND.open(path) as file:
        return {**file.attrs, "ids": file["image_ids"].asstr()[()].tolist()}
