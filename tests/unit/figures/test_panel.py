"""Pictures of results."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umtfss.common.errors import TableError
from umtfss.figures.heatmap import table4_heatmap
from umtfss.figures.label_ratios import label_ratio_curves
from umtfss.figures.overlay import PREDICTED, TRUE, overlay
from umtfss.figures.panel import PanelItem, qualitative_panel

HEADER = "row,column,value,low,high,paper,episodes,seeds\n"


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


def test_heat_map_does_not_blow_up_noise(tmp_path: Path) -> None:
    """A tenth of a point is one colour, whatever the other grid spans."""
    cells = [(1, 1, 40.0, 41.9), (1, 9, 40.1, 56.8), (2, 1, 40.0, 44.8), (2, 9, 40.1, 60.2)]
    lines = [f"{b},{f},{m},39,41,{p},100,1" for b, f, m, p in cells]
    (tmp_path / "table4.csv").write_text(HEADER + "\n".join(lines) + "\n")
    table4_heatmap(tmp_path / "table4.csv", tmp_path / "h.png")
    picture = np.array(Image.open(tmp_path / "h.png").convert("RGB")).astype(int)
    row = picture[int(0.35 * len(picture))]  # through the upper cells, above their numbers
    coloured = row[np.ptp(row, axis=1) > 30]
    ours, paper = np.split(coloured, [len(coloured) // 2])
    assert np.ptp(ours[5:-5], axis=0).max() < 10
    assert np.ptp(paper[5:-5], axis=0).max() > 100


def test_heat_map_names_lacking_columns(tmp_path: Path) -> None:
    (tmp_path / "table4.csv").write_text("row,column,value\n1,2,3\n")
    with pytest.raises(TableError, match=r"lacks the columns \['high', 'low', 'paper'\]"):
        table4_heatmap(tmp_path / "table4.csv", tmp_path / "h.png")


@pytest.mark.parametrize("colour", [PREDICTED, TRUE])
def test_overlay_keeps_colour_in_the_foreground_only(colour: tuple[float, float, float]) -> None:
    """The object is told from its surroundings even where all has the colour of the border."""
    image = np.broadcast_to(np.uint8(255 * np.array(colour)), (30, 30, 3)).copy()
    before = image.copy()
    mask = np.zeros((30, 30), np.uint8)
    mask[5:20, 5:20] = 1
    mask[20:25] = 255
    picture = overlay(image, mask, colour)
    np.testing.assert_allclose(picture[5, 5:20], np.tile(colour, (15, 1)), atol=1e-6)
    assert (np.ptp(picture, axis=2) > 0.5).sum() == 15 * 15
    assert (np.ptp(picture, axis=2)[mask != 1] < 1e-6).all()
    assert picture.min() >= 0
    assert picture.max() <= 1
    np.testing.assert_array_equal(image, before)


def test_the_iou_of_an_item_ignores_label_255() -> None:
    true = np.array([[1, 1, 0, 0, 255]], np.uint8)
    empty = np.zeros((1, 5, 3), np.uint8)
    predicted = np.array([[True, False, True, False, True]])
    assert PanelItem("", empty, true, empty, true, predicted).iou == pytest.approx(1 / 3)
    assert PanelItem("", empty, true, empty, true * 0, predicted & False).iou == 0


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


def test_label_ratio_curves_show_every_row(tmp_path):
    lines = ["row,column,metric,value,low,high,fb_iou,paper,episodes,seeds"]
    for model in ("PFENet", "UMTFSS"):
        for start, first in (("scratch", 5), ("unsup. init", 0)):
            for ratio in (0, 5, 100)[first > 0 :]:
                lines.append(f'"{model}, {start}",{ratio} %,miou,{30 + ratio / 9},29,44,60,,10,1')
    (tmp_path / "table2.csv").write_text("\n".join(lines))
    label_ratio_curves(tmp_path / "table2.csv", tmp_path / "one.png")
    assert np.array(Image.open(tmp_path / "one.png")).std() > 5
    label_ratio_curves(tmp_path / "table2.csv", tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    (tmp_path / "table2.csv").write_text("row,column\n")
    with pytest.raises(TableError, match="lacks the columns"):
        label_ratio_curves(tmp_path / "table2.csv", tmp_path / "three.png")
