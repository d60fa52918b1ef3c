"""Features that are kept in a folder."""

import numpy as np
import pytest

from tests.unit.predict.drawn import colour_backbone
from umtfss.features.kept import KeptFeatures
from umtfss.features.live import LiveFeatures


class Photos:
    """Two photos of noise; the photo `copy` has the content of `one`."""

    def image(self, image_id: str) -> np.ndarray:
        seed = {"one": 1, "copy": 1, "two": 2}[image_id]
        return np.random.default_rng(seed).integers(0, 256, (60, 90, 3), np.uint8)


@pytest.fixture
def calls(monkeypatch) -> list[str]:
    """The images whose features were computed."""
    found, compute = [], LiveFeatures._compute

    def counted(self, image_id):
        found.append(image_id)
        return compute(self, image_id)

    monkeypatch.setattr(LiveFeatures, "_compute", counted)
    return found


def kept(folder, backbone=None, long_side=90) -> KeptFeatures:
    return KeptFeatures(backbone or colour_backbone(), Photos(), long_side, folder)


def test_features_are_computed_once_and_equal_live_ones(tmp_path, calls):
    live = LiveFeatures(colour_backbone(), Photos(), 90)
    first, again = kept(tmp_path / "f"), kept(tmp_path / "f")
    for image_id in ("one", "two"):
        expected = {level: live.read(image_id, level) for level in ("block14", "block20")}
        for store in (first, again):
            for level, features in expected.items():
                found = store.read(image_id, level)
                assert found.dtype == np.float16
                np.testing.assert_array_equal(found, features)
    again.read("copy", "block14")
    assert calls == ["one", "one", "two", "two"]  # live, and kept
    assert again.grid("copy") == live.grid("one")


def test_what_decides_features_makes_others(tmp_path, calls):
    kept(tmp_path).read("one", "block14")
    mirrored = colour_backbone()
    mirrored.mirrored = True
    for other in (
        kept(tmp_path, long_side=60),
        kept(tmp_path, colour_backbone("other")),
        kept(tmp_path, colour_backbone(levels=("block14",))),
        kept(tmp_path, mirrored),
    ):
        other.read("one", "block14")
    assert len(calls) == 5


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", None])
def test_a_damaged_file_is_made_anew(tmp_path, calls, content):
    good = kept(tmp_path).read("one", "block14")
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(whole[:200] + b"?" + whole[201:] if content is None else content)
    np.testing.assert_array_equal(kept(tmp_path).read("one", "block14"), good)
    assert calls == ["one", "one"]
    assert path.read_bytes() == whole
