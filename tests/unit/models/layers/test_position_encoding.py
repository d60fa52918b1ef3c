"""Extents, the sine code and the repeated edge."""

import math

import pytest
import torch
import torch.nn.functional as F

from umtfss.models.layers.position_encoding import (
    counted_position_encoding,
    repeat_edge,
    sine_position_encoding,
    valid_extent,
)


def area(height: int, width: int, grid: int) -> torch.Tensor:
    valid = torch.zeros(1, grid, grid, dtype=torch.bool)
    valid[:, :height, :width] = True
    return valid


def test_extent_ignores_holes() -> None:
    valid = area(5, 3, 8)
    valid[0, 4, 0] = valid[0, 2] = False
    rows, columns = valid_extent(valid)
    assert (rows.item(), columns.item()) == (5, 3)
    assert [part.item() for part in valid_extent(torch.zeros(1, 4, 4).bool())] == [1, 1]


def test_code_equals_formula() -> None:
    code = sine_position_encoding(area(5, 3, 8), 16)[0]
    for row, column, channel in ((0, 0, 0), (4, 2, 3), (2, 1, 2)):
        rate = 10_000 ** (-channel / 4)
        vertical = (row + 0.5) / 5 * 2 * math.pi * rate
        horizontal = (column + 0.5) / 3 * 2 * math.pi * rate
        expected = [f(a) for a in (vertical, horizontal) for f in (math.sin, math.cos)]
        found = code[row, column].view(4, 4)[:, channel]
        torch.testing.assert_close(found, torch.tensor(expected))


def test_counted_code_equals_loops() -> None:
    """The release's: counts of valid tokens, sines and cosines by turns, padding included."""
    valid = area(5, 3, 8)
    valid[0, 1, 1] = False
    code = counted_position_encoding(valid, 16)[0]
    for row, column in ((0, 0), (4, 2), (2, 1), (7, 7), (6, 0)):
        place = [
            valid[0, : row + 1, column].sum() / (valid[0, :, column].sum() + 1e-6),
            valid[0, row, : column + 1].sum() / (valid[0, row].sum() + 1e-6),
        ]
        for channel in range(16):
            angle = 2 * math.pi * float(place[channel // 8])
            angle /= 10_000 ** (2 * (channel % 8 // 2) / 8)
            expected = (math.cos if channel % 2 else math.sin)(angle)
            assert code[row, column, channel].item() == pytest.approx(expected, abs=1e-5)


def test_code_does_not_depend_on_padding() -> None:
    small, large = (sine_position_encoding(area(5, 3, n), 16)[:, :5, :3] for n in (5, 9))
    torch.testing.assert_close(small, large)


def test_repeated_edge_upsamples_like_no_padding() -> None:
    logits = torch.randn(1, 2, 8, 8)
    filled = repeat_edge(logits, area(5, 3, 8))
    torch.testing.assert_close(filled[..., :5, :3], logits[..., :5, :3])
    whole = F.interpolate(filled, scale_factor=4, mode="bilinear")[..., :20, :12]
    alone = F.interpolate(logits[..., :5, :3], scale_factor=4, mode="bilinear")
    torch.testing.assert_close(whole, alone)
    trimmed = repeat_edge(logits[..., :6, :5], area(5, 3, 8)[:, :6, :5], 8)
    assert torch.equal(trimmed, filled)
