"""Manifests: what is refused, and why."""

import json

import numpy
import pytest

from umtfss.common.errors import StoreError
from umtfss.common.manifests import package_versions, read_manifest, write_manifest


def test_equal_content_gives_equal_bytes(tmp_path):
    for name in ("a.json", "b.json"):
        write_manifest(tmp_path / name, "features", "d1", images=3)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert dict(read_manifest(tmp_path / "a.json", "features")) == {
        **{"kind": "features", "version": 1, "digest": "d1", "images": 3}
    }


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


def test_versions_are_those_installed_without_absent_packages():
    assert package_versions("numpy", "no-such-package") == {"numpy": numpy.__version__}
