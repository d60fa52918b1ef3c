"""Episodes from cached features."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from umtfss.backbones.extractor import Extractor
from umtfss.backbones.facts import BackboneFacts
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.geometry import mask_to_target, sampled_mask
from umtfss.episodes.live import Featuriser, LiveBatch
from umtfss.episodes.loader import CachedEpisodes, GroundTruthMasks, PseudoMasks, collate
from umtfss.episodes.mask_split import SplitMasks
from umtfss.features.extract import extract_features
from umtfss.features.settings import ViewConfig
from umtfss.features.store import FeatureStore
from umtfss.features.views import crop, uncropped_image, view_mask
from umtfss.randomness import generator

SIZES = {"a/0": (40, 60), "a/1": (60, 30), "a/2": (60, 60), "b/3": (20, 60)}
CHANNELS = {"low": 3, "middle": 2, "top": 4}


class FakeStore:
    """Features whose values tell the image, the level and the place; tokens of 10 px."""

    channels, long_side, stride, multiple, align_corners = CHANNELS, 60, 10, 10, False

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


def make(**settings: object) -> CachedEpisodes:
    masks = GroundTruthMasks(FakeCatalog())
    return CachedEpisodes(episodes(), FakeStore(), ["low", "middle"], "top", masks, **settings)  # type: ignore[arg-type]


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


class Pooled(nn.Module):
    """The colours of patches, or around the pixels of tokens where corners are aligned."""

    def __init__(self, align: bool) -> None:
        super().__init__()
        self.align = align

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        size, padding = (3, 1) if self.align else (10, 0)
        pooled = F.avg_pool2d(images, size, 10, padding)
        return {"low": pooled, "middle": 2 * pooled, "top": 3 * pooled}


class Pictures:
    """Random images and labels; a data set and a catalog."""

    name = "a"

    def image(self, image_id: str) -> np.ndarray:
        height, width = SIZES["a/" + image_id.removeprefix("a/")]
        random = np.random.default_rng(height + width)
        return random.integers(0, 256, (height, width, 3), dtype=np.uint8)

    def mask(self, qualified: str) -> np.ndarray:
        mask = np.zeros(SIZES[qualified], np.uint8)
        mask[12:30, 8:25] = 7
        mask[30:36, 8:25] = 255
        return mask


ANY_VIEW = ViewConfig(scale_min=0.8, scale_max=1.3, rotate_degrees=25, rotate=0.8)


def augmented_episodes(
    folder: Path, align: bool = False, views: int = 1, **settings: Any
) -> tuple[CachedEpisodes, Extractor]:
    facts = BackboneFacts(
        name="fake",
        title="fake",
        stride=10,
        multiple=10,
        align_corners=align,
        mean=(0.2, 0.4, 0.6),
        std=(1, 1, 1),
        channels={"low": 3, "middle": 3, "top": 3},
        pixel_flop={},
        token_flop={},
        source=None,
        official="",
    )
    extractor = Extractor(facts, ["low", "middle", "top"], Pooled(align), "digest")
    names = ["a/0", "a/1", "a/2"]
    stores = [
        FeatureStore([
            extract_features(
                Pictures(), names, extractor, 61, folder / str(view), source="", batch_size=2,
                view=view, augment=ANY_VIEW, progress=False,
            )
        ])
        for view in range(views + 1)
    ]  # fmt: skip
    rows = [(i % 3, (i + 1) % 3) for i in range(24)]
    listed = EpisodeList(tuple(names), [q for q, _ in rows], [7] * 24, [[s] for _, s in rows], "t")
    masks = GroundTruthMasks(Pictures())
    dataset = CachedEpisodes(
        listed, stores[0], ["low", "middle"], "top", masks, views=stores[1:], **settings
    )
    return dataset, extractor


def number(dataset: CachedEpisodes, index: int, role: str) -> int:
    return int(generator("view", dataset.seed, index, role).integers(len(dataset.views) + 1))


@pytest.mark.parametrize("align", [False, True])
def test_a_cached_view_is_what_the_live_path_makes_of_its_geometry(
    tmp_path: Path, align: bool
) -> None:
    dataset, extractor = augmented_episodes(tmp_path, align, target_side=120)
    featuriser = Featuriser(extractor, ["low", "middle"], "top", 120)
    pixels, pictures, compared = (61 if align else 60), Pictures(), 0
    masks = GroundTruthMasks(pictures)
    for index in range(len(dataset)):
        if not (number(dataset, index, "query") and number(dataset, index, "support0")):
            continue
        episode, item = dataset.episodes[index], dataset[index]
        images, labels = [], []
        for image_id in (episode.query, *episode.supports):
            view = dataset.views[0].view(image_id)
            assert view is not None
            whole = uncropped_image(pictures.image(image_id), view, pixels, [0.2, 0.4, 0.6])
            images.append(crop(whole, view, pixels))
            labels.append(torch.from_numpy(view_mask(masks.mask(image_id, 7), view, pixels)))
        live = featuriser(
            LiveBatch(torch.stack(images)[None], torch.stack(labels)[None], torch.tensor([0]))
        )
        h, w = item.query.valid.shape
        cached = torch.from_numpy(np.concatenate(item.query.mid, 2)).float()
        torch.testing.assert_close(
            cached, live.query_mid[0, :, :h, :w].permute(1, 2, 0), atol=2e-3, rtol=2e-3
        )
        np.testing.assert_array_equal(item.query.valid, live.query_valid[0, :h, :w])
        assert live.query_valid[0].sum() == item.query.valid.sum()
        (support,) = item.supports
        h, w = support.valid.shape
        np.testing.assert_array_equal(support.valid, live.support_valid[0, 0, :h, :w])
        np.testing.assert_allclose(support.mask, live.support_mask[0, 0, :h, :w], atol=1e-5)
        assert live.support_valid[0].sum() == support.valid.sum()
        assert item.target is not None
        assert live.target is not None
        seen = item.target != 255
        np.testing.assert_array_equal(item.target[seen], live.target[0].numpy()[seen])
        # what is missing is less than half a token at the right and at the bottom
        assert seen.sum() > 0.85 * (live.target[0] != 255).sum()
        compared += 1
    assert compared >= 4


def test_views_are_drawn_alike_and_none_is_the_plain_image(tmp_path: Path) -> None:
    dataset, _ = augmented_episodes(tmp_path, views=2, seed=1)
    roles = [(index, role) for index in range(24) for role in ("query", "support0")]
    drawn = [number(dataset, *one) for one in roles]
    assert all(8 <= drawn.count(view) <= 24 for view in range(3))
    for index in range(24):
        episode, (support,) = dataset.episodes[index], dataset[index].supports
        view = number(dataset, index, "support0")
        source = dataset.views[view - 1] if view else dataset.store
        np.testing.assert_array_equal(support.high, source.read(episode.supports[0], "top"))


def test_a_view_that_lost_the_foreground_is_not_shown(tmp_path: Path) -> None:
    """All of it is asked for, and then the plain image is the only one that has it for certain."""
    dataset, _ = augmented_episodes(tmp_path, views=2, target_side=60, keep=10.0)
    plain, _ = augmented_episodes(tmp_path, views=0, target_side=60)
    for index in range(24):
        assert same(collate([dataset[index]]), collate([plain[index]]))


@pytest.mark.parametrize("split", [False, True])
def test_flipped_views_mirror_tokens_masks_and_target(tmp_path: Path, split: bool) -> None:
    plain, _ = augmented_episodes(tmp_path, views=2, target_side=120)
    across, _ = augmented_episodes(tmp_path, views=2, target_side=120, flip=1.0)
    down, _ = augmented_episodes(tmp_path, views=2, target_side=120, vertical_flip=1.0)
    if split:
        for dataset in (plain, across, down):
            dataset.masks = SplitMasks(dataset.masks, seed=0)  # type: ignore[arg-type]
    for index in range(24):
        for flipped, axis in ((across, 1), (down, 0)):
            one, other = plain[index], flipped[index]
            pairs = zip((one.query, *one.supports), (other.query, *other.supports), strict=True)
            for before, after in pairs:
                np.testing.assert_array_equal(np.flip(before.high, axis), after.high)
                np.testing.assert_array_equal(np.flip(before.mask, axis), after.mask)
                np.testing.assert_array_equal(np.flip(before.valid, axis), after.valid)
            assert one.target is not None
            assert other.target is not None
            h, w = (20 * side for side in one.query.valid.shape)  # px that the tokens cover
            mirrored = np.flip(one.target[:h, :w], axis)
            np.testing.assert_array_equal(mirrored, other.target[:h, :w])
            assert (one.target[:h, :w] == 1).any()


def test_loader_processes_draw_the_same_views(tmp_path: Path) -> None:
    dataset, _ = augmented_episodes(tmp_path, views=2, target_side=60, flip=0.5)
    alone, shared = (
        list(DataLoader(dataset, batch_size=4, collate_fn=collate, num_workers=n)) for n in (0, 2)
    )
    assert all(same(a, b) for a, b in zip(alone, shared, strict=True))
