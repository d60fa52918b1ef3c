"""Classes and folds: which classes of a data set are novel in which fold.

Class ids count from 1; 0 is background, 255 is ignored.
"""

from dataclasses import dataclass

from umtfss.common.errors import ConfigError
from umtfss.experiment.block import FOLDS

CLASS_COUNTS = {"voc2012": 20, "shapes": 20, "coco": 80}


@dataclass(frozen=True)
class ClassPresence:
    """The condition that an image holds at least one of several classes.

    Attributes:
        classes: Class ids.
        min_area: px that one of the classes must cover.
    """

    classes: tuple[int, ...]
    min_area: int


def class_count(kind: str) -> int:
    """The number of classes of a kind of data set, background not counted.

    Raises:
        ConfigError: The kind has no classes.
    """
    if kind not in CLASS_COUNTS:
        raise ConfigError(
            f"a data set of kind {kind!r} has no classes",
            expected=f"one of {sorted(CLASS_COUNTS)}",
            found=kind,
            fix="test on a data set with masks",
        )
    return CLASS_COUNTS[kind]


def novel_classes(kind: str, fold: int) -> tuple[int, ...]:
    """The class ids that fold `fold` is tested on, ascending.

    A fold of PASCAL-5i (arXiv:1709.03410) has five consecutive classes, a fold of COCO-20i
    (arXiv:1909.13140) every fourth class. The procedural shapes follow PASCAL-5i.

    Raises:
        ConfigError: The kind has no classes, or the fold is not 0 to 3.
    """
    count = class_count(kind)
    if fold not in FOLDS:
        raise ConfigError(f"there is no fold {fold!r}", expected=f"one of {FOLDS}", found=fold)
    if kind == "coco":
        return tuple(range(fold + 1, count + 1, len(FOLDS)))
    size = count // len(FOLDS)
    return tuple(range(fold * size + 1, (fold + 1) * size + 1))


def base_classes(kind: str, fold: int) -> tuple[int, ...]:
    """The class ids that fold `fold` may train on: all but its novel classes, ascending.

    Raises:
        ConfigError: The kind has no classes, or the fold is not 0 to 3.
    """
    novel = novel_classes(kind, fold)
    return tuple(c for c in range(1, class_count(kind) + 1) if c not in novel)
