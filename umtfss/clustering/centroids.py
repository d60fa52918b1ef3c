"""Cluster centres on disk."""

from pathlib import Path

import numpy as np

from umtfss.common.hdf5 import FileKind

KIND = FileKind("umtfss-centroids", 1, "a file of cluster centres")


def save_centroids(path: str | Path, centroids: np.ndarray) -> None:
    """Write the centres and their manifest; equal centres give equal bytes.

    Args:
        path: The HDF5 file, written atomically.
        centroids: (N, C) float32.
    """
    with KIND.create(path) as file:
        file["centroids"] = centroids.astype(np.float32, copy=False)


def load_centroids(path: str | Path) -> np.ndarray:
    """The centres that a manifest describes, (N, C) float32.

    Raises:
        StoreError: The file or its manifest is missing, damaged, or of another kind or place.
    """
    with KIND.open(KIND.checked(path)) as file:
        return file["centroids"][()]
