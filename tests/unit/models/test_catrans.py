"""CATrans: its frame, its relations against plain formulas, its loss, and that it learns."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.build import build_model
from umtfss.models.catrans import FRAME, Affinity, CATrans, LevelTransformers, Tokens, cells

MakeBatch = Callable[..., EpisodeBatch]
WIDTH = 16


def make_model(*channels: int, width: int = WIDTH) -> CATrans:
    torch.manual_seed(0)
    model = build_model("catrans", ModelConfig(width=width, heads=4, dropout=0), channels)
    assert isinstance(model, CATrans)
    return model.eval()


def make_tokens(images: int, grid: tuple[int, int] = (3, 4), seed: int = 0) -> Tokens:
    """Random tokens; the last two columns are padding."""
    random = torch.Generator().manual_seed(seed)
    valid = torch.zeros(images, *grid, dtype=torch.bool)
    valid[..., :-2] = True
    features = torch.randn(images, grid[0] * grid[1], WIDTH, generator=random)
    return Tokens(features, valid.flatten(1), cells(valid))


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("extent", [(5, 7), (24, 13), (1, 12)])
def test_a_token_is_shared_among_the_cells_that_it_overlaps(extent: tuple[int, int]) -> None:
    """Against tokens and cells cut into small squares that are counted."""
    valid = torch.zeros(1, extent[0] + 2, extent[1] + 3, dtype=torch.bool)
    valid[:, : extent[0], : extent[1]] = True
    found = cells(valid).view(*valid.shape[1:], FRAME, FRAME)
    counted = []
    for side in extent:
        cut = torch.arange(side * FRAME)  # FRAME pieces of a token are `side` pieces of a cell
        pieces = F.one_hot(cut // FRAME).T @ F.one_hot(cut // side)
        counted.append(pieces / FRAME)
    expected = torch.einsum("hr,wc->hwrc", *counted)
    close(found[: extent[0], : extent[1]], expected)
    assert not found[extent[0] :].any()
    assert not found[:, extent[1] :].any()


@torch.no_grad()
def test_affinity_is_a_softmax_over_valid_tokens_summed_by_cells() -> None:
    rows, columns = make_tokens(2, seed=1), make_tokens(2, (5, 6), seed=2)
    layer = Affinity(WIDTH, 8)
    found = layer(rows, columns)
    close(found.mean(2), torch.ones(2, 12))  # rows of a softmax sum to 1
    product = layer.row(rows.features) @ layer.column(columns.features).transpose(1, 2)
    for image, (scores, keep) in enumerate(zip(product / 8**0.5, columns.keep, strict=True)):
        softmax = scores[:, keep].softmax(1)
        close(found[image] / FRAME**2, softmax @ columns.cells[image][keep])


@torch.no_grad()
def test_sharp_context_of_equal_images_is_the_masks_feature() -> None:
    """With identity maps and one-hot features each query token finds the mask of its twin."""
    level = LevelTransformers(WIDTH, ModelConfig(width=WIDTH, heads=4, dropout=0))
    for block in (level.support_context, level.query_context, level.cross_context):
        for layer in (block.attention.query, block.attention.key, block.attention.value):
            layer.weight.copy_(torch.eye(WIDTH))
        block.attention.output.weight.copy_(torch.eye(WIDTH))
        block.ffn.reduce.weight.zero_()
        block.attention_norm = block.ffn_norm = nn.Identity()
    level.query_context.attention.output.weight.zero_()  # a query token stays as it is
    sharp = 100 * torch.cat([torch.eye(8), torch.eye(8)], 1)[None]  # alike in both heads
    keep = torch.ones(1, 8, dtype=torch.bool)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    query = Tokens(sharp[:, order], keep, torch.zeros(1, 8, FRAME**2))
    mask = torch.randn(1, 8, WIDTH)
    found = level.context(query, query._replace(features=sharp), mask)
    close(found - query.features, 2 * mask[:, order])  # the support adds its own mask once


@torch.no_grad()
def test_affinities_are_attention_with_rows_of_affinities() -> None:
    """Against torch's multi-head attention: query asks, masked support knows, support answers."""
    level = LevelTransformers(WIDTH, ModelConfig(width=WIDTH, heads=4, dropout=0)).eval()
    query, support, mask = make_tokens(1, seed=1), make_tokens(1, seed=2), torch.randn(1, 12, WIDTH)
    masked = support._replace(features=torch.cat([mask, support.features], 2))
    block = level.affinity
    reference = nn.MultiheadAttention(FRAME**2, 2, bias=False, batch_first=True)
    own = block.attention
    maps = [own.query.weight, own.key.weight, own.value.weight]
    reference.in_proj_weight.copy_(torch.cat(maps))
    reference.out_proj.weight.copy_(own.output.weight)
    attended, _ = reference(
        level.cross_affinity(query, support),
        level.support_affinity(masked, masked),
        level.cross_affinity(support, query),
        key_padding_mask=~support.keep,
    )
    hidden = block.attention_norm(level.query_affinity(query, query) + attended)
    close(level.affinities(query, support, mask), block.ffn_norm(hidden + block.ffn(hidden)))


@torch.no_grad()
def test_support_tokens_have_no_order() -> None:
    level = LevelTransformers(WIDTH, ModelConfig(width=WIDTH, heads=4, dropout=0)).eval()
    query, support, mask = make_tokens(1), make_tokens(1, seed=1), torch.randn(1, 12, WIDTH)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    shuffled = Tokens(*(one[:, order] for one in support))
    found = level(query, support, mask)
    close(level(query, shuffled, mask[:, order]), found)
    assert not torch.allclose(level(query, shuffled, mask), found, atol=1e-3)


@torch.no_grad()
def test_every_shot_meets_its_own_query() -> None:
    level = LevelTransformers(WIDTH, ModelConfig(width=WIDTH, heads=4, dropout=0)).eval()
    query, support, mask = make_tokens(2), make_tokens(6, seed=1), torch.randn(6, 12, WIDTH)
    found = level(query, support, mask)
    for pair in range(6):
        one = slice(pair, pair + 1)
        asked = Tokens(*(part[pair // 3 : pair // 3 + 1] for part in query))
        known = Tokens(*(part[one] for part in support))
        close(found[one], level(asked, known, mask[one]))


@torch.no_grad()
def test_the_scale_of_features_does_not_matter_but_every_used_level_does(
    make_batch: MakeBatch,
) -> None:
    model, batch = make_model(3, 4, 5), make_batch()  # the first of three levels is not used
    logits = model(batch)
    scaled = replace(batch, query_mid=batch.query_mid * 3, support_mid=batch.support_mid * 0.5)
    torch.testing.assert_close(model(scaled), logits, atol=1e-3, rtol=1e-3)
    for first, last, matters in ((0, 3, False), (3, 7, True), (7, 12, True)):
        changed = batch.query_mid.clone()
        changed[:, first:last] = changed[:, first:last].flip(0)
        same = torch.allclose(model(replace(batch, query_mid=changed)), logits, atol=1e-5)
        assert same != matters


@torch.no_grad()
def test_the_mask_matters(make_batch: MakeBatch) -> None:
    model, batch = make_model(12), make_batch()
    other = replace(batch, support_mask=batch.support_mask.flip(0))
    assert not torch.allclose(model(other), model(batch), atol=1e-3)


def test_foreground_weighs_four_times_in_the_loss() -> None:
    logits, target = torch.randn(2, 2, 2, 2), torch.tensor([[[0, 1], [0, 0]], [[1, 255], [0, 1]]])
    expected = F.cross_entropy(logits, target, torch.tensor([1.0, 4.0]), ignore_index=255)
    model = make_model(12)
    close(model.loss(logits, target), expected)
    assert model.loss(logits, torch.full_like(target, 255)) == 0


def test_parameters_of_the_default_width() -> None:
    d, frame = 256, 144
    block = 4 * d * d + 6 * d * d + 4 * d  # attention, feed-forward network, two norms
    relations = 3 * block + (10 * frame + 4) * frame
    affinities = 2 * (2 * d + d + d) * d
    levels = 2 * (relations + affinities + 2 * d) + (88 + 208) * d
    encoder = (9 + 1) * (d // 4) + (9 * (d // 4) + 1) * d
    decoder = 9 * 128 * (2 * (d + frame) + 128) + 2 * 2 * 128 + (128 + 1) * 2
    model = make_model(88, 208, width=d)
    assert sum(one.numel() for one in model.parameters()) == levels + encoder + decoder == 6_697_730


def test_it_learns_one_episode(make_batch: MakeBatch) -> None:
    model = make_model(4, 8)
    batch = make_batch(batch=1, shape=(8, 8), grid=(8, 8), seed=3)
    assert batch.target is not None
    optimiser = torch.optim.AdamW(model.parameters(), 1e-3)
    for _ in range(60):
        loss = model.total_loss(model.outputs(batch), batch)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        logits = model(batch)
    found, truth = logits[:, 1] > logits[:, 0], batch.target[:, 2::4, 2::4] == 1
    assert torch.equal(found, truth)
