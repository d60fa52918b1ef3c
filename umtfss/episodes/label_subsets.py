"""The labelled images at a label ratio.

Subsets are nested, seeded and stratified: images that are labelled at 5 % are labelled at 10 %, and
every base class has enough images for an episode at any ratio.

Legend: n images of the split, r ratio in percent.
"""

from collections.abc import Sequence

from umtfss.common.randomness import generator
from umtfss.data.index import DatasetIndex


def label_subset(
    index: DatasetIndex,
    classes: Sequence[int],
    *,
    ratio: int,
    floor: int,
    min_area: int,
    seed: int,
) -> list[str]:
    """The qualified ids of the labelled images: r n / 100, rounded down, or more for `floor`.

    The images are put in one random order. The first `floor` images of each class then move to the
    front. A subset is the beginning of this order, so subsets are nested. The subset at 100 % holds
    all images.

    Args:
        index: The training images and their classes.
        classes: Base classes of the fold; novel classes are not read.
        ratio: r, 1 to 100.
        floor: Least number of images of every class, K + 1 for K-shot episodes; a class with fewer
            images gives all of them.
        min_area: px that a class must cover to count as present.
        seed: Seed of the order.
    """
    random = generator("labels", index.dataset, index.split, seed)
    order = [index.image_ids[row] for row in random.permutation(len(index.image_ids))]
    first: set[str] = set()
    for class_id in classes:
        pool = set(index.class_pool(class_id, min_area))
        first.update([image_id for image_id in order if image_id in pool][:floor])
    order.sort(key=lambda image_id: image_id not in first)  # stable: both parts keep their order
    return order[: max(len(first), ratio * len(order) // 100)]
