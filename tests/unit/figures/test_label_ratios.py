"""The curves of Table 2."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from umtfss.common.errors import TableError
from umtfss.figures.label_ratios import label_ratio_curves

HEADER = "row,column,value,low,high,paper,model,start,ratio\n"


def curves(folder: Path, name: str, titles: dict[str, str], level: float = 30) -> bytes:
    lines = [
        f'"{title}, {start}",,{level + ratio / 9},29,44,,{model},{start},{ratio}'
        for model, title in titles.items()
        for start, ratios in (("scratch", (5, 100)), ("unsup_init", (0, 5, 100)))
        for ratio in ratios
    ]
    (folder / "table2.csv").write_text(HEADER + "\n".join(lines))
    label_ratio_curves(folder / "table2.csv", folder / name)
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
    blue, orange = (31, 119, 180), (255, 127, 14)
    assert all({blue, orange} <= found for found in colours)


def test_a_table_without_keys_is_refused(tmp_path):
    (tmp_path / "table2.csv").write_text("row,column,value,low,high,paper\n")
    with pytest.raises(TableError, match=r"lacks the columns \['model', 'ratio', 'start'\]"):
        label_ratio_curves(tmp_path / "table2.csv", tmp_path / "one.png")
