"""Pairs of queries, against loops over episodes, tokens and pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.pairs import are_paired, with_pairs

HEIGHT, WIDTH, SIDE, PIXELS = 3, 5, 6, 24  # 4 pixels a token
CLASSES = torch.tensor([7, 7, 2, 9])
VECTORS = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.8, 0.6]])
LEAST_ALIKE = [3, 2, 3, 0]  # by the cosines of the vectors, of another class
AT_LEFT = [True, False, True, True]


def made() -> EpisodeBatch:
    """Four episodes; the support's object, two tokens, has the vector, all else has another."""
    random = torch.Generator().manual_seed(1)
    valid = torch.ones(4, HEIGHT, WIDTH, dtype=torch.bool)
    valid[2, :, 4:] = False
    high = -torch.ones(4, 1, 3, HEIGHT, WIDTH)
    high[..., 1, 1:3] = VECTORS[:, None, :, None]
    mask = torch.zeros(4, 1, HEIGHT, WIDTH)
    mask[..., 1, 1:3] = 1
    target = torch.randint(2, (4, PIXELS, PIXELS), generator=random)
    target[:, 4 * HEIGHT :], target[:, :, 4 * WIDTH :] = 255, 255
    return EpisodeBatch(
        query_mid=torch.randn(4, 6, HEIGHT, WIDTH, generator=random),
        query_high=torch.randn(4, 3, HEIGHT, WIDTH, generator=random),
        query_valid=valid,
        support_mid=torch.zeros(4, 1, 6, HEIGHT, WIDTH),
        support_high=high,
        support_valid=torch.ones(4, 1, HEIGHT, WIDTH, dtype=torch.bool),
        support_mask=mask,
        key=torch.tensor([0 if left else 2**20 for left in AT_LEFT]),
        target=target,
        side=SIDE,
        class_index=CLASSES,
    )


def test_queries_stand_beside_the_least_alike_query_of_another_class():
    batch = made()
    paired = with_pairs(batch, align_corners=False)
    for name in ("query_mid", "query_high", "query_valid"):
        single, together = getattr(batch, name), getattr(paired, name)
        for row, other in enumerate(LEAST_ALIKE):
            first, second = (row, other) if AT_LEFT[row] else (other, row)
            assert torch.equal(together[row, ..., :WIDTH], single[first])
            assert torch.equal(together[row, ..., WIDTH:], single[second])


def test_the_other_photo_is_background_in_the_target():
    batch = made()
    paired = with_pairs(batch, align_corners=False)
    assert batch.target is not None
    assert paired.target is not None
    assert paired.target.shape == (4, 4 * HEIGHT, 8 * WIDTH)
    for row, other in enumerate(LEAST_ALIKE):
        own = batch.target[row, : 4 * HEIGHT, : 4 * WIDTH]
        nothing = torch.zeros_like(batch.target[other, : 4 * HEIGHT, : 4 * WIDTH])
        halves = (own, nothing) if AT_LEFT[row] else (nothing, own)
        assert torch.equal(paired.target[row], torch.cat(halves, 1))


def test_pixels_without_a_label_stay_without_in_either_photo():
    batch = made()
    assert batch.target is not None
    batch.target[:, 2:5, 3:9] = 255
    paired = with_pairs(batch, align_corners=False)
    assert paired.target is not None
    unknown = paired.target == 255
    assert unknown[:, 2:5, 3:9].all()
    assert unknown[:, 2:5, 4 * WIDTH + 3 : 4 * WIDTH + 9].all()
    assert unknown.sum() == 4 * 2 * 3 * 6


def test_supports_and_keys_stay():
    batch = made()
    paired = with_pairs(batch, align_corners=False)
    for name in ("support_mid", "support_high", "support_mask", "support_valid", "key"):
        assert getattr(paired, name) is getattr(batch, name)
    assert paired.side is None


def test_class_maps_show_the_classes_of_both_photos():
    batch = made()
    assert batch.target is not None
    maps = torch.where(batch.target == 1, CLASSES[:, None, None], batch.target)
    paired = with_pairs(replace(batch, query_classes=maps), align_corners=False)
    assert paired.query_classes is not None
    for row, other in enumerate(LEAST_ALIKE):
        single = [maps[one, : 4 * HEIGHT, : 4 * WIDTH] for one in (row, other)]
        halves = single if AT_LEFT[row] else single[::-1]
        assert torch.equal(paired.query_classes[row], torch.cat(halves, 1))


def test_targets_of_supports_lose_the_padding_of_the_square_grid():
    batch = made()
    assert batch.target is not None
    paired = with_pairs(replace(batch, support_target=batch.target[:, None]), align_corners=False)
    assert paired.support_target is not None
    expected = batch.target[:, None, : 4 * HEIGHT, : 4 * WIDTH]
    assert torch.equal(paired.support_target, expected)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("pixels", [24, 31])
def test_a_pixel_shows_what_lies_at_its_place_among_the_tokens(align_corners, pixels):
    batch = made()
    assert batch.target is not None
    target = torch.arange(pixels**2).view(1, pixels, pixels).repeat(4, 1, 1) + 1000
    paired = with_pairs(replace(batch, target=target), align_corners)
    assert paired.target is not None
    rows, columns = round(pixels * HEIGHT / SIDE), round(pixels * 2 * WIDTH / SIDE)
    assert paired.target.shape == (4, rows, columns)

    def place(pixel: int, count: int, tokens: int) -> float:
        """The position of a pixel among tokens."""
        if align_corners:
            return pixel * (tokens - 1) / (count - 1)
        return (pixel + 0.5) * tokens / count - 0.5

    singles = np.array([place(pixel, pixels, SIDE) for pixel in range(pixels)])
    for y in range(rows):
        for x in range(columns):
            at_y, at_x = place(y, rows, HEIGHT), place(x, columns, 2 * WIDTH)
            if at_x >= WIDTH - 0.5:
                at_x -= WIDTH
            if align_corners:
                at_x = min(max(at_x, 0), WIDTH - 1)
            found = int(paired.target[0, y, x]) - 1000
            for pixel, at in zip(divmod(found, pixels), (at_y, at_x), strict=True):
                assert abs(singles[pixel] - at) <= abs(singles - at).min() + 1e-9


def test_a_part_of_the_batches_is_paired():
    keys = torch.arange(1000)[:, None] * 1049 % 2**20
    classes = torch.tensor([1, 2])
    for part in (0.0, 0.3, 1.0):
        drawn = [are_paired(key.expand(2), classes, part) for key in keys]
        assert np.mean(drawn) == pytest.approx(part, abs=0.01)


def test_a_batch_of_one_class_is_not_paired():
    key = torch.zeros(3, dtype=torch.int64)
    assert not are_paired(key, torch.tensor([4, 4, 4]), 1.0)
    assert are_paired(key, torch.tensor([4, 4, 5]), 1.0)
