"""Drawing of labelled episodes: test episodes and training episodes of base classes.

Shapes: E episodes, K shots.

Every draw has its own generator, keyed by (key, seed, index). A draw depends on no other draw, no
worker and no global state, and a list of 200 episodes starts with the list of 100 episodes.
"""

import logging
from collections.abc import Collection, Sequence
from typing import Any, Literal

import numpy as np

from umtfss.common.errors import DataError
from umtfss.common.randomness import generator, permutation
from umtfss.data.index import DatasetIndex
from umtfss.episodes.episode import EpisodeList

logger = logging.getLogger(__name__)


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
    """Draw test episodes; they are drawn before any model is tested.

    `class_uniform`: every block of len(classes) episodes holds each class once, in random order, so
    classes are balanced and no class is missing. The query is drawn uniformly from the class's
    images. `list_order` (the authors' draw): queries cycle through the list of images that hold a
    class, and the class is drawn uniformly from the classes in the image. Both draw the K supports
    from the class's other images without replacement.

    Args:
        index: The images of a split and the areas of their classes.
        classes: Novel classes of the fold.
        shot: K.
        count: E.
        seed: Episode seed.
        draw: The kind of draw.
        min_area: px that a class must cover to count as present.
        key: Name of the draw, which keys it, e.g. "test/pascal/fold0/1shot/seed0".
        rare_classes: Treatment of a class with fewer than K + 1 images.

    Raises:
        DataError: A class has fewer than K + 1 images and is not left out, or every class has.
    """
    rows = {image_id: row for row, image_id in enumerate(index.image_ids)}
    pools: dict[int, np.ndarray] = {}
    for class_id in classes:
        pools[class_id] = np.array([rows[i] for i in index.class_pool(class_id, min_area)], int)
    if rare_classes == "leave_out":
        for rare in (one for one in classes if len(pools[one]) <= shot):
            logger.warning(
                "class %d of %s/%s is left out: %d images show %d px of it or more, and %d-shot "
                "episodes need %d",
                *(rare, index.dataset, index.split, len(pools[rare]), min_area, shot, shot + 1),
            )
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
                + ("set its rare_classes to leave_out, " if rare_classes == "refuse" else "")
                + f"or take {shot} out of evaluation.shots",
            )
    images = [rows[i] for i in index.images_with(classes, min_area)]
    present = _present(pools)

    query, class_ids = np.empty(count, np.int32), np.empty(count, np.int32)
    supports = np.empty((count, shot), np.int32)
    for episode in range(count):
        rng = generator(key, seed, episode)
        if draw == "class_uniform":
            block, place = divmod(episode, len(classes))
            class_id = classes[permutation(len(classes), key, seed, "classes", block)[place]]
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


def labelled_epoch_length(index: DatasetIndex, classes: Sequence[int], **pool: Any) -> int:
    """The number of images that can be the query of a labelled training episode: one epoch.

    Args:
        index: As in `draw_base_episodes`.
        classes: As in `draw_base_episodes`.
        **pool: `shot`, `min_area` and `allowed_ids`, as in `draw_base_episodes`.
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
    """Draw labelled training episodes of base classes, for supervised meta-training.

    A class is usable if K + 1 or more allowed images hold it. Queries walk over the allowed images
    with a usable class, in a new random order every epoch. The class is drawn uniformly from the
    usable classes in the image. The K supports are drawn from the class's other allowed images
    without replacement.

    Args:
        index: The training images and the areas of their classes.
        classes: Base classes of the fold.
        shot: K.
        count: E.
        seed: Episode seed.
        min_area: px that a class must cover to count as present.
        allowed_ids: The labelled images.
        key: Name of the draw, which keys it, e.g. "train/pascal/sup-fold0-labels20".

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
            order = permutation(len(images), key, seed, "epoch", epoch)
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
    """Class id -> rows of its allowed images, for classes with more than `shot` allowed images."""
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
    """Row of an image -> classes of `pools` that the image holds."""
    present: dict[int, list[int]] = {}
    for class_id, pool in pools.items():
        for row in pool.tolist():
            present.setdefault(row, []).append(class_id)
    return present
