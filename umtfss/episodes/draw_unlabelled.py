"""Drawing of training episodes without labels: pseudo-episodes and split episodes of one image.

Shapes: E episodes, K shots, R regions, C channels. Draws are keyed as in `draw_labelled.py`.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np
from tqdm import tqdm

from umtfss.common.errors import DataError
from umtfss.common.randomness import generator, permutation
from umtfss.data.index import DatasetIndex
from umtfss.data.splits import ClassPresence
from umtfss.episodes.episode import EpisodeList
from umtfss.pseudo_masks.store import RegionTable

BLOCK = 256  # regions whose support pools are found at once
# Support pools, as in the paper: the fraction of the cluster's other regions, at most the cap; all
# other regions of a cluster with fewer regions than SMALL_CLUSTER.
SUPPORT_FRACTION, SUPPORT_CAP, SMALL_CLUSTER = 0.5, 5000, 20


def images_with_classes(
    classes: Mapping[str, ClassPresence] | None, indexes: Iterable[DatasetIndex]
) -> set[str] | None:
    """The qualified ids of the images that hold a wanted class; None: all images.

    Args:
        classes: Data set -> classes; an image must hold one of them. None: all images, no label is
            read.
        indexes: The indexes of the pool's splits; not read without classes.
    """
    if classes is None:
        return None
    images: set[str] = set()
    for index in indexes:
        wanted = classes[index.dataset]
        images.update(index.images_with(wanted.classes, wanted.min_area))
    return images


def epoch_length(
    image_ids: Sequence[str],
    regions: RegionTable,
    *,
    shot: int,
    allowed_ids: Collection[str] | None = None,
) -> int:
    """The number of images that can be the query of a pseudo-episode: one epoch.

    Args:
        image_ids: Image ids; `regions.image` holds their rows.
        regions: The valid regions of the pool.
        shot: K.
        allowed_ids: The images that may be used; None: all.
    """
    usable = _usable_regions(image_ids, regions, shot, allowed_ids)
    return len(np.unique(regions.image[usable]))


def draw_pseudo_episodes(
    image_ids: Sequence[str],
    regions: RegionTable,
    *,
    shot: int,
    count: int,
    seed: int,
    allowed_ids: Collection[str] | None = None,
    key: str,
) -> EpisodeList:
    """Draw pseudo-episodes: clusters are the classes, regions the masks.

    A region is usable if it is valid and its cluster has K + 1 or more valid regions. Queries walk
    over the images with usable regions, in a new random order every epoch. The query region is
    drawn uniformly from the image's usable regions. Supports are drawn without replacement from the
    support pool of the query region: the nearest half, by cosine, of the cluster's other regions,
    at least K and at most 5,000; or all other regions if the cluster has fewer than 20 regions.

    Another BLAS or number of threads rounds cosines differently, which can swap two regions at the
    edge of a pool. So the list is drawn once and kept.

    Args:
        image_ids: Image ids; `regions.image` holds their rows.
        regions: The valid regions of the pool.
        shot: K.
        count: E.
        seed: Episode seed.
        allowed_ids: The images that may be used, as query and as support; None: all.
        key: Name of the draw, which keys it, e.g. "train/pascal/unsup-all/seed0".

    Raises:
        DataError: No cluster has regions in K + 1 images.
    """
    usable = _usable_regions(image_ids, regions, shot, allowed_ids)
    cluster = regions.cluster[usable]
    size = np.bincount(cluster)
    pool_size = _pool_sizes(size, shot)
    images, first, regions_of = np.unique(
        regions.image[usable], return_index=True, return_counts=True
    )
    query = np.empty(count, np.int64)  # positions in `usable`
    ranks = np.empty((count, shot), np.int64)  # positions in the support pool
    order = np.empty(0, np.int64)
    for episode in tqdm(range(count), "episodes", unit="episode", mininterval=1):
        epoch, place = divmod(episode, len(images))
        if place == 0:
            order = permutation(len(images), key, seed, "epoch", epoch)
        rng = generator(key, seed, episode)
        at = order[place]
        query[episode] = first[at] + rng.integers(regions_of[at])
        ranks[episode] = rng.choice(pool_size[cluster[query[episode]]], shot, replace=False)

    supports = np.empty((count, shot), np.int64)  # positions in `usable`
    for c in tqdm(np.flatnonzero(size).tolist(), "support pools", unit="cluster"):
        members = np.flatnonzero(cluster == c)
        episodes = np.flatnonzero(cluster[query] == c)
        centre, rank = np.searchsorted(members, query[episodes]), ranks[episodes]
        if pool_size[c] == size[c] - 1:
            picked = rank + (rank >= centre[:, None])
        else:
            rows = np.flatnonzero(regions.cluster == c)  # rows of the features below
            feature = regions.cluster_features(c)[np.searchsorted(rows, usable[members])]
            picked = _pick_near(feature, centre, rank, int(pool_size[c]))
        supports[episodes] = members[picked]
    image = regions.image[usable]
    return EpisodeList(image_ids, image[query], cluster[query], image[supports], key)


def split_epoch_length(
    image_ids: Sequence[str], regions: RegionTable, *, allowed_ids: Collection[str] | None = None
) -> int:
    """The number of images that can make a split episode: one epoch.

    Args:
        image_ids: Image ids; `regions.image` holds their rows.
        regions: The valid salient regions of the pool.
        allowed_ids: The images that may be used; None: all.
    """
    return len(_salient_images(image_ids, regions, allowed_ids))


def draw_split_episodes(
    image_ids: Sequence[str],
    regions: RegionTable,
    *,
    shot: int,
    count: int,
    seed: int,
    allowed_ids: Collection[str] | None = None,
    key: str,
) -> EpisodeList:
    """Draw episodes of one image each, as in MaskSplit (arXiv:2110.12207).

    The image is the query and all K supports; the loader splits its mask. The class is cluster 0,
    the salient region. Episodes walk over the images in a new random order every epoch.

    Args:
        image_ids: Image ids; `regions.image` holds their rows.
        regions: The valid salient regions of the pool.
        shot: K.
        count: E.
        seed: Episode seed.
        allowed_ids: The images that may be used; None: all.
        key: Name of the draw, which keys it, e.g. "train/pascal/saliency-all".

    Raises:
        DataError: No image has a valid salient region.
    """
    images = _salient_images(image_ids, regions, allowed_ids)
    epochs = range(-(-count // len(images)))
    orders = [permutation(len(images), key, seed, "epoch", epoch) for epoch in epochs]
    query = images[np.concatenate([np.empty(0, np.int64), *orders])[:count]]
    supports = np.repeat(query[:, None], shot, axis=1)
    return EpisodeList(image_ids, query, np.zeros(count), supports, key)


def _salient_images(
    image_ids: Sequence[str], regions: RegionTable, allowed_ids: Collection[str] | None
) -> np.ndarray:
    """Rows of the allowed images that have a valid region, ascending."""
    images = np.unique(regions.image[_allowed(image_ids, regions, allowed_ids)])
    if not len(images):
        raise DataError(
            "no image can make a split episode",
            expected="an allowed image with a valid salient region",
            found=f"{len(regions)} valid regions in {len(image_ids)} images",
            fix="use more images, or a smaller pseudo_masks.min_area",
        )
    return images


def _usable_regions(
    image_ids: Sequence[str],
    regions: RegionTable,
    shot: int,
    allowed_ids: Collection[str] | None,
) -> np.ndarray:
    """Rows of the allowed regions whose cluster has more than `shot` allowed regions."""
    rows = _allowed(image_ids, regions, allowed_ids)
    size = np.bincount(regions.cluster[rows], minlength=1)
    usable = rows[size[regions.cluster[rows]] > shot]
    if not len(usable):
        images = len(image_ids if allowed_ids is None else {*image_ids} & {*allowed_ids})
        raise DataError(
            f"no cluster can make {shot}-shot pseudo-episodes",
            expected=f"a cluster with valid regions in {shot + 1} images",
            found=f"{len(rows)} valid regions in {images} images, "
            f"at most {size.max()} in one cluster",
            fix="use more images, fewer clusters, a smaller pseudo_masks.min_area or a larger "
            "episodes.max_border",
        )
    return usable


def _allowed(
    image_ids: Sequence[str], regions: RegionTable, allowed_ids: Collection[str] | None
) -> np.ndarray:
    """Rows of the regions in allowed images; `allowed_ids` None: all."""
    if allowed_ids is None:
        return np.arange(len(regions))
    wanted = frozenset(allowed_ids)
    allowed = np.array([image_id in wanted for image_id in image_ids], bool)
    return np.flatnonzero(allowed[regions.image])


def _pool_sizes(size: np.ndarray, shot: int) -> np.ndarray:
    """The size of a support pool, for each cluster, without the query."""
    others = np.maximum(size - 1, 0)
    nearest = np.ceil(SUPPORT_FRACTION * others).astype(np.int64)
    nearest = np.maximum(np.minimum(nearest, SUPPORT_CAP), shot)
    return np.where(size < SMALL_CLUSTER, others, np.minimum(nearest, others))


def _pick_near(
    feature: np.ndarray, query: np.ndarray, ranks: np.ndarray, pool_size: int
) -> np.ndarray:
    """Pick the regions at `ranks` of the query regions' support pools, (E, K), in one cluster.

    A pool is listed in the order of the table. Cosines are computed for fixed blocks of the
    cluster's rows, so a longer list of episodes has the same cosines as a shorter list.

    Args:
        feature: (R, C) float32, L2-normalised features of the cluster's usable regions.
        query: (E,) int, row of each query region.
        ranks: (E, K) int, positions in the support pool.
        pool_size: Number of regions in a support pool.
    """
    picked = np.empty_like(ranks)
    for block in np.unique(query // BLOCK):
        start = block * BLOCK
        cosine = feature[start : start + BLOCK] @ feature.T
        here = np.arange(len(cosine))
        cosine[here, start + here] = -np.inf  # never the query itself
        episodes = np.flatnonzero(query // BLOCK == block)
        asked, row = np.unique(query[episodes] - start, return_inverse=True)
        cosine, row = cosine[asked], row[:, None]
        # the pool_size-th greatest cosine of each row is the threshold of its pool
        border = np.partition(cosine, -pool_size, axis=1)[:, -pool_size, None]
        in_pool = cosine >= border
        listed = np.flatnonzero(in_pool)  # row after row
        count = np.count_nonzero(in_pool, axis=1)
        first = np.cumsum(count) - count
        picked[episodes] = listed[first[row] + ranks[episodes]] - row * len(feature)
    return picked
