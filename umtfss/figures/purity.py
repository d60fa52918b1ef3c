"""Agreement of clusters with labels, for the report alone; no result depends on it.

Shapes: N clusters, L labels.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm import tqdm

from umtfss.common.errors import DataError
from umtfss.data.catalog import Catalog
from umtfss.data.images import IGNORE
from umtfss.pseudo_masks.regions import NO_REGION
from umtfss.pseudo_masks.store import PseudoMaskStore


def cluster_purity(store: PseudoMaskStore, catalog: Catalog, ids: Sequence[str]) -> dict[str, Any]:
    """Purity of the clusters' valid regions against ground truth, JSON-able.

    The purity of a cluster is the part of its labelled pixels with its most common label.
    Background is a label like the others, and labels of different data sets are different labels.
    `purity` weights clusters by their pixels; `mean_purity` counts each cluster once.
    `object_purity` leaves the background pixels out.

    Args:
        store: The pseudo-masks.
        catalog: Source of the true masks.
        ids: Qualified ids of images with ground truth.

    Raises:
        DataError: The images hold no labelled pixel of a valid region.
    """
    names = sorted({image_id.split("/", 1)[0] for image_id in ids})
    counts = {name: np.zeros((store.clusters, IGNORE), np.int64) for name in names}
    for image_id in tqdm(ids, "purity", unit="image"):
        clusters, labels = store.label_map(image_id), catalog.mask(image_id)
        used = (clusters != NO_REGION) & (labels != IGNORE)
        pairs = clusters[used].astype(np.int64) * IGNORE + labels[used]
        counted = np.bincount(pairs, minlength=store.clusters * IGNORE)
        counts[image_id.split("/", 1)[0]] += counted.reshape(store.clusters, IGNORE)

    table = np.concatenate([np.zeros((store.clusters, 0), np.int64), *counts.values()], axis=1)
    if not table.sum():
        raise DataError(
            f"{len(ids)} images hold no labelled pixel of a valid region",
            fix="give images with masks, or a smaller pseudo_masks.min_area",
        )
    objects = table.copy()
    objects[:, ::IGNORE] = 0
    rows = [_row(cluster, names, table[cluster]) for cluster in range(store.clusters)]
    present = [row["purity"] for row in rows if row["pixels"]]
    return {
        "images": len(ids),
        "pixels": int(table.sum()),
        "purity": _share(table.max(1).sum(), table.sum()),
        "mean_purity": float(np.mean(present)),
        "object_purity": _share(objects.max(1).sum(), objects.sum()),
        "clusters": rows,
    }


def _row(cluster: int, names: Sequence[str], counts: np.ndarray) -> dict[str, Any]:
    best = int(counts.argmax())
    return {
        "cluster": cluster,
        "pixels": int(counts.sum()),
        "majority": f"{names[best // IGNORE]}/{best % IGNORE}" if counts.sum() else None,
        "purity": _share(counts[best], counts.sum()),
        "background": _share(counts[::IGNORE].sum(), counts.sum()),
    }


def _share(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None
