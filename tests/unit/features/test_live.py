"""Features that are computed live, and kept."""

import logging
from types import SimpleNamespace

import numpy as np

from umtfss.features.live import KeptFeatures

SHAPES = {"mid": (4, 5, 3), "high": (4, 5, 2)}


class Counted:
    """Random features of two levels; counts the images that are computed."""

    def __init__(self) -> None:
        self.geometry = SimpleNamespace(channels={"mid": 3, "high": 2})
        self.computed: list[str] = []

    def grid(self, image_id: str) -> tuple[int, int]:
        return SHAPES["mid"][:2]

    def image_size(self, image_id: str) -> tuple[int, int]:
        return 40, 50

    def read(self, image_id: str, level: str) -> np.ndarray:
        self.computed.append(f"{image_id} {level}")
        seed = int(image_id) + 100 * list(SHAPES).index(level)
        return np.random.default_rng(seed).random(SHAPES[level]).astype(np.float16)


def test_an_image_is_computed_once_and_read_again_as_it_was(tmp_path) -> None:
    live = Counted()
    kept = KeptFeatures(live, str(tmp_path))
    for image_id in ("1", "2", "1", "2", "2"):
        for level in ("high", "mid"):
            found, expected = kept.read(image_id, level), Counted().read(image_id, level)
            assert found.dtype == np.float16
            np.testing.assert_array_equal(found, expected)
    assert live.computed == ["1 mid", "1 high", "2 mid", "2 high"]
    assert (kept.grid("1"), kept.image_size("1")) == ((4, 5), (40, 50))
    assert not list(tmp_path.iterdir())  # the file has no name, so it vanishes with the process


def test_without_room_images_are_computed_again(tmp_path, monkeypatch, caplog) -> None:
    one_image = sum(2 * int(np.prod(shape)) for shape in SHAPES.values())
    usage = SimpleNamespace(free=2 * one_image)  # half of it is used
    monkeypatch.setattr("umtfss.features.live.shutil.disk_usage", lambda folder: usage)
    live = Counted()
    kept = KeptFeatures(live, str(tmp_path))
    with caplog.at_level(logging.WARNING, "umtfss"):
        for image_id in ("1", "2", "1", "2", "2"):
            np.testing.assert_array_equal(
                kept.read(image_id, "mid"), Counted().read(image_id, "mid")
            )
    assert [one for one in live.computed if one.endswith("mid")] == [
        "1 mid", "2 mid", "2 mid", "2 mid"
    ]  # fmt: skip
    assert len(caplog.messages) == 1
    assert "features of 1 images" in caplog.messages[0]


def test_a_disk_that_others_fill_ends_the_keeping(tmp_path, monkeypatch) -> None:
    free = iter([10**9, 10**9, 0, 0])
    monkeypatch.setattr(
        "umtfss.features.live.shutil.disk_usage", lambda folder: SimpleNamespace(free=next(free))
    )
    live = Counted()
    kept = KeptFeatures(live, str(tmp_path))
    for image_id in ("1", "2", "2", "1"):
        np.testing.assert_array_equal(kept.read(image_id, "mid"), Counted().read(image_id, "mid"))
    assert [one for one in live.computed if one.endswith("mid")] == ["1 mid", "2 mid", "2 mid"]
