"""Pairs of training queries, so that only the supports tell which object is meant.

A task with one object in the photo can be solved without its supports: find what is salient.

Shapes: B batch, K shots, h w feature grid, g g square grid, S S target.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.episodes.batch import EpisodeBatch

_KEYS = 2**20  # an episode's key modulo this number is its draw
_QUERY_GRIDS = ("query_mid", "query_high", "query_valid")


def are_paired(key: Tensor, class_index: Tensor, part: float) -> bool:
    """Whether the queries of a batch are paired; both tensors are (B,) int64 on the host.

    Args:
        key: The episodes' keys; the first one draws.
        class_index: The episodes' classes. Each needs another class beside it.
        part: Probability that a batch is paired.
    """
    drawn = int(key[0]) % _KEYS < part * _KEYS
    return drawn and len(class_index.unique()) > 1


def with_pairs(batch: EpisodeBatch, align_corners: bool) -> EpisodeBatch:
    """Put every query of a batch beside another query of the batch, at the left or at the right.

    The other query is of another class: the one whose supports' object is least alike, by the
    cosine of mean high features. Its photo is background.

    Args:
        batch: Training episodes of two or more classes, with `target` and `class_index`.
        align_corners: How the feature grid maps to pixels.

    Returns:
        A batch without `side`, whose query grids are (B, ..., h, 2 w). Its targets have as many
        pixels a token as before.
    """
    assert batch.target is not None
    other = _least_alike(batch)
    at_left = (batch.key // _KEYS) % 2 == 0

    def joined(own: Tensor, beside: Tensor) -> Tensor:
        first = at_left.view(-1, *(1,) * (own.dim() - 1))
        return torch.cat([torch.where(first, own, beside), torch.where(first, beside, own)], -1)

    rows, one_wide, two_wide, in_second = _shown_pixels(batch, align_corners)

    def joined_target(own: Tensor, beside: Tensor) -> Tensor:
        own, beside = (one[:, rows][:, :, two_wide] for one in (own, beside))
        return torch.where(at_left.view(-1, 1, 1) != in_second, own, beside)

    grids = {name: getattr(batch, name) for name in _QUERY_GRIDS}
    absent = batch.target.masked_fill(batch.target == 1, 0)
    classes, supports = batch.query_classes, batch.support_target
    return replace(
        batch,
        side=None,
        target=joined_target(batch.target, absent[other]),
        query_classes=None if classes is None else joined_target(classes, classes[other]),
        support_target=None if supports is None else supports[:, :, rows][..., one_wide],
        **{name: joined(one, one[other]) for name, one in grids.items()},
    )


def _least_alike(batch: EpisodeBatch) -> Tensor:
    """The row of the query that stands beside each query, (B,) int64."""
    assert batch.class_index is not None
    weight = (batch.support_mask * batch.support_valid)[:, :, None]
    vector = F.normalize((batch.support_high * weight).sum((1, 3, 4)), dim=1)  # (B, D)
    same = batch.class_index[:, None] == batch.class_index
    return (vector @ vector.T).masked_fill(same, 2).argmin(1)


def _shown_pixels(batch: EpisodeBatch, align_corners: bool) -> tuple[Tensor, ...]:
    """The pixels of a square target that lie in the batch's h w grid, not in the padding of g g.

    Args:
        batch: Episodes with `target`.
        align_corners: How the feature grid maps to pixels.

    Returns:
        Rows (T,), columns (U,) of a single image and columns (V,) of a pair, int64, and whether a
        column of a pair shows the second image, (V,) bool.
    """
    assert batch.target is not None
    height, width = batch.query_valid.shape[1:]
    side, pixels = batch.side or max(height, width), batch.target.shape[-1]

    def place(count: int) -> Tensor:
        """The positions of the new target's pixels among `count` tokens, float64."""
        new = torch.arange(round(count * pixels / side), dtype=torch.float64)
        if align_corners:
            return new * ((count - 1) / max(len(new) - 1, 1))
        return (new + 0.5) * (count / len(new)) - 0.5

    def nearest(place: Tensor, count: int) -> Tensor:
        """The square target's pixels that are nearest to places among `count` tokens."""
        if align_corners:
            found = place.clamp(0, count - 1) * ((pixels - 1) / max(side - 1, 1))
        else:
            found = (place + 0.5) * (pixels / side) - 0.5
        return found.round().long().clamp(0, pixels - 1)

    across = place(2 * width)
    in_second = across >= width - 0.5
    pair = nearest(torch.where(in_second, across - width, across), width)
    shown = nearest(place(height), height), nearest(place(width), width), pair, in_second
    return tuple(one.to(batch.target.device) for one in shown)
