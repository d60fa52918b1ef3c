"""Correlations against loops, groups of levels, and group norm of the valid positions."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from umtfss.episodes.batch import EpisodeBatch
from umtfss.models.layers import correlation
from umtfss.models.layers.correlation import (
    MaskedGroupNorm,
    correlations,
    level_groups,
    support_mean,
)

MakeBatch = Callable[..., EpisodeBatch]


@pytest.mark.parametrize(
    ("channels", "groups"),
    [
        ([512] * 4 + [1024] * 6 + [2048] * 3, [4, 6, 3]),  # a ResNet-50, as in the paper
        ([384] * 12, [4, 4, 4]),  # a ViT
        ([384] * 5, [2, 2, 1]),
        ([384] * 2, [1, 1]),
        ([48, 120, 352], [1, 1, 1]),
        ([736], [1]),
    ],
)
def test_levels_of_one_width_are_a_group(channels: list[int], groups: list[int]) -> None:
    assert level_groups(channels) == groups


@pytest.mark.parametrize("mask_support", [True, False])
def test_correlations_are_cosines_without_negative_ones(
    make_batch: MakeBatch, mask_support: bool
) -> None:
    batch = make_batch(batch=2, shots=2, shape=(3, 4), grid=(4, 4), channels=6)
    found = correlations(batch, [2, 4], mask_support)
    assert [group.shape[-1] for group in found.groups] == [1, 1]
    expected = np.zeros((2, 4, 4, 4, 4, 4))  # level, row, query, support
    for pair in range(4):
        for level, part in enumerate((slice(0, 2), slice(2, 6))):
            query = batch.query_mid[pair // 2, part].numpy()
            support = batch.support_mid[pair // 2, pair % 2, part].numpy()
            mask = batch.support_mask[pair // 2, pair % 2].numpy()
            for i, j, k, m in np.ndindex(3, 4, 3, 4):
                one, other = query[:, i, j], support[:, k, m]
                if mask[k, m] > 0 or not mask_support:
                    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
                    expected[level, pair, i, j, k, m] = max(cosine, 0)
    for group, level in zip(found.groups, expected, strict=True):
        torch.testing.assert_close(group[..., 0], torch.from_numpy(level).float())


def test_unlabelled_support_tokens_correlate_with_nothing(make_batch: MakeBatch) -> None:
    batch = make_batch(batch=1)
    valid = batch.support_valid.clone()
    valid[0, 0, 2, 3] = False
    (group,) = correlations(replace(batch, support_valid=valid), [12], False).groups
    assert not group[..., 2, 3, :].any()
    assert group[..., 2, 4, :].any()


def test_large_grids_are_averaged_over_squares(
    make_batch: MakeBatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(correlation, "LARGEST_SIDE", 5)
    batch = make_batch(batch=1, shape=(7, 9))
    whole = correlations(batch, [12], True)
    assert whole.groups[0].shape == (1, 5, 5, 5, 5, 1)
    assert whole.query_valid[0].sum() == 4 * 5  # the last row and column hold a part of the image
    cell = batch.query_mid[0, :, 2:4, 4:6].mean((1, 2))
    other = (batch.support_mid[0, 0, :, 2:4, 4:6]).mean((1, 2))
    assert batch.support_mask[0, 0, 2:4, 4:6].any()
    expected = F.cosine_similarity(cell, other, 0).clamp(min=0)
    torch.testing.assert_close(whole.groups[0][0, 1, 2, 1, 2, 0], expected)


def test_norm_is_torchs_on_the_valid_rectangle() -> None:
    torch.manual_seed(0)
    norm = MaskedGroupNorm(8)
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    grid = torch.randn(2, 5, 6, 8) + 3
    inside = torch.zeros(2, 5, 6, 1, dtype=torch.bool)
    inside[0, :3, :4], inside[1] = True, True
    found = norm(grid, inside)
    for row, part in ((0, grid[0, :3, :4]), (1, grid[1])):
        values = part.permute(2, 0, 1)[None]
        expected = F.group_norm(values, 4, norm.weight, norm.bias)[0].permute(1, 2, 0)
        height, width = part.shape[:2]
        torch.testing.assert_close(found[row, :height, :width], expected, atol=1e-4, rtol=1e-4)


def test_mean_over_the_support_counts_valid_positions() -> None:
    grid = torch.rand(2, 2, 1, 3, 3, 4)
    valid = torch.zeros(2, 3, 3, dtype=torch.bool)
    valid[0, :2, :1], valid[1] = True, True
    found = support_mean(grid, valid)
    torch.testing.assert_close(found[0], grid[0, :, :, :2, :1].mean((2, 3)))
    torch.testing.assert_close(found[1], grid[1].mean((2, 3)))
