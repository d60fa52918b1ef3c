"""Splitting and grouping the support's tokens."""

import numpy as np
import torch

from umtfss.clustering.hamming_kmeans import hamming_kmeans, hash_codes
from umtfss.models.layers.prototype_attention import (
    prototypes,
    sampled_tokens,
    split_support,
    token_priority,
)


def support(fill: float, shots: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    valid = torch.zeros(1, shots, 6, 7, dtype=torch.bool)
    valid[:, :, :4, :5] = True
    return fill * valid, valid


def places(sets: torch.Tensor, which: int, shots: int = 1) -> list[list[int]]:
    return (sets.view(shots, 6, 7) == which).nonzero().tolist()


def test_split_by_mask() -> None:
    mask, valid = support(0.0)
    mask[0, 0, 1, 1:3] = torch.tensor([0.6, 0.5])
    valid[0, 0, 3, 3] = False
    sets = split_support(mask, valid)
    assert places(sets, 0) == [[0, 1, 1]]
    assert (sets == 1).sum() == 4 * 5 - 2
    assert (sets == -1).sum() == 6 * 7 - 4 * 5 + 1


def test_no_foreground_takes_the_centre_of_every_shot() -> None:
    sets = split_support(*support(0.0, shots=2))
    centre = [[r, c] for r in (1, 2) for c in (1, 2)]
    assert places(sets, 0, 2) == [[shot, *place] for shot in (0, 1) for place in centre]
    assert (sets == 1).sum() == 2 * (20 - 4)


def test_no_background_takes_the_corners() -> None:
    sets = split_support(*support(1.0))
    assert places(sets, 1) == [[0, 0, 0], [0, 0, 4], [0, 3, 0], [0, 3, 4]]
    assert (sets == 0).sum() == 16


def test_one_shot_with_foreground_is_enough() -> None:
    mask, valid = support(0.0, shots=2)
    mask[0, 1, 0, 0] = 1
    assert places(split_support(mask, valid), 0, 2) == [[1, 0, 0]]


def test_nothing_valid_still_gives_a_token() -> None:
    valid = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    assert (split_support(torch.zeros(1, 1, 4, 4), valid) >= 0).any()


def test_priority_does_not_depend_on_padding() -> None:
    key = torch.tensor([3, 4])
    small = token_priority(key, (2, 3, 4)).view(2, 2, 3, 4)
    large = token_priority(key, (3, 9, 8)).view(2, 3, 9, 8)
    assert torch.equal(small, large[:, :2, :3, :4])
    assert len(large.unique()) == large.numel()


def test_prototypes_equal_numpy_and_pass_gradients() -> None:
    torch.manual_seed(0)
    tokens = torch.randn(2, 40, 8, requires_grad=True)
    sets = torch.randint(-1, 2, (2, 40))
    sets[1, 10:] = 1  # fewer foreground tokens than groups
    key = torch.tensor([5, 6])
    priority = token_priority(key, (1, 5, 8))
    arguments = (tokens, sets, key, priority, (7, 9), 12, 4)
    found, used = prototypes(*arguments, "mean")
    summed, _ = prototypes(*arguments, "sum")
    group = hamming_kmeans(hash_codes(tokens, key, 12), sets, (7, 9), priority, 4)
    for row in range(2):
        for index in range(16):
            members = tokens[row][group[row] == index].detach().numpy()
            assert used[row, index] == (len(members) > 0)
            if len(members) == 0:
                assert (found[row, index] == 0).all()
                continue
            mean = members.mean(0)
            mean /= np.linalg.norm(mean)
            np.testing.assert_allclose(found[row, index].detach().numpy(), mean, atol=1e-6)
            np.testing.assert_allclose(
                summed[row, index].detach().numpy(), members.sum(0), atol=1e-5
            )
    weight = torch.randn_like(found)
    (gradient,) = torch.autograd.grad((found * weight).sum(), tokens)
    assert (gradient[sets < 0] == 0).all()
    assert (gradient[sets >= 0].abs().sum(1) > 0).all()


def test_sampled_tokens_come_from_their_sets() -> None:
    sets = torch.tensor([[0, 1, 1, -1, 1, 0, 1, 0], [1, 1, 1, 1, 1, 1, -1, 0]])
    tokens = torch.arange(16.0).view(2, 8, 1)
    priority = token_priority(torch.tensor([1, 2]), (1, 2, 4))
    chosen, keep = sampled_tokens(tokens, sets, priority, 2)
    assert keep.tolist() == [[True] * 4, [True, False, True, True]]
    from_sets = sets.flatten()[chosen[..., 0].long()]
    assert from_sets[keep].tolist() == [0, 0, 1, 1, 0, 1, 1]
    everything, keep = sampled_tokens(tokens, sets, priority, 100)
    assert keep.sum() == (sets >= 0).sum()
    assert everything.shape == (2, 16, 1)
