"""Which images make an episode: test, pseudo-, split and labelled training episodes.

Protocol sections 2, 3.7 and 3.8. Shapes: E episodes, K shots, R regions, C channels.

Every draw has a generator of its own, keyed by (key, seed, index): it depends on no other draw,
on no worker and on no global state, and a list of 200 episodes starts with the list of 100.
"""

from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np
from tqdm import tqdm

from umtfss.config import EpisodesConfig
from umtfss.data.index import DatasetIndex
from umtfss.episodes.episode import EpisodeList
from umtfss.errors import DataError
from umtfss.pseudo_masks.store import RegionTable
from umtfss.randomness import generator

BLOCK = 256  # regions whose support pools are found at once


def draw_test_episodes(
    index: DatasetIndex,
    classes: Sequence[int],
    *,
    shot: int,
    count: int,
    seed: int,
    draw: Literal["class_uniform", "list_order"],
    min_area: int,
    key: str,
    rare_classes: Literal["refuse", "leave_out"] = "refuse",
) -> EpisodeList:
    """Test episodes of the classes, written down before any model is tested.

    `class_uniform`: every block of len(classes) episodes holds each class once, in random order,
    so classes are uniform and none is missing; the query is uniform over the class's images.
    `list_order` (the authors'): queries cycle through the list of images that hold a class; the
    class is uniform over those in the image. Either way the K supports are drawn from the
    class's other images without replacement.

    Args:
        index: The images of a split and the areas of their classes.
        classes: Novel classes of the fold.
        shot: K.
        count: E.
        seed: Episode seed.
        draw: The kind of draw.
        min_area: px that a class must cover to count as present.
        key: Names the draw, e.g. "test/pascal/fold0/1shot/seed0"; part of every draw.
        rare_classes: What becomes of a class with fewer than K + 1 images.

    Raises:
        DataError: A class has fewer than K + 1 images and is not to be left out, or all have.
    """
    rows = {image_id: row for row, image_id in enumerate(index.image_ids)}
    pools: dict[int, np.ndarray] = {}
    for class_id in classes:
        pools[class_id] = np.array([rows[i] for i in index.class_pool(class_id, min_area)], int)
    if rare_classes == "leave_out":
        classes = [c for c in classes if len(pools[c]) > shot] or classes
        pools = {class_id: pools[class_id] for class_id in classes}
    for class_id in classes:
        if len(pools[class_id]) <= shot:
            raise DataError(
                f"class {class_id} of {index.dataset}/{index.split} has too few images for "
                f"{shot}-shot episodes",
                expected=f"at least {shot + 1} images with {min_area} px of the class",
                found=f"{len(pools[class_id])} images",
                fix=f"add images of the class, lower datasets.{index.dataset}.min_class_area, "
                f"set its rare_classes to leave_out, or take {shot} out of evaluation.shots",
            )
    images = [rows[i] for i in index.images_with(classes, min_area)]
    present = _present(pools)

    query, class_ids = np.empty(count, np.int32), np.empty(count, np.int32)
    supports = np.empty((count, shot), np.int32)
    for episode in range(count):
        rng = generator(key, seed, episode)
        if draw == "class_uniform":
            block, place = divmod(episode, len(classes))
            class_id = classes[_permutation(key, seed, "classes", block, len(classes))[place]]
            position = int(rng.integers(len(pools[class_id])))
        else:
            row = images[episode % len(images)]
            class_id = present[row][rng.integers(len(present[row]))]
            position = int(np.searchsorted(pools[class_id], row))
        pool = pools[class_id]
        others = rng.choice(len(pool) - 1, shot, replace=False)
        query[episode], class_ids[episode] = pool[position], class_id
        supports[episode] = pool[others + (others >= position)]
    return EpisodeList(index.image_ids, query, class_ids, supports, key)


def epoch_length(
    image_ids: Sequence[str],
    regions: RegionTable,
    *,
    shot: int,
    allowed_ids: Collection[str] | None = None,
) -> int:
    """The number of images that can be the query of a pseudo-episode: one epoch.

    Args:
        image_ids: Ids that `regions.image` points into.
        regions: The valid regions of the pool.
        shot: K.
        allowed_ids: The only images used; none: all.
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
    settings: EpisodesConfig,
    allowed_ids: Collection[str] | None = None,
    key: str,
) -> EpisodeList:
    """Pseudo-episodes: clusters are the classes, regions the masks.

    Queries walk over the usable images, in a new random order every epoch. The query region is
    uniform over the image's usable regions; usable is a valid region whose cluster has at least
    K + 1 of them. Supports are drawn without replacement from the pool of the query region: the
    `support_fraction` of the cluster's other regions that is nearest by cosine, at least K and
    at most `support_cap`, or all of them in a small cluster.

    Cosines are rounded differently by another BLAS or number of threads, which can swap two
    regions at the edge of a pool; so the list is drawn once and kept.

    Args:
        image_ids: Ids that `regions.image` points into.
        regions: The valid regions of the pool.
        shot: K.
        count: E.
        seed: Episode seed.
        settings: Size of the support pools.
        allowed_ids: The only images used, as query and as support; none: all.
        key: Names the draw, e.g. "train/pascal/unsup-all/seed0"; part of every draw.

    Raises:
        DataError: No cluster has regions in K + 1 images.
    """
    usable = _usable_regions(image_ids, regions, shot, allowed_ids)
    cluster = regions.cluster[usable]
    size = np.bincount(cluster)
    pool_size = _pool_sizes(size, shot, settings)
    images, first, regions_of = np.unique(
        regions.image[usable], return_index=True, return_counts=True
    )
    query = np.empty(count, np.int64)  # positions in `usable`
    ranks = np.empty((count, shot), np.int64)  # positions in the support pool
    order = np.empty(0, np.int64)
    for episode in tqdm(range(count), "episodes", unit="episode", mininterval=1):
        epoch, place = divmod(episode, len(images))
        if place == 0:
            order = _permutation(key, seed, "epoch", epoch, len(images))
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
            rows = np.flatnonzero(regions.cluster == c)  # those of the cluster's features
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
        image_ids: Ids that `regions.image` points into.
        regions: The valid salient regions of the pool.
        allowed_ids: The only images used; none: all.
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
    """Episodes of one image each, as MaskSplit has them (arXiv:2110.12207).

    The image is its own query and all of its K supports; the loader crops each its own way. The
    class is cluster 0, the salient region. Images are walked over in a new random order every
    epoch.

    Args:
        image_ids: Ids that `regions.image` points into.
        regions: The valid salient regions of the pool.
        shot: K.
        count: E.
        seed: Episode seed.
        allowed_ids: The only images used; none: all.
        key: Names the draw, e.g. "train/pascal/saliency-all"; part of every draw.

    Raises:
        DataError: No image has a valid salient region.
    """
    images = _salient_images(image_ids, regions, allowed_ids)
    epochs = range(-(-count // len(images)))
    orders = [_permutation(key, seed, "epoch", epoch, len(images)) for epoch in epochs]
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


def labelled_epoch_length(index: DatasetIndex, classes: Sequence[int], **pool: Any) -> int:
    """The number of images that can be the query of a labelled training episode: one epoch.

    Args:
        index: As in `draw_base_episodes`.
        classes: Likewise.
        **pool: `shot`, `min_area` and `allowed_ids`, likewise.
    """
    return len(_present(_class_pools(index, classes, **pool)))


def draw_base_episodes(
    index: DatasetIndex,
    classes: Sequence[int],
    *,
    shot: int,
    count: int,
    seed: int,
    min_area: int,
    allowed_ids: Collection[str],
    key: str,
) -> EpisodeList:
    """Labelled training episodes of base classes, as supervised meta-training has them.

    Queries walk over the allowed images that hold a usable class, in a new random order every
    epoch; the class is uniform over the usable ones in the image; the K supports are drawn from
    the class's other allowed images without replacement. Usable is a class with K + 1 images.

    Args:
        index: The training images and the areas of their classes.
        classes: Base classes of the fold.
        shot: K.
        count: E.
        seed: Episode seed.
        min_area: px that a class must cover to count as present.
        allowed_ids: The labelled images.
        key: Names the draw, e.g. "train/pascal/sup-fold0-labels20"; part of every draw.

    Raises:
        DataError: No class has K + 1 labelled images.
    """
    pools = _class_pools(index, classes, shot=shot, min_area=min_area, allowed_ids=allowed_ids)
    present = _present(pools)
    images = sorted(present)
    query, class_ids = np.empty(count, np.int32), np.empty(count, np.int32)
    supports = np.empty((count, shot), np.int32)
    order = np.empty(0, np.int64)
    for episode in range(count):
        epoch, place = divmod(episode, len(images))
        if place == 0:
            order = _permutation(key, seed, "epoch", epoch, len(images))
        rng = generator(key, seed, episode)
        row = images[order[place]]
        class_id = present[row][rng.integers(len(present[row]))]
        pool = pools[class_id]
        position = int(np.searchsorted(pool, row))
        others = rng.choice(len(pool) - 1, shot, replace=False)
        query[episode], class_ids[episode] = row, class_id
        supports[episode] = pool[others + (others >= position)]
    return EpisodeList(index.image_ids, query, class_ids, supports, key)


def _class_pools(
    index: DatasetIndex,
    classes: Sequence[int],
    *,
    shot: int,
    min_area: int,
    allowed_ids: Collection[str],
) -> dict[int, np.ndarray]:
    """Class id -> rows of its allowed images, of the classes with more than `shot` of them."""
    allowed = frozenset(allowed_ids)
    rows = {image_id: row for row, image_id in enumerate(index.image_ids)}
    pools = {}
    for class_id in classes:
        pool = [rows[i] for i in index.class_pool(class_id, min_area) if i in allowed]
        if len(pool) > shot:
            pools[class_id] = np.array(pool)
    if not pools:
        raise DataError(
            f"no base class of {index.dataset}/{index.split} can make {shot}-shot episodes",
            expected=f"a class with {min_area} px in {shot + 1} of the labelled images",
            found=f"{len(allowed)} labelled images, classes {list(classes)}",
            fix=f"raise the label ratio, lower datasets.{index.dataset}.min_class_area, or set "
            f"episodes.novel_images to keep",
        )
    return pools


def _present(pools: dict[int, np.ndarray]) -> dict[int, list[int]]:
    """Row of an image -> the classes of `pools` that are in it."""
    present: dict[int, list[int]] = {}
    for class_id, pool in pools.items():
        for row in pool.tolist():
            present.setdefault(row, []).append(class_id)
    return present


def _usable_regions(
    image_ids: Sequence[str],
    regions: RegionTable,
    shot: int,
    allowed_ids: Collection[str] | None,
) -> np.ndarray:
    """Rows of the regions of allowed images whose cluster has more than `shot` of them."""
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
            fix="use more images, fewer clusters or a smaller pseudo_masks.min_area",
        )
    return usable


def _allowed(
    image_ids: Sequence[str], regions: RegionTable, allowed_ids: Collection[str] | None
) -> np.ndarray:
    """Rows of the regions of allowed images; none: all."""
    if allowed_ids is None:
        return np.arange(len(regions))
    wanted = frozenset(allowed_ids)
    allowed = np.array([image_id in wanted for image_id in image_ids], bool)
    return np.flatnonzero(allowed[regions.image])


def _pool_sizes(size: np.ndarray, shot: int, settings: EpisodesConfig) -> np.ndarray:
    """The number of regions that supports are drawn from, per cluster, query excluded."""
    others = np.maximum(size - 1, 0)
    nearest = np.ceil(settings.support_fraction * others).astype(np.int64)
    nearest = np.maximum(np.minimum(nearest, settings.support_cap), shot)
    return np.where(size < settings.small_cluster, others, np.minimum(nearest, others))


def _pick_near(
    feature: np.ndarray, query: np.ndarray, ranks: np.ndarray, pool_size: int
) -> np.ndarray:
    """The regions at `ranks` of the query regions' pools, (E, K), within one cluster.

    A pool is listed in the order of the table. Blocks are fixed rows of the cluster, whatever
    the episodes, so that a longer list computes the same cosines as a shorter one.

    Args:
        feature: (R, C) float32, L2-normalised, of the cluster's usable regions.
        query: (E,) int, row of each query region.
        ranks: (E, K) int, positions in the pool.
        pool_size: Number of nearest regions that make a pool.
    """
    picked = np.empty_like(ranks)
    for block in np.unique(query // BLOCK):
        start = block * BLOCK
        cosine = feature[start : start + BLOCK] @ feature.T
        here = np.arange(len(cosine))
        cosine[here, start + here] = -np.inf  # never the query itself
        # the pool_size-th greatest cosine of each row is the border of its pool
        border = np.partition(cosine, -pool_size, axis=1)[:, -pool_size, None]
        in_pool = cosine >= border
        listed = np.flatnonzero(in_pool)  # row after row
        count = np.count_nonzero(in_pool, axis=1)
        first = np.cumsum(count) - count
        episodes = np.flatnonzero(query // BLOCK == block)
        row = query[episodes, None] - start
        picked[episodes] = listed[first[row] + ranks[episodes]] - row * len(feature)
    return picked


def _permutation(key: str, seed: int, what: str, number: int, size: int) -> np.ndarray:
    return generator(key, seed, what, number).permutation(size)
