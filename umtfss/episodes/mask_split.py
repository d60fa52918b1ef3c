"""The task of MaskSplit: the mask of one image is cut in two (arXiv:2110.12207).

The support gets one half and the query the other half. In the query's mask the support's half is
255, so the loss ignores it. The model sees the whole image in both roles.

Shapes: H W pixels. All lengths are px of the mask.
"""

from typing import Literal

import numpy as np

from umtfss.common.errors import DataError
from umtfss.common.randomness import generator
from umtfss.data.images import IGNORE
from umtfss.episodes.episode import Episode
from umtfss.episodes.masks import ClassMasks

# Numbers of the released code, in px of PASCAL's photos, whose long side is 500 px.
LONG_SIDE = 500
MAX_SHIFT = 40
SMALLEST_SUM = 512
TRIES = 20


def split_mask(
    mask: np.ndarray,
    shift: int,
    uniform: float,
    across: Literal["columns", "rows"] = "columns",
) -> tuple[np.ndarray, np.ndarray]:
    """Split a mask by a slanted line.

    Let c be the median column of the foreground and s the shift. The line runs from column c - 3 s
    in the image's first row to column c - s in its last row. Pixels on the line are background in
    both halves.

    Args:
        mask: (H, W) in {0, 1}.
        shift: s, px.
        uniform: Number in [0, 1). Above 0.5 the support gets the left half (for "rows", the upper).
        across: Axis of the median; "rows" exchanges rows and columns.

    Returns:
        The support's half, (H, W) uint8 in {0, 1}; the query's, (H, W) uint8 in {0, 1, 255}.
    """
    foreground = mask == 1
    counted = np.cumsum(foreground.sum(0 if across == "columns" else 1))
    median = int(np.abs(counted - counted[-1] / 2).argmin())
    row, column = np.ogrid[: mask.shape[0], : mask.shape[1]]
    last_row, last_column = mask.shape[0] - 1, mask.shape[1] - 1
    if across == "columns":
        side = (column - (median - shift)) * last_row - 2 * shift * (row - last_row)
    else:
        side = (column - last_column) * 2 * shift + (row - (median + shift)) * last_column
    first, second = foreground & (side < 0), foreground & (side > 0)
    support, query = (first, second) if uniform > 0.5 else (second, first)
    query_half = query.astype(np.uint8)
    query_half[support] = IGNORE
    return support.astype(np.uint8), query_half


def large_enough(
    support_half: np.ndarray, query_half: np.ndarray, smallest: float = SMALLEST_SUM
) -> bool:
    """Whether the released code keeps a split: the sum of each half is at least `smallest`.

    Pixels of 255 in the query's half count as 255. So the query's sum is always large enough if the
    support's half has `smallest` px, and the query's half may have no foreground.

    Args:
        support_half: (H, W) uint8 in {0, 1}.
        query_half: (H, W) uint8 in {0, 1, 255}.
        smallest: Smallest sum of a half.
    """
    sums = (half.sum(dtype=np.int64) for half in (support_half, query_half))
    return bool(min(sums) >= smallest)


def draw_halves(mask: np.ndarray, *key: str | int) -> tuple[np.ndarray, np.ndarray]:
    """Split a mask at a drawn shift, with a drawn side for the support.

    In an image with a long side of 500 px, the shift is uniform from -40 to 39 px, and a support
    half has 512 px or more. In other images the shift scales with the long side, and the number of
    pixels with the area. Shift and side are drawn again while the support's half is too small or
    the query's half is empty, at most `TRIES` times. After that the line is the vertical median
    column, whatever the sizes of the halves.

    Args:
        mask: (H, W) in {0, 1}.
        *key: Keys the draws.

    Returns:
        As in `split_mask`; neither half is empty.

    Raises:
        DataError: The median column leaves a half empty, as the mask is too narrow.
    """
    scale = max(mask.shape) / LONG_SIDE
    reach = max(1, round(MAX_SHIFT * scale))
    for attempt in range(TRIES):
        random = generator("split", *key, attempt)
        halves = split_mask(mask, int(random.integers(-reach, reach)), random.random())
        if large_enough(*halves, SMALLEST_SUM * scale**2) and (halves[1] == 1).any():
            return halves
    support, query = split_mask(mask, 0, generator("split", *key, TRIES).random())
    if not (support.any() and (query == 1).any()):
        raise DataError(
            "a salient region cannot be split in two",
            expected="foreground on either side of its median column",
            found=f"{np.count_nonzero(mask == 1)} px in "
            f"{np.count_nonzero((mask == 1).any(0))} columns",
            fix="raise pseudo_masks.min_area, so that regions as small are left out",
        )
    return support, query


class SplitMasks:
    """The halves of an image's mask: one half for the query, the other half for every support.

    Args:
        masks: The masks that are split.
        seed: Keys the draws, with the episode's index.
    """

    def __init__(self, masks: ClassMasks, seed: int) -> None:
        self.masks, self.seed = masks, seed

    def episode_mask(self, episode: Episode, role: str) -> np.ndarray:
        """The half that an episode shows in a role, (H, W) uint8 in {0, 1, 255}.

        Raises:
            DataError: The mask cannot be split.
        """
        mask = self.masks.mask(episode.query, episode.class_id)
        support, query = draw_halves(mask, self.seed, episode.index)
        return query if role == "query" else support
