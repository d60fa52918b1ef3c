"""Augmented episodes and features computed on the fly."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as nnf
from torch.utils.data import DataLoader

from umtfss.backbones.extractor import Extractor, prepare_image
from umtfss.common.randomness import generator
from umtfss.episodes.augment import viewed
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.live import (
    OUTSIDE,
    Featuriser,
    LiveBatch,
    LiveEpisodes,
    augmented,
    collate_live,
    recoloured,
)
from umtfss.episodes.mask_split import SplitMasks
from umtfss.episodes.masks import ClassMaps, GroundTruthMasks, PseudoMasks
from umtfss.experiment.augment import AugmentConfig
from umtfss.experiment.backbones import BackboneSpec
from umtfss.features.geometry import GridGeometry
from umtfss.features.live import LiveFeatures

MEAN = [0.2, 0.4, 0.6]
STILL = AugmentConfig(flip=0, scale_min=1, scale_max=1, rotate=0, blur=0)
SIZES = {"a/0": (60, 90), "a/1": (90, 50), "a/2": (90, 90)}


class Network(nn.Module):
    """Averages patches of 10 px; levels are the colours and their double."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        pooled = nnf.avg_pool2d(images, 10)
        return {"one": pooled, "two": 2 * pooled}


def extractor() -> Extractor:
    spec = BackboneSpec(
        name="fake",
        title="fake",
        stride=10,
        multiple=10,
        align_corners=False,
        mean=(0.2, 0.4, 0.6),
        std=(1, 1, 1),
        channels={"one": 3, "two": 3},
        pixel_flop={},
        token_flop={},
        source=None,
        official="",
    )
    return Extractor(spec, ["one", "two"], Network(), "digest")


class Catalog:
    """A red square of class 4 on black, its border ignored."""

    def image(self, qualified: str) -> np.ndarray:
        image = np.zeros((*SIZES[qualified], 3), np.uint8)
        image[20:40, 10:30, 0] = 255
        return image

    def mask(self, qualified: str) -> np.ndarray:
        mask = np.zeros(SIZES[qualified], np.uint8)
        mask[18:42, 8:32] = 255
        mask[20:40, 10:30] = 4
        return mask


def episodes() -> EpisodeList:
    return EpisodeList(tuple(SIZES), [0, 1, 2, 0], [4] * 4, [[1, 2], [2, 0], [0, 1], [2, 1]], "t")


def make(
    augment: AugmentConfig, seed: int = 0, class_maps: ClassMaps | None = None
) -> LiveEpisodes:
    catalog = Catalog()
    return LiveEpisodes(
        episodes(),
        catalog,
        GroundTruthMasks(catalog),
        extractor=extractor(),
        long_side=95,
        augment=augment,
        seed=seed,
        class_maps=class_maps,
    )


def augment_one(settings: AugmentConfig, key: int = 0, pixels: int = 90) -> tuple[Tensor, Tensor]:
    catalog = Catalog()
    image, place, mask = augmented(
        catalog.image("a/0"),
        GroundTruthMasks(catalog).mask("a/0", 4),
        settings,
        pixels=pixels,
        random=generator("test", key),
    )
    return view_of(image, place), mask


def view_of(image: Tensor, place: Tensor) -> Tensor:
    return viewed(image[None], place[None], 90, torch.tensor(MEAN).view(1, 3, 1, 1))[0]


def test_without_augmentation_the_image_is_padded_with_the_mean() -> None:
    image, mask = augment_one(STILL)
    catalog = Catalog()
    expected = catalog.image("a/0").transpose(2, 0, 1) / 255
    np.testing.assert_allclose(image[:, :60], expected, atol=1e-4)
    np.testing.assert_allclose(image[:, 60:], np.broadcast_to(np.c_[MEAN][..., None], (3, 30, 90)))
    np.testing.assert_array_equal(mask[:60], GroundTruthMasks(catalog).mask("a/0", 4))
    assert (mask[60:] == OUTSIDE).all()
    assert type(image) is type(mask) is Tensor


@pytest.mark.parametrize(
    "changes",
    [
        {"scale_min": 0.9, "scale_max": 1.1},
        {"rotate": 1.0},
        {"flip": 1.0},
        {"blur": 1.0},
        {"jitter": 1.0},
    ],
)
def test_image_and_mask_move_together(changes: dict[str, float]) -> None:
    """The square is red exactly where the mask says foreground; only the border is ignored."""
    plain, _ = augment_one(STILL)
    for key in range(5):
        image, mask = augment_one(STILL.model_copy(update=changes), key)
        assert image.shape == (3, 90, 90)
        assert mask.shape == (90, 90)
        assert set(mask.unique().tolist()) == {0, 1, OUTSIDE, 255}
        red = image[0] > 0.5
        inner = nnf.avg_pool2d((mask == 1).float()[None], 3, 1, 1)[0] == 1
        assert red[inner].all()
        assert not red[mask == 0].any()
        assert not torch.equal(image, plain)


def test_blur_is_five_by_five() -> None:
    image, _ = augment_one(STILL.model_copy(update={"blur": 1.0}))
    row = image[0, 30]
    changed = ((row > 1e-4) & (row < 1 - 1e-4)).nonzero().flatten().tolist()
    assert changed == [8, 9, 10, 11, 28, 29, 30, 31]


def test_probabilities_are_probabilities() -> None:
    settings = STILL.model_copy(update={"flip": 0.3})
    plain, _ = augment_one(STILL)
    flipped = sum(not torch.equal(augment_one(settings, key)[0], plain) for key in range(200))
    assert 40 <= flipped <= 80


def colourful() -> np.ndarray:
    return np.random.default_rng(0).integers(30, 220, (60, 90, 3), dtype=np.uint8)


def test_a_vertical_flip_turns_image_and_mask() -> None:
    mask = np.zeros((60, 90), np.uint8)
    mask[5:20, 10:80] = 1
    for flip in (0, 1):
        settings = STILL.model_copy(update={"vertical_flip": flip})
        image, place, labels = augmented(
            colourful(), mask, settings, pixels=90, random=generator("test")
        )
        image = view_of(image, place)
        step = 1 - 2 * flip
        expected = colourful()[::step].transpose(2, 0, 1) / 255
        np.testing.assert_allclose(image[:, :60], expected, atol=1e-4)
        np.testing.assert_array_equal(labels[:60], mask[::step])
        assert (labels[60:] == OUTSIDE).all()  # the padding stays below


def test_colours_change_and_places_do_not() -> None:
    settings = AugmentConfig()
    for key in range(5):
        _, plain = augment_one(settings, key)
        for changes in ({"jitter": 1.0}, {"gray": 1.0}):
            _, mask = augment_one(settings.model_copy(update=changes), key)
            assert torch.equal(mask, plain)


def test_gray_has_no_colour_and_jitter_another_one_every_time() -> None:
    gray = recoloured(colourful(), STILL.model_copy(update={"gray": 1.0}), generator("test"))
    assert gray.dtype == np.uint8
    assert (gray == gray[:, :, :1]).all()
    settings = STILL.model_copy(update={"jitter": 1.0})
    drawn = [recoloured(colourful(), settings, generator("test", key)) for key in range(20)]
    assert len({one.tobytes() for one in drawn}) == 20
    np.testing.assert_array_equal(drawn[3], recoloured(colourful(), settings, generator("test", 3)))
    for one in drawn:
        assert one.dtype == np.uint8
        assert one.shape == (60, 90, 3)
        assert 5 < np.abs(one.astype(int) - colourful()).mean() < 60
    still = generator("test")
    assert recoloured(colourful(), STILL, still) is not drawn[0]
    np.testing.assert_array_equal(recoloured(colourful(), STILL, still), colourful())


def test_colours_are_changed_with_their_probabilities() -> None:
    settings = STILL.model_copy(update={"jitter": 0.3, "gray": 0.4})
    drawn = [recoloured(colourful(), settings, generator("test", key)) for key in range(200)]
    assert 55 <= sum((one == one[:, :, :1]).all() for one in drawn) <= 105
    assert 60 <= sum(np.array_equal(one, colourful()) for one in drawn) <= 110  # 0.7 x 0.6


def test_augmentation_draws_the_same_numbers_whatever_is_switched_on() -> None:
    catalog, after = Catalog(), set()
    mask = GroundTruthMasks(catalog).mask("a/0", 4)
    for settings in (STILL, AugmentConfig(flip=1, vertical_flip=1, jitter=1, gray=1)):
        random = generator("test", 7)
        augmented(catalog.image("a/0"), mask, settings, pixels=90, random=random)
        after.add(random.random())
    assert len(after) == 1


def test_halves_survive_the_augmentation() -> None:
    """255 stays 255, foreground stays foreground, and each role is augmented in its own way."""

    class Store:
        def label_map(self, image_id: str) -> np.ndarray:
            labels = np.full(SIZES[image_id], 255, np.uint8)
            labels[15:45, 10:40] = 0
            return labels

    settings = AugmentConfig(
        scale_min=1, scale_max=1.41, crop_foreground=0, rotate=1, rotate_degrees=90,
        vertical_flip=0.5, jitter=0.5, gray=0.4,
    )  # fmt: skip
    rows = np.arange(12) % 3
    dataset = LiveEpisodes(
        EpisodeList(tuple(SIZES), rows, 0 * rows, rows[:, None], "t"),
        Catalog(),
        SplitMasks(PseudoMasks(Store()), seed=0),
        extractor=extractor(),
        long_side=95,
        augment=settings,
    )

    def area(pixels: Tensor) -> Tensor:
        return pixels.float().unflatten(2, (9, 10)).unflatten(1, (9, 10)).mean((2, 4))

    batch = collate_live([dataset[index] for index in range(12)])
    query, support = batch.masks[:, 0], batch.masks[:, 1]
    assert set(query.unique().tolist()) == {0, 1, OUTSIDE, 255}
    assert set(support.unique().tolist()) == {0, 1, OUTSIDE}
    assert not any(torch.equal(a, b) for a, b in zip(*batch.images.unbind(1), strict=True))
    made = Featuriser(extractor(), ["one"], "two", target_side=90)(batch)
    assert made.target is not None
    assert torch.equal(made.target == 1, query == 1)
    assert torch.equal(made.target == 255, (query == 255) | (query == OUTSIDE))
    # the model sees the support's half: only what lies outside the image is not valid
    assert torch.equal(made.query_valid, area(query != OUTSIDE) >= 0.5)
    assert (made.query_valid & (area(query == 255) == 1)).any()


def test_batches_depend_on_seed_and_index_alone() -> None:
    settings = AugmentConfig()
    alone, shared = (
        list(DataLoader(make(settings), batch_size=2, collate_fn=collate_live, num_workers=n))
        for n in (0, 2)
    )
    for one, other in zip(alone, shared, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.masks, other.masks)
        assert torch.equal(one.key, other.key)
        assert torch.equal(one.places, other.places)
    assert alone[0].images.dtype == torch.uint8
    assert alone[0].masks.shape == (2, 3, 90, 90)
    assert not torch.equal(make(settings, seed=1)[0].places, alone[0].places[0])


def test_features_masks_and_targets_share_one_grid() -> None:
    batch = collate_live([make(STILL)[i] for i in range(4)])
    made = Featuriser(extractor(), ["one", "two"], "two", target_side=180)(batch)
    assert made.query_mid.shape == (4, 6, 9, 9)
    assert made.support_high.shape == (4, 2, 3, 9, 9)
    assert made.query_valid[0].sum() == 6 * 9
    assert made.query_valid[1].sum() == 9 * 5
    assert made.target is not None
    assert made.target.shape == (4, 180, 180)
    assert made.target.dtype == torch.int64
    square = torch.zeros(9, 9)
    square[2:4, 1:3] = 1  # its border is ignored, so the neighbours are background
    for b, k in ((0, 0), (2, 1)):
        assert torch.equal(made.support_mask[b, k] > 0.5, square > 0)
        np.testing.assert_allclose(made.support_mask[b, k], square, atol=1e-6)
    assert (made.target[0, 120:] == 255).all()
    assert (made.target[0, 40:80, 20:60] == 1).all()
    assert (made.target[0] == 1).sum() == 1600
    assert made.support_target is None
    assert made.support_pixels is not None
    assert made.support_pixels.shape == (4, 2, 2, 9, 9)
    centre, corner = made.support_pixels[0, 0]
    assert torch.equal(centre == 1, square > 0)  # the pixel at (5, 5) of each token of 10 px
    labels = batch.masks[0, 1][::10, ::10]
    assert torch.equal(corner, labels.masked_fill(labels == OUTSIDE, 255))
    asked = Featuriser(extractor(), ["one", "two"], "two", 180, support_target=True)(batch)
    assert asked.support_target is not None
    swapped = replace(batch, masks=batch.masks.flip(1))  # support 1 takes the query's place
    twin = Featuriser(extractor(), ["one", "two"], "two", 180)(swapped)
    assert torch.equal(asked.support_target[:, 1], twin.target)
    np.testing.assert_array_equal(made.key, batch.key)


def test_masks_are_exact_in_mixed_precision() -> None:
    batch = collate_live(
        [make(STILL.model_copy(update={"scale_min": 0.9, "scale_max": 1.1}))[i] for i in range(4)]
    )
    featuriser = Featuriser(extractor(), ["one"], "two", target_side=180)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = featuriser(batch)
    assert torch.equal(mixed.support_mask, featuriser(batch).support_mask)


def test_ignored_support_tokens_are_not_valid() -> None:
    masks = torch.zeros(1, 2, 20, 20, dtype=torch.uint8)
    masks[0, 1, :10, :10] = 255
    masks[0, 1, :10, 10:] = OUTSIDE
    masks[0, 1, 10:, :7] = 255
    masks[0, 1, 10:, 7:10] = 1
    batch = LiveBatch(torch.rand(1, 2, 3, 20, 20), masks, torch.tensor([1]), torch.tensor([1]))
    made = Featuriser(extractor(), ["one"], "two", target_side=20)(batch)
    assert made.support_valid.tolist() == [[[[False, False], [False, True]]]]
    assert made.support_mask.sum() == 0
    assert made.query_valid.all()


@pytest.mark.parametrize(("mid", "high", "whole"), [
    (["one"], "two", False), (["one"], "two", True), (["one", "two"], "two", True),
    (["two"], "one", True),
])  # fmt: skip
def test_of_supports_high_features_are_read_at_the_object_alone(
    monkeypatch: pytest.MonkeyPatch, mid: list[str], high: str, whole: bool
) -> None:
    """Unless a model reads background, or a mid feature or a deeper level needs the others."""
    asked: list[Tensor | None] = []
    network = extractor()

    def remembered(images: Tensor, read: Tensor | None = None) -> dict[str, Tensor]:
        asked.append(read)
        return network.network(images)

    monkeypatch.setattr(network, "forward", remembered)
    batch = collate_live([make(AugmentConfig())[i] for i in range(3)])
    batch.masks[0, 1] = 0  # the object is not in the crop
    batch.masks[1, 2] = 1
    token = batch.masks[2, 1, 10:20, 10:20]  # most of it is ignored, its centre is foreground
    token[:] = 255
    token[:7, 5:] = 1
    is_read = whole and mid == ["one"]  # by the model
    featuriser = Featuriser(network, mid, high, 90, whole_support=is_read)
    made, (read,) = featuriser(batch), asked
    if whole:
        assert read is None
        return
    assert read is not None
    assert read.shape == (3 + 6, 9, 9)
    assert read[:3].all()
    supports = read[3:].unflatten(0, (3, 2))
    assert supports[made.support_mask > 0].all()
    assert supports[2, 0, 1, 1]
    assert not made.support_valid[2, 0, 1, 1]
    assert not supports[0, 0].any()
    assert supports[1, 1].all()
    assert not supports.flatten(2).all(2)[:, 0].any()


def test_a_batch_has_the_features_of_its_own_images() -> None:
    """Queries pass the backbone before all supports; each comes back to its place."""
    batch = collate_live([make(AugmentConfig())[i] for i in range(4)])
    made = Featuriser(extractor(), ["one"], "two", target_side=90)(batch)
    for row in range(4):
        for role in range(3):
            assert batch.places is not None
            one = viewed(batch.images[row, role : role + 1], batch.places[row, role : role + 1],
                         90, torch.tensor(MEAN).view(1, 3, 1, 1))  # fmt: skip
            levels = extractor()(one)
            mid = made.support_mid[row, role - 1] if role else made.query_mid[row]
            high = made.support_high[row, role - 1] if role else made.query_high[row]
            torch.testing.assert_close(mid, levels["one"][0], atol=1e-5, rtol=0)
            torch.testing.assert_close(high, levels["two"][0], atol=1e-5, rtol=0)


def test_live_features_look_like_a_store() -> None:
    live, catalog = LiveFeatures(extractor(), Catalog(), 95), Catalog()
    assert live.geometry == GridGeometry({"one": 3, "two": 3}, 95, 10, 10, align_corners=False)
    for image_id, size in SIZES.items():
        assert live.image_size(image_id) == size
        assert live.grid(image_id) == (size[0] // 10, size[1] // 10)
        image = prepare_image(catalog.image(image_id), extractor(), 95)[None]
        mean = torch.tensor(MEAN).view(1, 3, 1, 1)
        expected = 2 * nnf.avg_pool2d(image - mean, 10)[0].permute(1, 2, 0)
        got = live.read(image_id, "two")
        assert got.dtype == np.float16
        np.testing.assert_allclose(got, expected, atol=2e-3)


def test_live_features_are_computed_once_for_all_levels_and_sizes() -> None:
    backbone, calls = extractor(), []
    backbone.network.register_forward_hook(lambda *_: calls.append(1))
    live = LiveFeatures(backbone, Catalog(), 95)
    for image_id in SIZES:
        live.read(image_id, "one")
        live.grid("a/0")
        live.read(image_id, "two")
    assert len(calls) == 3


def test_class_maps_are_augmented_as_the_masks() -> None:
    """The episode's class covers its mask; a further class 2 is none of the codes of a mask."""

    class Maps(GroundTruthMasks):
        def class_map(self, image_id: str, classes: Sequence[int]) -> np.ndarray:
            mask = self.mask(image_id, 4)
            return np.where(mask == 0, 2, mask).astype(np.uint8)

    settings = AugmentConfig(vertical_flip=0.5)
    plain = make(settings)
    maps = ClassMaps(Maps(Catalog()), (4, 5))
    dataset = make(settings, class_maps=maps)
    items = [dataset[index] for index in range(4)]
    for index, item in enumerate(items):
        assert torch.equal(item.masks, plain[index].masks)
        assert plain[index].classes is None
    batch = collate_live(items)
    query = batch.masks[:, 0]
    assert batch.classes is not None
    assert (query == OUTSIDE).any()
    expected = query.masked_fill(query == 0, 2).masked_fill(query == OUTSIDE, 255)
    assert torch.equal(batch.classes, expected)
    made = Featuriser(extractor(), ["one"], "two", 90)(batch)
    assert made.query_classes is not None
    assert made.target is not None
    assert torch.equal(made.query_classes == 1, made.target == 1)
    assert torch.equal(made.query_classes == 2, made.target == 0)
    assert torch.equal(made.query_classes == 255, made.target == 255)
    assert made.class_index is not None
    assert made.class_index.tolist() == [maps.index(dataset.episodes[i].class_id) for i in range(4)]
    without = Featuriser(extractor(), ["one"], "two", 90)(collate_live([plain[0]]))
    assert without.query_classes is None
    assert without.class_index is not None
    assert without.class_index.tolist() == [dataset.episodes[0].class_id]
