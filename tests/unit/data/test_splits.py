"""Classes of the folds."""

import pytest

from umtfss.common.errors import ConfigError
from umtfss.data.class_list import ClassList
from umtfss.data.splits import base_classes, class_folds, novel_classes


@pytest.mark.parametrize("kind", ["voc2012", "shapes"])
def test_pascal_folds_are_runs_of_five(kind):
    assert novel_classes(kind, 0) == (1, 2, 3, 4, 5)
    assert novel_classes(kind, 3) == (16, 17, 18, 19, 20)


def test_coco_folds_take_every_fourth_class():
    assert novel_classes("coco", 0) == tuple(range(1, 78, 4))
    assert novel_classes("coco", 3)[:3] == (4, 8, 12)
    assert novel_classes("coco", 3)[-1] == 80


@pytest.mark.parametrize("kind", ["voc2012", "shapes", "coco"])
def test_folds_partition_the_classes(kind):
    every = set(range(1, 1 + sum(map(len, class_folds(kind)))))
    assert len(every) == (80 if kind == "coco" else 20)
    novel = [set(novel_classes(kind, fold)) for fold in range(4)]
    assert set.union(*novel) == every
    assert sum(map(len, novel)) == len(every)
    for fold in range(4):
        assert set(base_classes(kind, fold)) == every - novel[fold]
        assert list(base_classes(kind, fold)) == sorted(base_classes(kind, fold))


def test_a_data_set_says_its_own_folds():
    own = ClassList(("a", "b", "c", "d", "e"), ((2, 5), (1, 3, 4)))
    assert novel_classes("masks_folder", 0, own) == (2, 5)
    assert base_classes("masks_folder", 0, own) == (1, 3, 4)
    with pytest.raises(ConfigError, match=r"no fold 2(?s:.*)\(0, 1\)"):
        novel_classes("masks_folder", 2, own)


def test_unknown_fold_and_kind_are_named():
    with pytest.raises(ConfigError, match="no fold 4"):
        novel_classes("coco", 4)
    with pytest.raises(ConfigError, match="'folder' has no classes"):
        base_classes("folder", 0)
