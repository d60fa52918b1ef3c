"""Intersection over union of few-shot episodes.

Shapes: E episodes, H W pixels. Four integers are kept of an episode: the class, the foreground's
intersection and union, and the background's intersection. All reported numbers follow from these
integers.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from umtfss.data.images import IGNORE
from umtfss.episodes.overlap import foreground_overlap


@dataclass(frozen=True)
class EpisodeScores:
    """The counts of E episodes, in their order.

    Attributes:
        class_id: (E,) int64.
        intersection: (E,) int64, px that are foreground and predicted foreground.
        union: (E,) int64, px that are foreground or predicted foreground.
        bg_intersection: (E,) int64, px that are background and predicted background.
    """

    class_id: np.ndarray
    intersection: np.ndarray
    union: np.ndarray
    bg_intersection: np.ndarray

    def __len__(self) -> int:
        return len(self.class_id)

    @property
    def bg_union(self) -> np.ndarray:
        """(E,) int64, px that are background or predicted background: all but `intersection`."""
        return self.bg_intersection + self.union - self.intersection

    @classmethod
    def concatenate(cls, parts: Sequence["EpisodeScores"]) -> "EpisodeScores":
        """The episodes of all parts, one after another."""
        return cls(
            *(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(cls))
        )


@dataclass(frozen=True)
class Score:
    """The score of one fold, fractions in [0, 1].

    Attributes:
        class_iou: Class id -> summed intersection over summed union of the class's episodes.
        miou: Mean of `class_iou` over the classes.
        fb_iou: Mean of the foreground's and the background's IoU, summed over all episodes.
        class_means: Result of `class_means`.
    """

    class_iou: dict[int, float]
    miou: float
    fb_iou: float
    class_means: float


def class_means(scores: EpisodeScores) -> float:
    """The mean over classes of the mean IoU of a class's episodes (MaskSplit, arXiv:2110.12207).

    Episodes with union 0 are left out, and so is a class without other episodes.
    """
    counted = scores.union > 0
    iou = scores.intersection[counted] / scores.union[counted]
    _, place, episodes = np.unique(
        scores.class_id[counted], return_inverse=True, return_counts=True
    )
    return float((np.bincount(place, iou) / episodes).mean())


def summarise(scores: EpisodeScores) -> Score:
    """The score of a fold's episodes, over the classes of these episodes."""
    classes, place = np.unique(scores.class_id, return_inverse=True)
    intersection = np.bincount(place, scores.intersection)
    union = np.bincount(place, scores.union)
    iou = intersection / union
    foreground = scores.intersection.sum() / scores.union.sum()
    background = scores.bg_intersection.sum() / max(scores.bg_union.sum(), 1)
    return Score(
        class_iou=dict(zip(classes.tolist(), iou.tolist(), strict=True)),
        miou=float(iou.mean()),
        fb_iou=float((foreground + background) / 2),
        class_means=class_means(scores),
    )


@dataclass
class SegmentationScore:
    """Collects the counts of a fold's episodes.

    Args:
        classes: The fold's classes; each needs at least one episode.

    Example:
        >>> score = SegmentationScore([7])
        >>> score.update(np.array([[1, 1, 0, 0]]), np.array([[1, 0, 0, 255]]), 7)
        >>> score.compute().miou
        0.5
    """

    classes: Sequence[int]
    _counts: list[tuple[int, int, int, int]] = field(default_factory=list, init=False)

    def validate(self, prediction: np.ndarray, label: np.ndarray, class_id: int) -> None:
        """Check one episode.

        Raises:
            ValueError: A shape, a value or the class does not fit the arguments of `update`.
        """
        if prediction.shape != label.shape or label.ndim != 2:
            raise ValueError(
                f"expected prediction and label of one shape (H, W), but got "
                f"{prediction.shape} and {label.shape}"
            )
        if class_id not in self.classes:
            raise ValueError(f"expected a class of {list(self.classes)}, but got {class_id}")
        foreground = np.count_nonzero(label == 1)
        known = np.count_nonzero(label == 0) + foreground + np.count_nonzero(label == IGNORE)
        if known != label.size:
            raise ValueError(f"expected labels 0, 1, 255, but got {np.unique(label).tolist()}")
        if foreground == 0:
            raise ValueError("expected a label with foreground, but got none")
        if prediction.dtype != bool and not np.isin(prediction, (0, 1)).all():
            raise ValueError(f"expected predictions 0, 1, but got {np.unique(prediction).tolist()}")

    def update(self, prediction: np.ndarray, label: np.ndarray, class_id: int) -> None:
        """Add one episode.

        Args:
            prediction: (H, W) in {0, 1} or bool.
            label: (H, W) in {0, 1, 255}; 255 is ignored.
            class_id: The episode's class.

        Raises:
            ValueError: The episode is not valid.
        """
        self.validate(prediction, label, class_id)
        intersection, union = foreground_overlap(prediction.astype(bool), label)
        labelled = np.count_nonzero(label != IGNORE)
        self._counts.append((class_id, int(intersection), int(union), int(labelled - union)))

    @property
    def scores(self) -> EpisodeScores:
        """The counts of the episodes so far."""
        return EpisodeScores(*np.array(self._counts, dtype=np.int64).reshape(-1, 4).T.copy())

    def compute(self) -> Score:
        """The score of the episodes so far.

        Raises:
            ValueError: A class of the fold has no episode.
        """
        missing = sorted(set(self.classes) - {count[0] for count in self._counts})
        if missing:
            raise ValueError(
                f"expected episodes of every class of {list(self.classes)}, but got none of "
                f"{missing}; draw more test episodes (datasets.<name>.test_episodes)"
            )
        return summarise(self.scores)
