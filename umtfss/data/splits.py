"""Classes and folds: which classes of a data set are novel in which fold.

Class ids count from 1; 0 is background, 255 is ignored.
"""

from dataclasses import dataclass

from umtfss.common.errors import ConfigError
from umtfss.data.class_list import ClassList
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


def class_folds(kind: str, own: ClassList | None = None) -> tuple[tuple[int, ...], ...]:
    """The class ids of every fold, ascending.

    A fold of PASCAL-5i (arXiv:1709.03410) has five consecutive classes, a fold of COCO-20i
    (arXiv:1909.13140) every fourth class. The procedural shapes follow PASCAL-5i.

    Args:
        kind: Kind of the data set.
        own: Classes and folds that the data set itself says.

    Raises:
        ConfigError: The kind has no classes.
    """
    if own is not None:
        return own.folds
    if kind not in CLASS_COUNTS:
        raise ConfigError(
            f"a data set of kind {kind!r} has no classes",
            expected=f"one of {sorted(CLASS_COUNTS)}, masks_folder or coco_json",
            found=kind,
            fix="test on a data set with masks",
        )
    count, folds = CLASS_COUNTS[kind], len(FOLDS)
    if kind == "coco":
        return tuple(tuple(range(fold + 1, count + 1, folds)) for fold in FOLDS)
    size = count // folds
    return tuple(tuple(range(fold * size + 1, (fold + 1) * size + 1)) for fold in FOLDS)


def novel_classes(kind: str, fold: int, own: ClassList | None = None) -> tuple[int, ...]:
    """The class ids that fold `fold` is tested on, ascending; arguments as in `class_folds`.

    Raises:
        ConfigError: The kind has no classes, or there is no such fold.
    """
    folds = class_folds(kind, own)
    if fold not in range(len(folds)):
        raise ConfigError(
            f"there is no fold {fold!r}",
            expected=f"one of {tuple(range(len(folds)))}",
            found=fold,
            fix="correct tables.folds",
        )
    return folds[fold]


def base_classes(kind: str, fold: int, own: ClassList | None = None) -> tuple[int, ...]:
    """The class ids that fold `fold` may train on: all but its novel classes, ascending.

    Raises:
        ConfigError: The kind has no classes, or there is no such fold.
    """
    novel = novel_classes(kind, fold, own)
    every = sorted(c for classes in class_folds(kind, own) for c in classes)
    return tuple(c for c in every if c not in novel)
