"""Cluster centres on disk."""

from pathlib import Path

import numpy as np

from umtfss.common.digests import digest_file
from umtfss.common.hdf5 import FileKind

KIND = FileKind("umtfss-centroids", 1, "a file of cluster centres", "all_clustering")


def save_centroids(path: str | Path, centroids: np.ndarray) -> str:
    """Write the centres and return the file's digest; equal centres give equal bytes.

    Args:
        path: The HDF5 file, written atomically.
        centroids: (N, C) float32.
    """
    with KIND.create(path) as file:
        file["centroids"] = centroids.astype(np.float32, copy=False)
    return digest_file(path)


def load_centroids(path: str | Path) -> np.ndarray:
    """The centres in a file, (N, C) float32.

    Raises:
        StoreError: The file is missing, of another format or of another version.
    """
    with KIND.open(path) as file:
        return file["centroids"][()]
