"""Pictures of results."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umtfss.errors import TableError
from umtfss.tables.figures import PREDICTED, PanelItem, overlay, qualitative_panel, table4_heatmap

HEADER = "row,column,miou,low,high,paper,episodes,seeds\n"


def heatmap(folder: Path, papers: tuple[str, ...]) -> np.ndarray:
    lines = [
        f"{b},{f},{40 + b / 10 + f},{39},{45},{papers[(i * 3 + j) % len(papers)]},100,1"
        for i, b in enumerate((10, 5, 100))
        for j, f in enumerate((1, 20, 3))
    ]
    (folder / "table4.csv").write_text(HEADER + "\n".join(lines) + "\n")
    table4_heatmap(folder / "table4.csv", folder / "h.png")
    return np.array(Image.open(folder / "h.png").convert("RGB"))


def test_heat_map_puts_ours_beside_the_papers(tmp_path: Path) -> None:
    picture = heatmap(tmp_path, ("57.6", "", "41.9"))
    again = (tmp_path / "h.png").read_bytes()
    heatmap(tmp_path, ("57.6", "", "41.9"))
    assert (tmp_path / "h.png").read_bytes() == again
    half = picture.shape[1] // 2
    grey = (abs(picture.astype(int) - 0.9 * 255) < 1).all(2)
    assert grey[:, half:].mean() > 0.1  # cells that the paper does not print
    assert grey[:, :half].mean() < 0.01


def test_heat_map_without_any_paper_number(tmp_path: Path) -> None:
    assert heatmap(tmp_path, ("",)).std() > 10


def test_heat_map_names_lacking_columns(tmp_path: Path) -> None:
    (tmp_path / "table4.csv").write_text("row,column,miou\n1,2,3\n")
    with pytest.raises(TableError, match=r"lacks the columns \['high', 'low', 'paper'\]"):
        table4_heatmap(tmp_path / "table4.csv", tmp_path / "h.png")


def test_overlay_tints_the_foreground_only() -> None:
    image = np.full((2, 3, 3), 200, np.uint8)
    mask = np.array([[1, 0, 255], [0, 0, 0]], np.uint8)
    picture = overlay(image, mask, PREDICTED)
    assert picture[0, 0, 0] > picture[0, 0, 1] + 0.2
    np.testing.assert_allclose(picture[0, 1], 0.7 * 200 / 255, atol=1e-6)
    assert picture[0, 2, 2] < 0.5 < picture[0, 2, 0]
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert (image == 200).all()


@pytest.mark.parametrize("count", [1, 3])
def test_panel_has_a_column_per_episode(tmp_path: Path, count: int) -> None:
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
                np.ones((c, d), bool),
            )
        )
    qualitative_panel(items, tmp_path / "p.png")
    picture = np.array(Image.open(tmp_path / "p.png").convert("RGB")).astype(int)
    assert picture.shape[1] == pytest.approx((0.4 + 1.9 * count) * 150, abs=2)
    third = picture.shape[0] // 3
    red = (picture[..., 0] - picture[..., 1]) > 60
    assert red[2 * third :].mean() > 2 * red[: 2 * third].mean()  # predictions: the last row
