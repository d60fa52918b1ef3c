"""Episodes from cached features."""

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.cached import CachedEpisodes, collate
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.mask_split import SplitMasks
from umtfss.episodes.masks import ClassMaps, GroundTruthMasks, PseudoMasks
from umtfss.features.geometry import GridGeometry, mask_to_target, sampled_mask

SIZES = {"a/0": (40, 60), "a/1": (60, 30), "a/2": (60, 60), "b/3": (20, 60)}
CHANNELS = {"low": 3, "middle": 2, "top": 4}


class FakeStore:
    """Features whose values tell the image, the level and the place; tokens of 10 px."""

    geometry = GridGeometry(CHANNELS, 60, 10, 10, align_corners=False)

    def grid(self, image_id: str) -> tuple[int, int]:
        height, width = SIZES[image_id]
        return height // 10, width // 10

    def image_size(self, image_id: str) -> tuple[int, int]:
        return SIZES[image_id]

    def read(self, image_id: str, level: str) -> np.ndarray:
        h, w = self.grid(image_id)
        values = np.arange(h * w * CHANNELS[level]).reshape(h, w, -1)
        start = 1 + int(image_id[-1]) * 10 + list(CHANNELS).index(level)
        return (start + values / 1024).astype(np.float16)


class FakeCatalog:
    """Class 7 in the left half, 255 in the last row of pixels."""

    def image(self, qualified: str) -> np.ndarray:
        return np.full((*SIZES[qualified], 3), 9, np.uint8)

    def mask(self, qualified: str) -> np.ndarray:
        mask = np.zeros(SIZES[qualified], np.uint8)
        mask[:, : mask.shape[1] // 2] = 7
        mask[-1] = 255
        return mask


def episodes(count: int = 6) -> EpisodeList:
    rng = np.random.default_rng(0)
    rows = np.array([rng.permutation(4)[:3] for _ in range(count)])
    return EpisodeList(tuple(SIZES), rows[:, 0], np.full(count, 7), rows[:, 1:], "test/a")


def make(store: Any = None, **settings: Any) -> CachedEpisodes:
    masks = GroundTruthMasks(FakeCatalog())
    return CachedEpisodes(
        episodes(), store or FakeStore(), ["low", "middle"], "top", masks, **settings
    )


def same(one: EpisodeBatch, other: EpisodeBatch) -> bool:
    return all(
        torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b
        for a, b in zip(vars(one).values(), vars(other).values(), strict=True)
    )


def test_a_batch_is_padded_at_the_right_and_at_the_bottom() -> None:
    dataset = make(target_side=120)
    batch = collate([dataset[i] for i in range(len(dataset))])
    assert len(batch) == 6
    assert batch.query_mid.shape == (6, 5, 6, 6)
    assert batch.query_high.shape == (6, 4, 6, 6)
    assert batch.support_mid.shape == (6, 2, 5, 6, 6)
    assert batch.support_high.shape == (6, 2, 4, 6, 6)
    assert batch.support_valid.shape == batch.support_mask.shape == (6, 2, 6, 6)
    assert batch.query_mid.dtype == batch.support_mask.dtype == torch.float32
    assert batch.query_valid.dtype == batch.support_valid.dtype == torch.bool
    assert batch.target is not None
    assert batch.target.shape == (6, 120, 120)
    assert batch.target.dtype == batch.key.dtype == torch.int64
    store = FakeStore()
    for index, episode in enumerate(episodes()):
        h, w = store.grid(episode.query)
        mid = np.concatenate([store.read(episode.query, n) for n in ("low", "middle")], 2)
        got = batch.query_mid[index, :, :h, :w].permute(1, 2, 0)
        np.testing.assert_array_equal(got, mid.astype(np.float32))
        assert batch.query_mid[index, :, h:].abs().sum() == 0
        assert batch.query_mid[index, :, :, w:].abs().sum() == 0
        assert batch.query_valid[index].sum() == h * w
        assert batch.query_valid[index, :h, :w].all()
        for k, support in enumerate(episode.supports):
            h, w = store.grid(support)
            high = store.read(support, "top").astype(np.float32)
            got = batch.support_high[index, k, :, :h, :w].permute(1, 2, 0)
            np.testing.assert_array_equal(got, high)
            assert batch.support_valid[index, k].sum() == h * w
            expected = np.zeros((6, 6))
            expected[:h, : w // 2] = 1
            expected[:h, w // 2] = (w % 2) / 2
            np.testing.assert_allclose(batch.support_mask[index, k], expected, atol=1e-6)


def test_supports_show_single_pixels_and_padding_is_ignored() -> None:
    dataset = make(flip=1.0, target_side=12)
    batch = collate([dataset[i] for i in range(6)])
    assert batch.support_pixels is not None
    assert batch.support_pixels.shape == (6, 2, 2, 6, 6)
    assert batch.support_pixels.dtype == torch.uint8
    masks, store = GroundTruthMasks(FakeCatalog()), FakeStore()
    for index, episode in enumerate(episodes()):
        for k, support in enumerate(episode.supports):
            h, w = store.grid(support)
            expected = np.full((2, 6, 6), 255)
            expected[:, :h, :w] = sampled_mask(masks.mask(support, 7), (h, w), False)[..., ::-1]
            np.testing.assert_array_equal(batch.support_pixels[index, k], expected)


class TensorStore(FakeStore):
    """The same features as tensors, as those that lie on a device."""

    def read(self, image_id: str, level: str) -> torch.Tensor:  # type: ignore[override]
        return torch.from_numpy(super().read(image_id, level))


@pytest.mark.parametrize(("flip", "vertical_flip"), [(0, 0), (1, 0), (0, 1), (0.5, 0.5)])
def test_tensors_are_as_good_as_arrays(flip: float, vertical_flip: float) -> None:
    datasets = [
        make(store, flip=flip, vertical_flip=vertical_flip)
        for store in (TensorStore(), FakeStore())
    ]
    found, expected = (collate([one[row] for row in range(len(one))]) for one in datasets)
    for name in ("query_mid", "query_high", "support_mid", "support_high"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


@pytest.mark.parametrize("flip", [0.0, 0.5])
def test_supports_have_targets_only_if_asked_for(flip: float) -> None:
    """The target of a support is that of the query in an episode with the two exchanged."""
    assert collate([make(target_side=12)[0]]).support_target is None
    assert collate([make(support_target=True)[0]]).support_target is None  # nothing is trained
    dataset = make(target_side=12, support_target=True, flip=flip)
    for index in range(6):
        item, episode = dataset[index], episodes()[index]
        assert item.support_target is not None
        assert item.support_target.shape == (2, 12, 12)
        for k, support in enumerate(episode.supports):
            mask = GroundTruthMasks(FakeCatalog()).mask(support, 7)
            grid = FakeStore().grid(support)
            flips = dataset._flips(episode, f"support{k}")[0]
            expected = mask_to_target(mask[:, :: -1 if flips else 1], grid, 6, 12, False)
            np.testing.assert_array_equal(item.support_target[k], expected)


def test_the_grid_of_a_batch_is_the_smallest_that_holds_its_images() -> None:
    store, wide = FakeStore(), EpisodeList(tuple(SIZES), [0, 3], [7, 7], [[3], [0]], "test/a")
    masks = GroundTruthMasks(FakeCatalog())
    dataset = CachedEpisodes(wide, store, ["low"], "top", masks, target_side=12)
    batch = collate([dataset[0], dataset[1]])
    assert batch.query_mid.shape == (2, 3, 4, 6)
    assert batch.support_high.shape == (2, 1, 4, 4, 6)
    assert batch.query_valid.sum((1, 2)).tolist() == [24, 12]
    assert batch.side == 6
    assert batch.target is not None
    assert batch.target.shape == (2, 12, 12)


def test_the_target_is_the_query_mask_and_ignores_the_padding() -> None:
    dataset = make(target_side=60)
    for index, episode in enumerate(episodes()):
        target = dataset[index].target
        assert target is not None
        height, width = SIZES[episode.query]
        expected = np.full((60, 60), 255, np.uint8)
        expected[:height, :width] = GroundTruthMasks(FakeCatalog()).mask(episode.query, 7)
        np.testing.assert_array_equal(target, expected)
    assert make()[0].target is None


def test_a_flip_mirrors_tokens_and_masks_together() -> None:
    plain, flipped = make(target_side=60), make(target_side=60, flip=1.0)
    for index, episode in enumerate(episodes()):
        one, other = plain[index], flipped[index]
        pairs = zip((one.query, *one.supports), (other.query, *other.supports), strict=True)
        for before, after in pairs:
            for a, b in zip((*before.mid, before.high), (*after.mid, after.high), strict=True):
                np.testing.assert_array_equal(a[:, ::-1], b)
            np.testing.assert_array_equal(before.mask[:, ::-1], after.mask)
            np.testing.assert_array_equal(before.valid[:, ::-1], after.valid)
        assert one.target is not None
        assert other.target is not None
        width = SIZES[episode.query][1]
        np.testing.assert_array_equal(one.target[:, :width][:, ::-1], other.target[:, :width])


def test_flips_depend_on_seed_index_and_role_alone() -> None:
    half = make(flip=0.5, seed=3)
    again = make(flip=0.5, seed=3)
    backwards = [again[i] for i in reversed(range(6))][::-1]
    assert same(collate([half[i] for i in range(6)]), collate(backwards))
    assert not same(collate(backwards), collate([make(flip=0.5, seed=4)[i] for i in range(6)]))
    flips = {
        role: [half._flips(episode, role) for episode in episodes()]
        for role in ("query", "support0", "support1")
    }
    assert len({tuple(values) for values in flips.values()}) == 3
    assert not any(vertical for values in flips.values() for _, vertical in values)


def test_the_two_flips_are_drawn_apart() -> None:
    both = make(flip=0.5, vertical_flip=0.5)
    roles = ("query", "support0", "support1")
    drawn = [both._flips(episode, role) for episode in episodes(40) for role in roles]
    assert all(20 <= drawn.count((a, b)) <= 40 for a in (False, True) for b in (False, True))
    across = make(flip=0.5)
    again = [across._flips(episode, role) for episode in episodes(40) for role in roles]
    assert [one for one, _ in again] == [one for one, _ in drawn]


def test_loader_processes_change_nothing() -> None:
    pickle.loads(pickle.dumps(make()))
    settings = {"flip": 0.5, "target_side": 30, "seed": 1}
    alone, shared = (
        list(DataLoader(make(**settings), batch_size=2, collate_fn=collate, num_workers=n))
        for n in (0, 2)
    )
    assert len(alone) == 3
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))


def test_keys_differ_between_episodes_and_seeds() -> None:
    keys = {make(seed=seed)[i].key for seed in (0, 1) for i in range(6)}
    assert len(keys) == 12


def test_ground_truth_keeps_the_ignored_pixels() -> None:
    mask = GroundTruthMasks(FakeCatalog()).mask("a/0", 7)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1, 255}
    assert (mask[-1] == 255).all()
    assert (mask[:-1, :30] == 1).all()


def test_in_pseudo_masks_all_else_is_background() -> None:
    class Store:
        def label_map(self, image_id: str) -> np.ndarray:
            return np.array([[3, 3, 5], [255, 0, 3]], np.uint8)

    np.testing.assert_array_equal(PseudoMasks(Store()).mask("a/0", 3), [[1, 1, 0], [0, 0, 1]])


def test_an_image_larger_than_the_grid_is_refused() -> None:
    class Large(FakeStore):
        def grid(self, image_id: str) -> tuple[int, int]:
            return 7, 7

    dataset = CachedEpisodes(episodes(), Large(), ["low"], "top", GroundTruthMasks(FakeCatalog()))
    with pytest.raises(Exception, match="do not fit the padded grid"):
        dataset[0]


class Discs:
    """A disc of cluster 0 in every image, as large as fits."""

    def label_map(self, image_id: str) -> np.ndarray:
        height, width = SIZES[image_id]
        row, column = np.ogrid[:height, :width]
        inside = (row - height / 2) ** 2 + (column - width / 2) ** 2 < min(height, width) ** 2 / 4
        return np.where(inside, 0, 255).astype(np.uint8)


def split_episodes(**settings: Any) -> CachedEpisodes:
    rows = np.arange(24) % 4
    listed = EpisodeList(tuple(SIZES), rows, 0 * rows, rows[:, None], "train/a")
    masks = SplitMasks(PseudoMasks(Discs()), seed=0)
    return CachedEpisodes(listed, FakeStore(), ["low"], "top", masks, target_side=60, **settings)


def test_a_split_shows_the_whole_image_in_both_roles_and_half_a_mask_in_each() -> None:
    dataset = split_episodes()
    for index, episode in enumerate(dataset.episodes):
        item = dataset[index]
        (support,) = item.supports
        np.testing.assert_array_equal(item.query.mid[0], support.mid[0])
        assert item.query.mid[0].shape[:2] == FakeStore().grid(episode.query)
        assert item.query.valid.all()  # the support's half is visible to the model
        assert support.valid.all()
        height, width = SIZES[episode.query]
        assert item.target is not None
        target, outside = item.target[:height, :width], item.target.copy()
        outside[:height, :width] = 255
        assert (outside == 255).all()
        assert {0, 1, 255} == set(np.unique(target))
        # tokens of 10 px: the support's half is 255 in the query, and nothing else is
        held = (target == 255).reshape(height // 10, 10, width // 10, 10).mean((1, 3))
        np.testing.assert_allclose(support.mask, held, atol=1e-6)
        queried = (target == 1).reshape(height // 10, 10, width // 10, 10).mean((1, 3))
        assert not ((queried > 0.5) & (support.mask > 0.5)).any()


def test_splits_are_the_same_in_every_process() -> None:
    alone, shared = (
        list(
            DataLoader(
                split_episodes(flip=0.5, vertical_flip=0.5),
                batch_size=4,
                collate_fn=collate,
                num_workers=n,
            )
        )
        for n in (0, 2)
    )
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))


def test_class_maps_are_read_only_if_asked_for() -> None:
    assert collate([make(target_side=12)[0]]).query_classes is None
    maps = ClassMaps(GroundTruthMasks(FakeCatalog()), (3, 7))
    assert collate([make(class_maps=maps)[0]]).query_classes is None  # nothing is trained
    dataset = make(target_side=12, class_maps=maps, flip=0.5)
    batch = collate([dataset[index] for index in range(6)])
    assert batch.target is not None
    assert batch.query_classes is not None
    assert batch.query_classes.dtype == torch.int64
    expected = torch.where(batch.target == 1, 2, batch.target)  # class 7 is the second
    assert torch.equal(batch.query_classes, expected)
    assert batch.class_index is not None
    assert batch.class_index.tolist() == [2] * 6
