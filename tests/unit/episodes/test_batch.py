"""umtfss.episodes.batch."""

from dataclasses import replace

import torch

from umtfss.episodes.batch import EpisodeBatch


def batch(target=None, support_pixels=None):
    return EpisodeBatch(
        query_mid=torch.ones(2, 3, 4, 4),
        query_high=torch.ones(2, 5, 4, 4),
        query_valid=torch.ones(2, 4, 4, dtype=torch.bool),
        support_mid=torch.ones(2, 1, 3, 4, 4),
        support_high=torch.ones(2, 1, 5, 4, 4),
        support_valid=torch.ones(2, 1, 4, 4, dtype=torch.bool),
        support_mask=torch.ones(2, 1, 4, 4),
        key=torch.tensor([1, 2]),
        target=target,
        support_pixels=support_pixels,
    )


def test_every_tensor_moves_and_an_absent_target_stays_absent():
    moved = batch(torch.zeros(2, 8, 8)).to("meta")
    there = [value for value in vars(moved).values() if value is not None]
    assert {value.device.type for value in there} == {"meta"}
    assert batch().to("meta").target is None
    assert len(moved) == 2


def test_every_tensor_is_pinned(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    one = batch()
    assert one.pin_memory().query_mid is one.query_mid
    assert len(pinned) == 8


def test_squared_pads_every_grid_to_the_side_of_the_target():
    pixels = torch.zeros(2, 1, 2, 4, 4, dtype=torch.uint8)
    one = replace(batch(torch.zeros(2, 8, 8), pixels), side=6)
    square = one.squared()
    for name in ("query_mid", "query_high", "support_mid", "support_high", "support_mask"):
        grid = getattr(square, name)
        assert grid.shape[-2:] == (6, 6)
        assert torch.equal(grid[..., :4, :4], getattr(one, name))
        assert not grid[..., 4:, :].any()
        assert not grid[..., 4:].any()
    assert square.query_valid.sum() == one.query_valid.sum()
    assert square.support_pixels[..., 4:].unique().tolist() == [255]
    assert square.target is one.target
    assert batch().squared().query_mid.shape[-1] == 4
