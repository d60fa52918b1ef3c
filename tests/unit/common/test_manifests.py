"""Manifests, digests and atomic writes."""

import json
import os
import shutil

import pytest

from umtfss.common.digests import digest_code, digest_file, digest_json, digest_listing
from umtfss.common.errors import StoreError
from umtfss.common.files import atomic_path
from umtfss.common.manifests import read_manifest, write_manifest


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_suffix_is_kept_for_writers_that_look_at_it(tmp_path):
    with atomic_path(tmp_path / "deep" / "b.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"x")
    assert (tmp_path / "deep" / "b.png").is_file()


def test_digest_of_json_ignores_the_order_of_keys():
    assert digest_json({"a": 1, "b": [2]}) == digest_json({"b": [2], "a": 1})
    assert digest_json({"a": 1}) != digest_json({"a": 2})


def test_digest_of_a_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert digest_file(tmp_path / "f") == expected


def test_code_digest_refuses_a_renamed_source():
    assert digest_code("umtfss/plan/run.py") != digest_code("umtfss/plan/plan.py")
    assert digest_code("umtfss/data/index.py") == digest_code("umtfss/data/index.py")
    with pytest.raises(StoreError, match=r"umtfss/gone\.py"):
        digest_code("umtfss/gone.py")


@pytest.mark.parametrize(
    ("change", "message"), [({"kind": "x"}, "wrong kind"), ({"version": 0}, "wrong version")]
)
def test_a_manifest_of_another_kind_or_version_is_refused(tmp_path, change, message):
    path = tmp_path / "manifest.json"
    write_manifest(path, "features", "d1", images=3)
    assert read_manifest(path, "features")["images"] == 3
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StoreError, match=message):
        read_manifest(path, "features")


def test_a_missing_or_broken_manifest_is_explained(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        read_manifest(tmp_path / "none.json", "features")
    (tmp_path / "half.json").write_text('{"kind":')
    with pytest.raises(StoreError, match="is not JSON"):
        read_manifest(tmp_path / "half.json", "features")


def test_a_listing_shows_what_came_went_or_was_exchanged(tmp_path):
    folder = tmp_path / "photos"
    assert digest_listing(folder) == ""
    (folder / "deep").mkdir(parents=True)
    digests = [digest_listing(folder)]
    for name, content in (("b", "1"), ("deep/a", "1"), ("b", "22"), ("deep/b", "22")):
        (folder / name).write_text(content)
        digests.append(digest_listing(folder))
    (folder / "b").unlink()
    digests.append(digest_listing(folder))
    assert len(set(digests)) == len(digests)
    copy = shutil.copytree(folder, tmp_path / "copy")
    os.utime(copy / "deep/a", (0, 0))
    (copy / ".hidden").write_text("x")
    assert digest_listing(copy) == digests[-1]
