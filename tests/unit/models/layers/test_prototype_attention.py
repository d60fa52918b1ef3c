"""Splitting and grouping the support's tokens."""

import numpy as np
import pytest
import torch

from umtfss.models.layers.hamming_kmeans import hamming_kmeans, hash_codes, hash_planes
from umtfss.models.layers.prototype_attention import (
    prototypes,
    sample_tokens,
    set_numbers,
    split_support,
    token_priority,
)


def support(fill: float, shots: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    valid = torch.zeros(1, shots, 6, 7, dtype=torch.bool)
    valid[:, :, :4, :5] = True
    return fill * valid, valid


def places(sets: torch.Tensor, which: int, shots: int = 1) -> list[list[int]]:
    return (sets.view(shots, 6, 7) == which).nonzero().tolist()


def sets_of(mask: torch.Tensor, valid: torch.Tensor, seen: bool = False) -> torch.Tensor:
    return set_numbers(*split_support(mask > 0.5, valid, seen))


def test_split_by_mask() -> None:
    mask, valid = support(0.0)
    mask[0, 0, 1, 1:3] = torch.tensor([0.6, 0.5])
    valid[0, 0, 3, 3] = False
    sets = sets_of(mask, valid)
    assert places(sets, 0) == [[0, 1, 1]]
    assert (sets == 1).sum() == 4 * 5 - 2
    assert (sets == -1).sum() == 6 * 7 - 4 * 5 + 1


def test_a_shot_without_foreground_gives_its_centre() -> None:
    centre = [[r, c] for r in (1, 2) for c in (1, 2)]
    sets = sets_of(*support(0.0, shots=2))
    assert places(sets, 0, 2) == [[shot, *place] for shot in (0, 1) for place in centre]
    assert (sets == 1).sum() == 2 * (20 - 4)
    mask, valid = support(0.0, shots=2)
    mask[0, 1, 0, 0] = 1
    sets = sets_of(mask, valid)
    assert places(sets, 0, 2) == [*([0, *place] for place in centre), [1, 0, 0]]


def test_a_shot_without_background_gives_its_corners() -> None:
    sets = sets_of(*support(1.0))
    assert places(sets, 1) == [[0, 0, 0], [0, 0, 4], [0, 3, 0], [0, 3, 4]]
    assert (sets == 0).sum() == 16


def test_seen_padding_is_background_and_moves_the_centre() -> None:
    mask, valid = support(0.0)
    sets = sets_of(mask, valid, seen=True)
    assert places(sets, 0) == [[0, r, c] for r in (2, 3) for c in (2, 3)]
    assert (sets == 1).sum() == 6 * 7 - 4
    sets = sets_of(torch.ones_like(mask), valid, seen=True)
    assert places(sets, 1) == [[0, 0, 0], [0, 0, 6], [0, 5, 0], [0, 5, 6]]


def test_nothing_valid_still_gives_a_token() -> None:
    valid = torch.zeros(1, 1, 4, 4, dtype=torch.bool)
    assert (sets_of(torch.zeros(1, 1, 4, 4), valid) >= 0).any()


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
    arguments = (tokens, sets, key, priority, (7, 9))
    found, used = prototypes(*arguments, bits=12, iterations=4)
    summed, _ = prototypes(*arguments, bits=12, iterations=4, pool="sum")
    codes = hash_codes(tokens, sets, *hash_planes(key, 8, 12, 2))
    group = hamming_kmeans(codes, sets, (7, 9), priority, 4)
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


def test_emptied_groups_may_be_shown_but_never_slots_beyond_the_tokens() -> None:
    tokens = torch.ones(1, 12, 8)  # one code: all tokens end in the first group
    sets = torch.tensor([[0] * 3 + [1] * 9])
    priority = token_priority(torch.tensor([1]), (1, 3, 4))
    shown = {
        masked: prototypes(
            tokens,
            sets,
            torch.tensor([1]),
            priority,
            (5, 4),
            bits=8,
            iterations=2,
            mask_empty=masked,
        )[1][0].tolist()
        for masked in (True, False)
    }
    assert shown[True] == [True] * 3 + [False] * 2 + [True] + [False] * 3
    assert shown[False] == [True] * 3 + [False] * 2 + [True] * 4


def sample_by_loops(sets: list[int], order: list[int], wanted: tuple[int, int]) -> list[int]:
    """The release's rule: fill up with the other set where one has too few tokens."""
    foreground = [token for token in order if sets[token] == 0]
    background = [token for token in order if sets[token] == 1]
    if len(foreground) < wanted[0]:
        return foreground + background[: sum(wanted) - len(foreground)]
    if len(background) < wanted[1]:
        return foreground[: sum(wanted) - len(background)] + background
    return foreground[: wanted[0]] + background[: wanted[1]]


@pytest.mark.parametrize("wanted", [(2, 3), (4, 3), (1, 6), (3, 20), (30, 30)])
def test_sampled_tokens_equal_loops(wanted: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    sets = torch.from_numpy(random.choice([-1, 0, 1], (6, 20), p=[0.2, 0.3, 0.5]))
    sets[4], sets[5] = 0, 1
    priority = torch.from_numpy(np.stack([random.permutation(20) for _ in sets]))
    counts = tuple(torch.full((6,), count) for count in wanted)
    sample = sample_tokens(sets, priority, counts)  # type: ignore[arg-type]
    for row in range(6):
        expected = sample_by_loops(sets[row].tolist(), priority[row].argsort().tolist(), wanted)
        found = sample.index[row][sample.there[row]]
        assert found.tolist() == expected
        assert sample.foreground[row][sample.there[row]].tolist() == [
            sets[row, token] == 0 for token in expected
        ]
    assert sample.index.shape[1] == sample.there.sum(1).max()
    values = torch.randn(6, 20, 3)
    assert torch.equal(sample.of(values)[2, 0], values[2, sample.index[2, 0]])


def test_counts_may_differ_by_episode() -> None:
    sets = torch.tensor([[0, 0, 0, 1, 1, 1]] * 2)
    priority = torch.arange(6).expand(2, -1)
    sample = sample_tokens(sets, priority, (torch.tensor([1, 3]), torch.tensor([1, 2])))
    assert sample.there.sum(1).tolist() == [2, 5]
    assert sample.index[0, :2].tolist() == [0, 3]
    assert sample.index[1].tolist() == [0, 1, 2, 3, 4]
