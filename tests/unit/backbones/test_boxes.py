"""Rectangles of a grid."""

import torch

from umtfss.backbones.boxes import NO_MARGIN, Box, Margin


def test_the_smallest_box_holds_all_tokens() -> None:
    random = torch.Generator().manual_seed(0)
    for _ in range(30):
        tokens = torch.rand(5, 7, generator=random) < 0.08
        places = tokens.nonzero().tolist()
        box = Box.around(tokens)
        if not places:
            assert box is None
            continue
        rows, columns = zip(*places, strict=True)
        assert box == (min(rows), max(rows) + 1, min(columns), max(columns) + 1)
    assert Box.around(torch.zeros(5, 7, dtype=torch.bool)) is None
    assert Box.around(torch.ones(5, 7, dtype=torch.bool)) == (0, 5, 0, 7)


def test_a_grown_box_ends_at_the_grid_and_knows_its_margin() -> None:
    box = Box(1, 4, 3, 6)
    outer = box.grown(2, (7, 9))
    assert outer == (0, 6, 1, 8)
    margin = box.margin_in(outer)
    assert margin == (1, 2, 2, 2)
    grid = torch.arange(2 * 3 * 7 * 9).view(2, 3, 7, 9)
    assert torch.equal(margin.inside(outer.of(grid)), box.of(grid))
    assert torch.equal(box.of(grid), grid[:, :, 1:4, 3:6])
    assert torch.equal(NO_MARGIN.inside(grid), grid)


def test_zeros_fill_a_margin_up_to_the_padding() -> None:
    grid = torch.rand(1, 2, 5, 6) + 1
    filled = Margin(top=0, bottom=2, left=1, right=2).filled(grid, 2)
    expected = torch.zeros(1, 2, 7, 7)
    expected[:, :, 2:, 1:] = grid
    assert torch.equal(filled, expected)
