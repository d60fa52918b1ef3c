"""umtfss.episodes.batch."""

import torch

from umtfss.episodes.batch import EpisodeBatch


def batch(target=None):
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
    )


def test_every_tensor_moves_and_an_absent_target_stays_absent():
    moved = batch(torch.zeros(2, 8, 8)).to("meta")
    assert {value.device.type for name, value in vars(moved).items() if name != "side"} == {"meta"}
    assert batch().to("meta").target is None
    assert len(moved) == 2


def test_every_tensor_is_pinned(monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: pinned.append(tensor) or tensor)
    one = batch()
    assert one.pin_memory().query_mid is one.query_mid
    assert len(pinned) == 8
