"""umtfss.training.curve."""

import pandas as pd
import pytest
from PIL import Image

from umtfss.training.curve import Curve, draw_curve


def filled(path, steps, every=3):
    curve = Curve(path, every)
    curve.start()
    for step in range(steps):
        curve.add(loss=1 / (step + 1), iou=step / 10, rate=0.1 * step)
    return curve


def test_a_line_is_the_mean_of_its_steps(tmp_path):
    curve = filled(tmp_path / "log.csv", steps=7)
    curve.finish(rate=0.6)
    table = pd.read_csv(tmp_path / "log.csv")
    assert list(table.columns) == ["step", "loss", "iou", "rate"]
    assert table["step"].tolist() == [3, 6, 7]
    assert table["loss"].tolist() == pytest.approx([(1 + 1 / 2 + 1 / 3) / 3, 37 / 180, 1 / 7], 1e-5)
    assert table["iou"].tolist() == pytest.approx([0.1, 0.4, 0.6])
    assert table["rate"].tolist() == pytest.approx([0.2, 0.5, 0.6])


def test_lines_are_on_disk_at_once_and_a_start_drops_what_came_after(tmp_path):
    path = tmp_path / "log.csv"
    curve = filled(path, steps=3)
    lines = list(curve.lines)
    for _ in range(3):
        curve.add(9.0, 0.0, 0.0)
    assert "9.000000" in path.read_text()
    Curve(path, 3, lines=lines, step=3).start()
    assert path.read_text().count("\n") == 2
    assert "9.000000" not in path.read_text()


def test_a_whole_number_of_lines_leaves_nothing_to_finish(tmp_path):
    curve = filled(tmp_path / "log.csv", steps=6)
    curve.finish(rate=0.0)
    assert len(curve.lines) == 2


def test_the_latest_values_come_from_whole_lines(tmp_path):
    curve = filled(tmp_path / "log.csv", steps=9)
    loss, iou = curve.latest(steps=6)
    assert iou == pytest.approx((0.4 + 0.7) / 2)
    assert loss == pytest.approx(sum(1 / step for step in range(4, 10)) / 6, rel=1e-5)


def test_the_picture_is_the_same_for_the_same_log(tmp_path):
    filled(tmp_path / "log.csv", steps=90)
    for name in ("a.png", "b.png"):
        draw_curve(tmp_path / "log.csv", tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (960, 384)
