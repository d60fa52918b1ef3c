"""A panel of episodes."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umtfss.figures.panel import PanelItem, qualitative_panel


@pytest.mark.parametrize(("count", "columns", "blocks"), [(1, 1, 1), (3, 3, 1), (5, 4, 2)])
def test_panel_has_a_column_per_episode_four_side_by_side(
    tmp_path: Path, count: int, columns: int, blocks: int
) -> None:
    rng = np.random.default_rng(0)
    items = []
    for n in range(count):
        (a, b), (c, d) = rng.integers(20, 60, (2, 2))
        items.append(
            PanelItem(
                f"class {n}",
                rng.integers(90, 130, (a, b, 3), np.uint8),
                np.ones((a, b), np.uint8),
                rng.integers(90, 130, (c, d, 3), np.uint8),
                np.zeros((c, d), np.uint8),
                np.zeros((c, d), bool),
                np.ones((c, d), bool),
            )
        )
    qualitative_panel(items, tmp_path / "p.png")
    picture = np.array(Image.open(tmp_path / "p.png").convert("RGB")).astype(int)
    assert picture.shape[1] == pytest.approx((0.4 + 1.9 * columns) * 150, abs=2)
    orange = (picture[..., 0] - picture[..., 2]) > 35  # tint and border of a prediction
    for block in np.array_split(orange, blocks):
        floor, found = np.array_split(block, 4)[2:]
        assert found.mean() > 10 * floor.mean()  # the model has found all, the floor nothing
