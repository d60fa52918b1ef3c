"""Prior mask and masked average against numpy."""

import numpy as np
import torch

from umtfss.models.layers.prior_mask import (
    _largest_of_all,
    _largest_of_foreground,
    masked_average,
    prior_mask,
)


def prior_by_numpy(
    query: np.ndarray, valid: np.ndarray, support: np.ndarray, foreground: np.ndarray
) -> np.ndarray:
    """(h, w) of one sample."""
    total = np.zeros(valid.shape)
    for features, mask in zip(support, foreground, strict=True):
        if not mask.any():
            continue
        tokens = features[:, mask] / np.linalg.norm(features[:, mask], axis=0)
        q = query.reshape(len(query), -1)
        best = ((q / np.linalg.norm(q, axis=0)).T @ tokens).max(1).reshape(valid.shape)
        low, high = best[valid].min(), best[valid].max()
        total += np.where(valid, (best - low) / (high - low + 1e-7), 0)
    return total / len(support)


def test_prior_equals_numpy() -> None:
    rng = np.random.default_rng(0)
    batch, shots, channels, side = 3, 2, 6, 5
    query = rng.normal(size=(batch, channels, side, side)).astype(np.float32)
    support = rng.normal(size=(batch, shots, channels, side, side)).astype(np.float32)
    valid = np.zeros((batch, side, side), dtype=bool)
    valid[:, :4, :3] = True
    foreground = rng.random((batch, shots, side, side)) < 0.3
    foreground[1, 0] = False  # one shot of a sample without foreground
    foreground[2] = False  # a sample without any
    found = prior_mask(*map(torch.from_numpy, (query, valid, support, foreground))).numpy()
    for row in range(batch):
        expected = prior_by_numpy(query[row], valid[row], support[row], foreground[row])
        np.testing.assert_allclose(found[row], expected, atol=2e-6)
    assert (found[2] == 0).all()
    assert found[0].max() > 0.5


def test_a_query_of_equal_tokens_has_no_prior() -> None:
    valid = torch.ones(1, 3, 3, dtype=torch.bool)
    prior = prior_mask(torch.ones(1, 4, 3, 3), valid, torch.rand(1, 1, 4, 3, 3), valid[:, None])
    assert (prior == 0).all()


def test_masked_average_equals_numpy() -> None:
    features, weight = torch.rand(2, 7, 3), torch.rand(2, 7)
    weight[1] = 0
    expected = (features * weight[..., None]).sum(1) / (weight.sum(1, keepdim=True) + 0.0005)
    torch.testing.assert_close(masked_average(features, weight), expected)
    assert (masked_average(features, weight)[1] == 0).all()


def test_all_products_have_the_largest_of_the_gathered_ones() -> None:
    """The way of a GPU equals the way of a CPU, for other numbers of foreground tokens, too."""
    random = torch.Generator().manual_seed(0)
    query, support = (torch.randn(3, 20, 6, generator=random) for _ in range(2))
    member = torch.rand(3, 20, generator=random) < 0.4
    member[1, 3:] = False
    member[1, 2] = True
    found = _largest_of_all(query, support, member)
    torch.testing.assert_close(found, _largest_of_foreground(query, support, member))
    by_hand = torch.nn.functional.normalize(support[1, member[1]], dim=1) @ query[1].T
    torch.testing.assert_close(found[1], by_hand.amax(0))


def test_a_trace_depends_on_no_number_of_foreground_tokens() -> None:
    class Prior(torch.nn.Module):
        def forward(self, *given: torch.Tensor) -> torch.Tensor:
            return prior_mask(*given)

    random = torch.Generator().manual_seed(0)
    query, support = (torch.randn(*shape, generator=random) for shape in
                      ((1, 6, 4, 5), (1, 2, 6, 4, 5)))  # fmt: skip
    valid = torch.ones(1, 4, 5, dtype=torch.bool)
    few, many = (torch.rand(1, 2, 4, 5, generator=random) < part for part in (0.2, 0.8))
    traced = torch.export.export(Prior(), (query, valid, support, few)).module()
    for member in (few, many):
        expected = prior_mask(query, valid, support, member)
        torch.testing.assert_close(traced(query, valid, support, member), expected)
