"""The heat map of Table 4."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umtfss.common.errors import TableError
from umtfss.figures.heatmap import table4_heatmap

HEADER = "row,column,value,low,high,paper,k_bg,k_fg\n"


def heatmap(folder: Path, papers: tuple[str, ...]) -> np.ndarray:
    lines = [
        f"a,b,{40 + b / 10 + f},{39},{45},{papers[(i * 3 + j) % len(papers)]},{b},{f}"
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
    lines = [f"a,b,{m},39,41,{p},{b},{f}" for b, f, m, p in cells]
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
    with pytest.raises(
        TableError, match=r"lacks the columns \['high', 'k_bg', 'k_fg', 'low', 'paper'\]"
    ):
        table4_heatmap(tmp_path / "table4.csv", tmp_path / "h.png")
