"""The dice loss against numpy."""

import numpy as np
import pytest
import torch

from umtfss.models.layers.dice import dice_loss


def dice_by_numpy(logits: np.ndarray, target: np.ndarray, ignore: bool) -> float:
    losses = []
    for logit, label in zip(logits, target, strict=True):
        for channel in (0, 1):
            p = 1 / (1 + np.exp(-logit[channel]))
            t = (label == channel).astype(float)
            area = (p[label != 255] if ignore else p) ** 2
            losses.append(1 - 2 * (p * t).sum() / (area.sum() + (t**2).sum()))
    return 2 * float(np.mean(losses))


@pytest.mark.parametrize("ignore", [True, False])
def test_equals_numpy(ignore: bool) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 2, 6, 6)).astype(np.float32)
    target = rng.choice([0, 1, 255], size=(3, 6, 6))
    found = dice_loss(torch.from_numpy(logits), torch.from_numpy(target), ignore, False)
    assert found.item() == pytest.approx(dice_by_numpy(logits, target, ignore), rel=1e-5)


def test_perfect_and_wrong() -> None:
    target = torch.zeros(1, 8, 8, dtype=torch.long)
    target[:, :, 4:] = 1
    logits = torch.stack([1 - target, target], 1) * 40.0 - 20
    assert dice_loss(logits, target, True, False) < 1e-4
    assert dice_loss(-logits, target, True, False) > 1.9


def test_nothing_to_learn_from_has_a_finite_gradient() -> None:
    logits = torch.full((1, 2, 4, 4), -200.0, requires_grad=True)
    loss = dice_loss(logits, torch.full((1, 8, 8), 255), True, False)
    loss.backward()
    assert loss == 2
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_align_corners_matters_only_between_tokens() -> None:
    logits = torch.randn(1, 2, 3, 3)
    target = torch.randint(0, 2, (1, 9, 9))
    corner = dice_loss(logits, target, True, True)
    assert not torch.isclose(corner, dice_loss(logits, target, True, False))
