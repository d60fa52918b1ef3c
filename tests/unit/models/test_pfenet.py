"""PFENet: its grids against loops and torch, its loss against torch's."""

from collections.abc import Callable
from math import ceil, floor

import pytest
import torch
import torch.nn.functional as F

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig, PFENetConfig
from umtfss.models.build import build_model
from umtfss.models.layers.cross_entropy import cross_entropy_loss
from umtfss.models.layers.resample import cells, pooling, resample, upsampling
from umtfss.models.pfenet import PFENet

MakeBatch = Callable[..., EpisodeBatch]
SCALES = (1.0, 1 / 2, 1 / 4, 2 / 15)


def test_grids_of_the_paper() -> None:
    assert [cells(60, scale) for scale in SCALES] == [60, 30, 15, 8]
    assert tuple(ModelConfig().pfenet.pyramid_scales) == SCALES


@pytest.mark.parametrize("scale", SCALES)
def test_pooling_is_adaptive_without_padding(scale: float) -> None:
    grid = torch.randn(2, 60, 60, 3)
    weight = pooling(torch.tensor([60, 60]), 60, scale)
    expected = F.adaptive_avg_pool2d(grid.permute(0, 3, 1, 2), cells(60, scale))
    found = resample(grid, weight, weight).permute(0, 3, 1, 2)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("scale", SCALES)
def test_pooling_equals_loops_over_valid_tokens(scale: float) -> None:
    extents = [(7, 9), (10, 3), (1, 10)]
    grid = torch.randn(3, 10, 10, 2)
    heights, widths = torch.tensor(extents).unbind(1)
    found = resample(grid, pooling(heights, 10, scale), pooling(widths, 10, scale))
    count = ceil(10 * scale)
    assert found.shape == (3, count, count, 2)
    for image, (height, width) in enumerate(extents):
        for row in range(count):
            for column in range(count):
                top, left = floor(row / scale), floor(column / scale)
                bottom = min(ceil((row + 1) / scale), height)
                right = min(ceil((column + 1) / scale), width)
                tokens = grid[image, top:bottom, left:right].flatten(0, 1)
                expected = tokens.mean(0) if len(tokens) else torch.zeros(2)
                torch.testing.assert_close(found[image, row, column], expected)


@pytest.mark.parametrize("scale", [1.0, 1 / 2, 1 / 4])
def test_upsampling_is_bilinear_and_stops_at_the_last_cell(scale: float) -> None:
    full, part = 12, 8
    coarse = torch.randn(1, cells(full, scale), cells(full, scale), 2)
    rows, columns = torch.tensor([full]), torch.tensor([part])
    found = resample(coarse, upsampling(rows, full, scale), upsampling(columns, full, scale))
    used = coarse[:, :, : cells(part, scale)].permute(0, 3, 1, 2)
    expected = F.interpolate(used, (full, part), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[:, :, :part].permute(0, 3, 1, 2), expected)


@pytest.mark.parametrize("align_corners", [True, False])
def test_cross_entropy_equals_torch(align_corners: bool) -> None:
    logits = torch.randn(3, 2, 6, 6)
    target = torch.tensor([0, 1, 255])[torch.randint(0, 3, (3, 9, 9))]
    large = F.interpolate(logits, (9, 9), mode="bilinear", align_corners=align_corners)
    found = cross_entropy_loss(logits, target, align_corners)
    torch.testing.assert_close(found, F.cross_entropy(large, target, ignore_index=255))
    nothing = torch.full_like(target, 255)
    assert cross_entropy_loss(logits, nothing, align_corners) == 0


def test_loss_is_main_plus_mean_of_scales(make_batch: MakeBatch) -> None:
    batch = make_batch()
    assert batch.target is not None
    model = build_model("pfenet", ModelConfig(width=16, heads=4), [12], align_corners=True).eval()
    outputs = model.outputs(batch)
    assert [tuple(one.shape) for one in outputs] == [(3, 2, 10, 10)] * 5
    losses = [
        F.cross_entropy(
            F.interpolate(one, (40, 40), mode="bilinear", align_corners=True),
            batch.target,
            ignore_index=255,
        )
        for one in outputs
    ]
    expected = losses[0] + sum(losses[1:]) / 4
    torch.testing.assert_close(model.total_loss(outputs, batch), expected)


@torch.no_grad()
def test_one_scale_equals_plain_convolutions(make_batch: MakeBatch) -> None:
    """On an un-padded grid, with scale 1 alone, the network is its convolutions in a row."""
    batch = make_batch(shape=(8, 8), grid=(8, 8))
    settings = ModelConfig(width=16, heads=4, pfenet=PFENetConfig(pyramid_scales=[1.0]))
    model = build_model("pfenet", settings, [12]).eval()
    assert isinstance(model, PFENet)
    query, support = model.query_mid(batch.query_mid), model.support_mid(batch.support_mid[:, 0])
    mask = batch.support_mask
    vector = (support * mask).sum((2, 3)) / (mask.sum((2, 3)) + 0.0005)
    cosine = torch.einsum(
        "bcn,bcm->bnm",
        F.normalize(batch.query_high.flatten(2), dim=1),
        F.normalize(batch.support_high[:, 0].flatten(2), dim=1),
    )
    best = cosine.masked_fill((mask <= 0.5).flatten(1)[:, None], -2).amax(2)
    low, high = best.amin(1, keepdim=True), best.amax(1, keepdim=True)
    prior = ((best - low) / (high - low + 1e-7)).view(3, 1, 8, 8)
    grid = torch.cat([query, vector[..., None, None].expand_as(query), prior], 1)
    merge, join = model.merge[0], model.join
    grid = F.conv2d(grid, merge.weight[..., None, None], merge.bias).relu()
    refine = model.refine[0]
    grid = grid + refine.second(refine.first(grid).relu()).relu()
    inner = model.inner[0](grid)
    grid = F.conv2d(grid, join.weight[..., None, None], join.bias).relu()
    grid = grid + model.last.second(model.last.first(grid).relu()).relu()
    found = model.outputs(batch)
    torch.testing.assert_close(found[0], model.head(grid), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], inner, atol=1e-5, rtol=1e-4)
