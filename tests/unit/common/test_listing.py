"""Folders as people have them: with links, loops and places that cannot be read."""

import os
from pathlib import Path

import pytest

from umtfss.common.digests import digest_listing
from umtfss.common.listing import list_files


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")


def names(root: Path) -> list[str]:
    return [path.as_posix() for path in list_files(root).files]


def test_a_folder_is_listed_once_however_many_links_lead_to_it(tmp_path):
    root = tmp_path / "photos"
    write(root / "a.jpg", root / "deep/b.jpg", tmp_path / "elsewhere/c.jpg")
    plain = digest_listing(root)
    (root / "loop").symlink_to(root)
    (root / "deep/up").symlink_to("..")
    (root / "a_link").symlink_to("deep")  # sorted before the folder itself
    assert names(root) == ["a.jpg", "deep/b.jpg"]
    assert digest_listing(root) == plain
    (root / "one").symlink_to(tmp_path / "elsewhere")
    (root / "two").symlink_to(tmp_path / "elsewhere")
    assert names(root) == ["a.jpg", "deep/b.jpg", "one/c.jpg"]
    assert not list_files(root).unread


def test_what_is_hidden_is_left_out(tmp_path):
    write(tmp_path / ".cache/a.jpg", tmp_path / ".a.jpg", tmp_path / "a.jpg")
    assert names(tmp_path) == ["a.jpg"]


def test_links_to_nothing_and_to_themselves_are_named(tmp_path):
    write(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "unmounted/b.jpg")
    (tmp_path / "c.jpg").symlink_to("c.jpg")
    listing = list_files(tmp_path)
    assert listing.files == (Path("a.jpg"),)
    assert list(listing.unread) == [Path("b.jpg"), Path("c.jpg")]
    assert listing.unread[Path("b.jpg")] == "a link to nothing"


def test_a_folder_without_permission_is_named(tmp_path, monkeypatch):
    write(tmp_path / "a.jpg", tmp_path / "locked/b.jpg")
    scan = os.scandir

    def refuse(folder):
        if Path(folder).name == "locked":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", refuse)  # chmod does not stop root
    listing = list_files(tmp_path)
    assert listing.files == (Path("a.jpg"),)
    assert listing.unread == {Path("locked"): "Permission denied"}


@pytest.mark.parametrize("name", ["ä/ö.jpg", "a b/c.jpg"])
def test_names_are_paths_below_the_folder(tmp_path, name):
    write(tmp_path / name)
    assert names(tmp_path) == [name]
