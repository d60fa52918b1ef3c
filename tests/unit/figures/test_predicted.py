"""Predicted masks of test episodes."""

import numpy as np
import pytest

from umtfss.figures.predicted import iou_of


def test_the_iou_ignores_label_255() -> None:
    true = np.array([[1, 1, 0, 0, 255]], np.uint8)
    predicted = np.array([[True, False, True, False, True]])
    assert iou_of(predicted, true) == pytest.approx(1 / 3)
    assert iou_of(predicted & False, true * 0) == 0
