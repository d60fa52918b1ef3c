"""The choice of pictured episodes."""

import numpy as np

from umtfss.figures.picture_episodes import ranked_rows


def test_the_best_the_median_and_the_worst_of_every_class() -> None:
    class_id = np.array([3, 1, 3, 3, 1, 3, 3])
    iou = np.array([0.2, 0.9, 0.8, 0.5, 0.1, 0.1, 0.4])
    assert ranked_rows(class_id, iou) == [
        (1, "best"),
        (4, "worst"),
        (2, "best"),
        (6, "median"),
        (5, "worst"),
    ]


def test_no_episode_is_pictured_twice() -> None:
    assert [row for row, _ in ranked_rows(np.array([5]), np.array([0.3]))] == [0]
    assert [row for row, _ in ranked_rows(np.array([5, 5]), np.array([0.3, 0.3]))] == [0, 1]
