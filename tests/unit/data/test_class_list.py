"""Classes and folds of a data set of one's own."""

import pytest

from umtfss.common.errors import DataError
from umtfss.data.class_list import read_class_list


def test_classes_are_lines_or_sub_folders(tmp_path):
    for name in ("sheep", "cow", ".git"):
        (tmp_path / name).mkdir()
    assert read_class_list(tmp_path).names == ("cow", "sheep")
    (tmp_path / "classes.txt").write_text("sheep\n\n cow \nred fox\n")
    assert read_class_list(tmp_path).names == ("sheep", "cow", "red fox")


@pytest.mark.parametrize(
    ("count", "folds"),
    [(2, ((1,), (2,))), (3, ((1,), (2,), (3,))), (6, ((1, 5), (2, 6), (3,), (4,)))],
)
def test_folds_take_every_fourth_class(tmp_path, count, folds):
    (tmp_path / "classes.txt").write_text("".join(f"class{c}\n" for c in range(count)))
    assert read_class_list(tmp_path).folds == folds


def test_folds_may_be_listed(tmp_path):
    (tmp_path / "classes.txt").write_text("a\nb\nred fox\n")
    (tmp_path / "folds.txt").write_text("red fox, a\nb\n")
    assert read_class_list(tmp_path).folds == ((1, 3), (2,))


@pytest.mark.parametrize(
    ("folds", "message"),
    [
        ("a\nb\n", "missing, unknown or twice: .'red fox'."),
        ("a,b\nred fox, cow\n", "missing, unknown or twice: .'cow'."),
        ("a,b\nred fox, a\n", "missing, unknown or twice: .'a'."),
        ("a,b,red fox\n", "1 lines"),
    ],
)
def test_lists_that_are_no_folds_are_refused(tmp_path, folds, message):
    (tmp_path / "classes.txt").write_text("a\nb\nred fox\n")
    (tmp_path / "folds.txt").write_text(folds)
    with pytest.raises(DataError, match=rf"folds\.txt does not say the folds(?s:.*){message}"):
        read_class_list(tmp_path)


@pytest.mark.parametrize("text", ["", "a\n", "a\nb\na\n", "\n".join(map(str, range(255)))])
def test_lists_that_are_no_classes_are_refused(tmp_path, text):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=r"does not say its classes(?s:.*)2 to 254 distinct"):
        read_class_list(tmp_path)


def test_index_masks_need_a_list(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=r"does not say its classes(?s:.*)classes\.txt"):
        read_class_list(tmp_path)


def test_a_folder_that_is_not_there_is_said(tmp_path):
    with pytest.raises(DataError, match=r"no folder .*nothing(?s:.*)the project's folder"):
        read_class_list(tmp_path / "nothing")
