"""Manifests: what is refused, and why."""

import json
import logging
import os

import numpy
import pytest

from umtfss.common import manifests as module
from umtfss.common.digests import digest_file
from umtfss.common.errors import StoreError
from umtfss.common.manifests import (
    check_files,
    command_for,
    manifest_path,
    package_versions,
    place_of,
    read_manifest,
    read_sealed,
    sealed,
    write_manifest,
)


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_manifest(tmp_path / name / "m.json", "features", "d1", images=3)
    assert (tmp_path / "a/m.json").read_bytes() == (tmp_path / "b/m.json").read_bytes()
    found = dict(read_manifest(tmp_path / "a/m.json", "features"))
    assert len(found.pop("seal")) == 64
    expected = {"kind": "features", "version": 2, "digest": "d1", "images": 3}
    assert found == {**expected, "files": {}, "place": "m.json"}


@pytest.mark.parametrize(
    ("change", "message"), [({"kind": "x"}, "wrong kind"), ({"version": 0}, "wrong version")]
)
def test_a_manifest_of_another_kind_or_version_is_refused(tmp_path, change, message):
    path = tmp_path / "manifest.json"
    write_manifest(path, "features", "d1", images=3)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(StoreError, match=message) as caught:
        read_manifest(path, "features")
    assert str(path) in str(caught.value)
    assert caught.value.found in change.values()


def test_a_missing_or_broken_manifest_is_explained(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        read_manifest(tmp_path / "none.json", "features")
    (tmp_path / "half.json").write_text('{"kind":')
    with pytest.raises(StoreError, match="is not JSON"):
        read_manifest(tmp_path / "half.json", "features")


def test_any_changed_fact_breaks_the_seal(tmp_path):
    path = tmp_path / "manifest.json"
    write_manifest(path, "features", "d1", scales={"mid": 0.35}, images=3)
    text = path.read_text()
    for old, new in (("0.35", "0.36"), ('"d1"', '"d2"'), ('"images": 3', '"images": 2')):
        assert text.count(old) == 1
        path.write_text(text.replace(old, new))
        with pytest.raises(StoreError, match="was altered"):
            read_manifest(path, "features")
    path.write_text(text.replace("\n", " "))  # layout is no content
    read_manifest(path, "features")


@pytest.mark.parametrize("value", [{10: 1, 9: 2}, {"a": (1, 2)}, {"a": 0.1, "ü": None}])
def test_a_seal_is_that_of_the_value_as_json_holds_it(tmp_path, value):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(sealed(path, value)))
    read_sealed(path, "a value", {})


def test_the_place_is_the_path_below_results(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert place_of("results/tiny/a/b.json") == "results/tiny/a/b.json"
    assert place_of(tmp_path / "results/tiny/a/b.json") == "results/tiny/a/b.json"
    assert place_of("/home/results/project/results/tiny/b.json") == "results/tiny/b.json"
    assert place_of("elsewhere/b.json") == "b.json"
    assert command_for("elsewhere/b.json") == "the rule that makes it"
    assert command_for("results/tiny/a/b.json") == (
        "snakemake --cores all --config experiment=tiny -- results/tiny/a/b.json"
    )


def test_a_linked_folder_keeps_its_place_and_a_copied_one_does_not(tmp_path):
    write_manifest(tmp_path / "results/one/features/m.json", "features", "d1")
    (tmp_path / "results/two").mkdir()
    linked = tmp_path / "results/two/features"
    linked.symlink_to(tmp_path / "results/one/features")
    read_manifest(linked / "m.json", "features")
    copy = tmp_path / "results/three/features"
    copy.mkdir(parents=True)
    (copy / "m.json").write_bytes((linked / "m.json").read_bytes())
    with pytest.raises(StoreError, match="is a file of another place"):
        read_manifest(copy / "m.json", "features")
    moved = tmp_path / "scratch"  # to a bigger disk, with a link in its place
    (tmp_path / "results/one/features").rename(moved)
    (tmp_path / "results/one/features").symlink_to(moved)
    read_manifest(tmp_path / "results/one/features/m.json", "features")


def test_the_digest_of_an_only_file_is_that_of_the_artifact(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"a")
    write_manifest(tmp_path / "a.json", "weights", files=[tmp_path / "a.bin"])
    found = read_manifest(manifest_path(tmp_path / "a.bin"), "weights")
    assert found["digest"] == found["files"]["a.bin"] == digest_file(tmp_path / "a.bin")


def test_files_are_checked_and_a_long_check_is_told(tmp_path, monkeypatch, caplog):
    for name in "ab":
        (tmp_path / name).write_text(name)
    path = tmp_path / "m.json"
    write_manifest(path, "features", "d1", [tmp_path / "a", tmp_path / "b"])
    manifest = read_manifest(path, "features")
    with caplog.at_level(logging.INFO):
        check_files(path, manifest)
        assert caplog.text == ""
        monkeypatch.setattr(module, "LONG_CHECK_SECONDS", -1)
        check_files(path, manifest)
    assert f"checked the 0.0 GB of {path}" in caplog.text
    (tmp_path / "b").write_text("c")
    check_files(path, manifest, ["a"])
    with pytest.raises(StoreError, match=r"/b is damaged or another file"):
        check_files(path, manifest)
    os.unlink(tmp_path / "b")
    with pytest.raises(StoreError, match=r"/b does not exist(?s:.*)no file"):
        check_files(path, manifest)


def test_a_manifest_may_be_written_for_another_place(tmp_path):
    """As of a folder that is renamed when it is whole."""
    (tmp_path / "results/tiny").mkdir(parents=True)
    final = tmp_path / "results/tiny/m.json"
    write_manifest(tmp_path / "results/m.json", "weights", "d1", place=final)
    (tmp_path / "results/m.json").rename(final)
    read_manifest(final, "weights")


def test_versions_are_those_installed_without_absent_packages():
    assert package_versions("numpy", "no-such-package") == {"numpy": numpy.__version__}
