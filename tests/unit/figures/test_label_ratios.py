"""The curves of Table 2."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from umtfss.common.errors import TableError
from umtfss.figures import label_ratios
from umtfss.figures.label_ratios import label_ratio_curves
from umtfss.figures.overlay import OBJECT_COLOURS

HEADER = "row,column,value,low,high,paper,model,start,ratio\n"


def curves(folder: Path, name: str, titles: dict[str, str], level: float = 30) -> bytes:
    lines = [
        f'"{title}, {start}",,{level + ratio / 9},29,44,,{model},{start},{ratio}'
        for model, title in titles.items()
        for start, ratios in (("scratch", (5, 100)), ("unsup_init", (0, 5, 100)))
        for ratio in ratios
    ]
    (folder / "table2.csv").write_text(HEADER + "\n".join(lines))
    label_ratio_curves(folder / "table2.csv", folder / name, None)
    return (folder / name).read_bytes()


def test_curves_show_numbers_and_are_the_same_again(tmp_path):
    titles = {"pfenet": "PFENet", "umtfss": "UMTFSS"}
    one = curves(tmp_path, "one.png", titles)
    assert np.array(Image.open(tmp_path / "one.png")).std() > 5
    assert curves(tmp_path, "two.png", titles) == one
    assert curves(tmp_path, "three.png", titles, level=32) != one


def test_a_model_is_told_by_its_key_and_not_by_its_title(tmp_path):
    """The title, which may hold a comma, stands in the legend alone."""
    curves(tmp_path, "a.png", {"pfenet": "PFENet", "umtfss": "UMTFSS"})
    curves(tmp_path, "b.png", {"pfenet": "P, F, E", "umtfss": "P"})
    colours = [
        {tuple(c) for c in np.array(Image.open(tmp_path / name).convert("RGB")).reshape(-1, 3)}
        for name in ("a.png", "b.png")
    ]
    drawn = {tuple(round(255 * part) for part in one) for one in OBJECT_COLOURS[:2]}
    assert all(drawn <= found for found in colours)


def test_ratios_lie_on_a_true_axis_and_the_floor_is_level(tmp_path, monkeypatch):
    figures: list[Figure] = []
    monkeypatch.setattr(label_ratios, "save_png_and_pdf", lambda figure, _: figures.append(figure))
    (tmp_path / "table2.csv").write_text(f"{HEADER}a,,50,49,51,,umtfss,unsup_init,0\n"
        "a,,53,52,54,,umtfss,unsup_init,20\na,,60,59,61,,umtfss,unsup_init,100\n")  # fmt: skip
    head = "row,column,value,low,high,paper,model,shot,fold\n"
    (tmp_path / "headline.csv").write_text(f"{head}f,,40,39,41,,floor,1,0\n"
        "f,,43,42,44,,floor,1,\nf,,46,45,47,,floor,5,\nu,,60,59,61,,umtfss,1,\n")  # fmt: skip
    label_ratio_curves(tmp_path / "table2.csv", tmp_path / "p.png", tmp_path / "headline.csv")
    curve, *_, floor = figures[0].axes[0].lines
    np.testing.assert_array_equal(curve.get_xdata(), [0, 20, 100])
    assert list(floor.get_ydata()) == [43, 43]
    assert figures[0].axes[0].get_xscale() == "linear"


def test_a_table_without_keys_is_refused(tmp_path):
    (tmp_path / "table2.csv").write_text("row,column,value,low,high,paper\n")
    with pytest.raises(TableError, match=r"lacks the columns \['model', 'ratio', 'start'\]"):
        label_ratio_curves(tmp_path / "table2.csv", tmp_path / "one.png", None)
