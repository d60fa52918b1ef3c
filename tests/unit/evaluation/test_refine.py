"""What is done to a score."""

import numpy as np

from umtfss.evaluation.refine import STEPS, refine
from umtfss.experiment.evaluation import RefineConfig


class Halves:
    """Left and right are a superpixel each."""

    def superpixels(self, qualified: str) -> np.ndarray:
        assert qualified == "a/1"
        return np.array([[0, 0, 1, 1]])


def test_every_setting_is_a_step() -> None:
    assert list(STEPS) == list(RefineConfig.model_fields)


def test_a_step_changes_the_score_by_its_strength() -> None:
    score = np.array([[1, -3, 4, 0]], np.float32)
    found = refine(score, "a/1", Halves(), RefineConfig(superpixels=0.5))
    np.testing.assert_allclose(found, [[0, -2, 3, 1]])
    assert found.dtype == np.float32


def test_without_steps_the_score_stays() -> None:
    score = np.array([[1, -3, 4, 0]], np.float32)
    assert refine(score, "a/1", Halves(), RefineConfig()) is score


def test_steps_are_named_and_can_be_left_out() -> None:
    settings = RefineConfig(superpixels=0.5)
    assert settings.steps == ("superpixels",)
    assert settings.only(("superpixels",)) == settings
    assert settings.only(()) == RefineConfig()
    assert RefineConfig().steps == ()
