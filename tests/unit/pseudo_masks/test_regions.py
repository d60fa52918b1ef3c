"""Regions against counting pixel by pixel."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.pseudo_masks import regions as module
from umtfss.pseudo_masks.regions import (
    keep_clusters,
    pixel_counts,
    region_features,
    valid_regions,
)

label_maps = hnp.arrays(np.uint8, (9, 12), elements=st.integers(0, 5))


@hypothesis_settings(deadline=None)
@given(label_maps, st.sampled_from([1, 3, 5]))
def test_pixels_and_border_pixels_counted_one_by_one(labels, factor):
    labels = labels.repeat(factor, 0).repeat(factor, 1)
    height, width = labels.shape
    rows, columns = max(1, round(0.04 * height)), max(1, round(0.04 * width))
    expected = np.zeros((2, 5), int)
    for (y, x), cluster in np.ndenumerate(labels):
        if cluster < 5:
            expected[0, cluster] += 1
            inner = rows <= y < height - rows and columns <= x < width - columns
            expected[1, cluster] += not inner
    np.testing.assert_array_equal(pixel_counts(labels, 5), expected)


@hypothesis_settings(deadline=None)
@given(label_maps, st.integers(1, 40), st.sampled_from([0.2, 0.5, 0.75, 0.99, 1]))
def test_valid_regions_by_the_book(labels, min_area, span):
    with mock.patch.object(module, "BACKGROUND_SPAN", span):
        clusters, area = valid_regions(labels, 6, PseudoMasksConfig(min_area=min_area))
    expected = {}
    for cluster in range(6):
        mask = labels == cluster
        rows = np.mean([row.any() for row in mask])
        columns = np.mean([column.any() for column in mask.T])
        if mask.sum() >= min_area and rows < span and columns < span:
            expected[cluster] = mask.sum()
    assert dict(zip(clusters, area, strict=True)) == expected
    assert list(clusters) == sorted(expected)


@pytest.mark.parametrize(("rows", "valid"), [(98, True), (99, False), (100, False)])
def test_background_spans_99_percent_of_the_rows_or_columns(rows, valid):
    labels = np.zeros((100, 300), np.uint8)
    labels[:rows, :50] = 1
    assert (1 in valid_regions(labels, 2, PseudoMasksConfig())[0]) == valid
    assert (1 in valid_regions(labels.T.copy(), 2, PseudoMasksConfig())[0]) == valid


def test_two_far_specks_do_not_span_the_image():
    labels = np.zeros((100, 300), np.uint8)
    labels[:40, :40] = labels[60:, 260:] = 1
    clusters, area = valid_regions(labels, 2, PseudoMasksConfig())
    assert clusters.tolist() == [1]
    assert area.tolist() == [3200]


@pytest.mark.parametrize("grid", [(3, 4), (5, 7)])
def test_features_are_the_mean_over_the_pixels_of_each_cell(grid):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (15, 28), dtype=np.uint8)
    tokens = rng.standard_normal((grid[0] * grid[1], 6)).astype(np.float32)
    features = region_features(labels, np.array([0, 3]), tokens, grid, align=False)
    row, column = np.indices(labels.shape)
    token = row * grid[0] // 15 * grid[1] + column * grid[1] // 28  # each pixel's cell
    for feature, cluster in zip(features, (0, 3), strict=True):
        mean = tokens[token[labels == cluster]].mean(0)
        np.testing.assert_allclose(feature, mean / np.linalg.norm(mean), atol=0.03)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, atol=1e-5)


def test_features_on_cells_that_divide_the_image_are_exact():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, (12, 20), dtype=np.uint8)
    tokens = rng.standard_normal((20, 3)).astype(np.float32)
    features = region_features(labels, np.array([1]), tokens, (4, 5), align=False)
    weight = (labels == 1).reshape(4, 3, 5, 4).mean((1, 3)).reshape(20, 1)
    mean = (weight * tokens).sum(0) / weight.sum()
    np.testing.assert_allclose(features[0], mean / np.linalg.norm(mean), atol=1e-6)


def test_features_of_a_grid_that_aligns_corners_weigh_half_cells_at_the_border():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, (9, 13), dtype=np.uint8)
    tokens = rng.standard_normal((3 * 4, 5)).astype(np.float32)
    features = region_features(labels, np.array([1]), tokens, (3, 4), align=True)
    fine = np.kron(labels, np.ones((8, 8), int))  # points; tokens lie on the corner pixels
    row, column = ((np.arange(side * 8) + 0.5) / 8 - 0.5 for side in labels.shape)
    nearest = [
        np.clip(np.floor(place / (side - 1) * (tokens_ - 1) + 0.5), 0, tokens_ - 1).astype(int)
        for place, side, tokens_ in zip((row, column), labels.shape, (3, 4), strict=True)
    ]
    cell = nearest[0][:, None] * 4 + nearest[1]
    weight = np.array([(fine[cell == token] == 1).mean() for token in range(12)])[:, None]
    mean = (weight * tokens).sum(0)
    np.testing.assert_allclose(features[0], mean / np.linalg.norm(mean), atol=0.01)


def test_image_without_a_region():
    tokens = np.ones((4, 3), np.float32)
    features = region_features(
        np.zeros((8, 8), np.uint8), np.array([], int), tokens, (2, 2), align=False
    )
    assert features.shape == (0, 3)


@hypothesis_settings(deadline=None)
@given(label_maps, st.sets(st.integers(0, 5)))
def test_keep_clusters(labels, kept):
    result = keep_clusters(labels, np.array(sorted(kept), int))
    assert result.dtype == np.uint8
    expected = [[c if c in kept else 255 for c in row] for row in labels.tolist()]
    assert result.tolist() == expected
