"""The reader of a folder of images."""

import pytest
from PIL import Image

from umtfss.common.errors import DataError
from umtfss.data.folder import FolderDataset


def test_ids_are_the_sorted_paths_of_images(tmp_path):
    for name in ("b.JPG", "a/z.png", "a/.hidden.png", ".cache/c.png", "b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (5, 4), "red").save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    dataset = FolderDataset("photos", tmp_path)
    assert dataset.ids("all") == ["a/z.png", "b.JPG", "b.png"]
    assert dataset.image("a/z.png").shape == (4, 5, 3)
    assert not dataset.has_masks


def test_wrong_uses_are_named(tmp_path):
    dataset = FolderDataset("photos", tmp_path)
    with pytest.raises(DataError, match="holds no images"):
        dataset.ids("all")
    with pytest.raises(DataError, match=r"no split 'train'(?s:.*)photos/all"):
        dataset.ids("train")
    with pytest.raises(DataError, match="without masks"):
        dataset.mask("a.png")


def test_files_that_are_passed_over_are_named(tmp_path, caplog):
    for name in ("a.jpg", ".hidden.txt"):
        (tmp_path / name).touch()
    FolderDataset("photos", tmp_path).ids("all")
    assert not caplog.records
    for name in ("b.HEIC", "deep/c.heic", "notes"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert FolderDataset("photos", tmp_path).ids("all") == ["a.jpg"]
    assert "passing over 3 files" in caplog.text
    assert "(no suffix), .HEIC, .heic" in caplog.text


def test_linked_folders_are_searched(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "elsewhere/a.png")
    (tmp_path / "photos/linked").symlink_to(tmp_path / "elsewhere")
    assert FolderDataset("photos", tmp_path / "photos").ids("all") == ["linked/a.png"]
