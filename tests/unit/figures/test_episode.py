"""Pictures of episodes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from umtfss.figures import episode
from umtfss.figures.episode import EpisodeView, Prediction, draw_contact_sheet, draw_episode


def view(number: int = 0, shots: int = 1) -> EpisodeView:
    image = np.full((30, 40, 3), 120, np.uint8)
    mask = np.zeros((30, 40), np.uint8)
    mask[5:20, 5:20] = 1
    found = (Prediction("floor", mask == 0, 0.0), Prediction("model", mask == 1, 1.0))
    return EpisodeView(number, "cup", ((image, mask),) * shots, image, mask, found)


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that are saved."""
    figures: list[Figure] = []
    monkeypatch.setattr(episode, "save_picture", lambda figure, _: figures.append(figure))
    return figures


def titles(figure: Figure) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.axison]


@pytest.mark.parametrize(
    ("shots", "supports"), [(1, ["support"]), (3, ["support 1", "support 2", "support 3"])]
)
def test_supports_query_truth_and_predictions_are_drawn(drawn, shots, supports):
    draw_episode(view(shots=shots), "t", "e.png")
    found = ["query", "query, true mask", "floor: IoU 0.0 %", "model: IoU 100.0 %"]
    assert titles(drawn[0]) == supports + found


def test_a_sheet_has_a_section_of_each_and_shows_the_last_prediction(drawn):
    sections = {"best": [view(n) for n in range(9)], "worst": [view(9)]}
    draw_contact_sheet(sections, "t", "s.png")
    assert titles(drawn[0]) == [f"{n} cup: 100 %" for n in range(10)]
    assert [part.get_suptitle() for part in drawn[0].subfigs] == ["best", "worst"]
    assert len(drawn[0].axes) == 3 * episode.SHEET_COLUMNS


def test_the_outline_of_the_truth_lies_on_the_picture(drawn):
    draw_contact_sheet({"all": [view(), replace(view(1), truth=view().truth * 0)]}, "t", "s.png")
    first, second = drawn[0].axes[:2]
    (outline,) = first.collections
    low, high = outline.get_paths()[0].get_extents().get_points()
    np.testing.assert_allclose([low, high], [[4.5, 4.5], [19.5, 19.5]])
    assert first.get_ylim() == (29.5, -0.5)  # the first row of pixels is above
    assert not second.collections


def test_pictures_are_written(tmp_path: Path):
    draw_episode(view(), "t", tmp_path / "e.png")
    draw_contact_sheet({"all": [view()]}, "t", tmp_path / "s.png")
    assert {path.name for path in tmp_path.iterdir()} == {"e.png", "s.png"}
