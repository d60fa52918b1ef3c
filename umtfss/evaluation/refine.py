"""Refinement of a score before its sign is taken: a chain of steps score -> score.

Shapes: H W pixels.
"""

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np

from umtfss.experiment.evaluation import RefineConfig
from umtfss.pseudo_masks.superpixels import blend_means


class QueryImages(Protocol):
    """The inputs of steps; `EpisodeImages` implements it."""

    def superpixels(self, qualified: str) -> np.ndarray:
        """The superpixel of every pixel, (H, W) int."""


Step = Callable[[np.ndarray, str, QueryImages, float], np.ndarray]


def refine(
    score: np.ndarray, query: str, images: QueryImages, settings: RefineConfig
) -> np.ndarray:
    """The score after every step that the settings name, (H, W) float32.

    Args:
        score: (H, W) float32; positive is foreground.
        query: Qualified id of the query.
        images: Further inputs of the steps.
        settings: Strength of every step.
    """
    for name in settings.steps:
        score = STEPS[name](score, query, images, getattr(settings, name))
    return score


def _average_superpixels(
    score: np.ndarray, query: str, images: QueryImages, part: float
) -> np.ndarray:
    return blend_means(score, images.superpixels(query), part)


STEPS: Mapping[str, Step] = {"superpixels": _average_superpixels}  # the keys of `RefineConfig`
