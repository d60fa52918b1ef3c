"""Which images give their labels at a label ratio (protocol section 1).

Subsets are nested, seeded and stratified: what is labelled at 5 % is labelled at 10 %, and every
base class has enough images for an episode at any ratio.

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
    """The qualified ids of the labelled images: r n / 100, rounded down, or more by the floor.

    The images are put in one random order; those that give each class its first `floor` images
    move to the front. A subset is the beginning of that order, so subsets are nested. Which
    images there are at 100 % does not depend on the order.

    Args:
        index: The training images and what they hold.
        classes: Base classes of the fold; novel classes are not looked at.
        ratio: r, 1 to 100.
        floor: Images of every class, K + 1 for K-shot episodes; all it has, if it has fewer.
        min_area: px that a class must cover to count as present.
        seed: Of the order.
    """
    random = generator("labels", index.dataset, index.split, seed)
    order = [index.image_ids[row] for row in random.permutation(len(index.image_ids))]
    first: set[str] = set()
    for class_id in classes:
        pool = set(index.class_pool(class_id, min_area))
        first.update([image_id for image_id in order if image_id in pool][:floor])
    order.sort(key=lambda image_id: image_id not in first)  # stable: the rest stays in order
    return order[: max(len(first), ratio * len(order) // 100)]
