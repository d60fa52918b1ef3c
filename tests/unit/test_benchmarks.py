"""`make bench` at tiny sizes, and that the paths it compares do the same."""

import subprocess
import sys
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as nnf
from PIL import Image
from torch import nn

from umtfss.backbones import winograd
from umtfss.backbones.extractor import Extractor
from umtfss.backbones.resnet import ResNet, freeze
from umtfss.common.digests import code_closure
from umtfss.common.files import PACKAGE_ROOT

sys.path.append(str(PACKAGE_ROOT))  # benchmarks/ is not part of the installed package

from benchmarks import (
    growth,
    learning_curves,
    live_photos,
    own_photos,
    photo_curves,
    prototypes,
    scenes,
    wrong_supports,
)
from benchmarks.live import Pairs
from benchmarks.measure import growth_exponent, measure
from benchmarks.paths import (
    VOC_BEST,
    VOC_CPU,
    CachedRun,
    Learning,
    Setting,
    SimulatedTokens,
    fit_by_autograd,
    random_episodes,
    transductive_task,
    vote_by_loop,
)
from benchmarks.plain import PlainRun, plain_layers
from benchmarks.report import Goal
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.live import Featuriser, LiveBatch
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import FoldResult, RunResult, save_results
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.evaluation import RefineConfig
from umtfss.experiment.load import load_experiment
from umtfss.experiment.model import ModelConfig
from umtfss.models.build import build_model
from umtfss.models.layers.deformable_attention import DeformableAttention
from umtfss.models.layers.transduction import fit
from umtfss.pseudo_masks.superpixels import majority_vote

TINY = Setting(
    {"layer2": 512, "layer3": 1024, "layer4": 2048},
    65,
    8,
    True,
    ModelConfig(width=16, heads=2, layers=1, dropout=0, mid_dropout=0, head_dropout=0),
    (45, 60),
)


def test_the_plain_run_imports_nothing_of_the_live_path():
    sources = [f"benchmarks/{name}.py" for name in ("plain", "paths", "measure")]
    closure = {path.relative_to(PACKAGE_ROOT).as_posix() for path in code_closure(*sources)}
    live = {"umtfss/episodes/live.py", "umtfss/features/live.py", "umtfss/backbones/resnet.py"}
    assert "umtfss/episodes/cached.py" in closure
    assert not closure & live


def test_speeds_are_medians_of_pairs():
    found = Pairs("task", own=[1.0, 2.0, 4.0], plain=[3.0, 3.0, 40.0], goal=3)
    assert found.speeds == [3, 1.5, 10]
    assert (found.row()["times"], found.row()["verdict"]) == ("3.00", "met")


def test_the_live_bench_writes_both_tasks(tmp_path):
    table, command = tmp_path / "live.csv", [sys.executable, "-m", "benchmarks.live", "--quick"]
    subprocess.run([*command, "--profile", "--out", str(table)], cwd=PACKAGE_ROOT, check=True)
    rows = pd.read_csv(table)
    assert [task.partition(",")[0].split()[1] for task in rows.task] == ["training", "test"]
    assert (rows.times > 0).all()


def test_quick_run_writes_tables_and_plot(tmp_path):
    command = [sys.executable, "-m", "benchmarks.run", "--quick", "--out", str(tmp_path)]
    printed = subprocess.run(
        command, check=True, cwd=PACKAGE_ROOT, capture_output=True, text=True
    ).stdout
    names = ("goals", "paths", "growth")
    goals, paths, growth = (pd.read_csv(tmp_path / f"{name}.csv") for name in names)
    assert len(goals) == 9
    assert set(goals.verdict) == {"not measured"}  # tiny sizes judge nothing
    assert (paths.seconds > 0).all()
    for task, of in paths.groupby("task"):
        assert task.startswith("fp32") or of.path.str.startswith("umtfss").any()
    assert set(growth["size"]) == {"tokens", "prototypes", "images", "batch", "shots"}
    assert (tmp_path / "benchmarks.png").stat().st_size > 10_000
    assert "exponent" in printed


def test_plain_training_and_testing_equal_the_fast_ones():
    """The same features, weights and episode: the same gradients, logits and counts."""
    plain, model = PlainRun(TINY), TINY.learner()
    for module in model.modules():
        if isinstance(module, DeformableAttention):  # at whole offsets the gradient has a kink
            nn.init.constant_(module.offsets.bias, 0.3)
    replica = plain_layers(deepcopy(model))
    assert not any(type(m).__module__ == "umtfss.common.onednn" for m in replica.modules())
    assert plain.test(model).intersection == plain.test(replica).intersection
    for one in (model, replica):
        Learning(one).step(plain.episode())
    for (name, fast), slow in zip(model.named_parameters(), replica.parameters(), strict=True):
        assert fast.grad is not None, name
        torch.testing.assert_close(fast.grad, slow.grad, atol=1e-5, rtol=1e-3, msg=name)


@pytest.mark.parametrize("whole_support", [True, False])
def test_the_live_path_gives_the_logits_of_the_plain_one(monkeypatch, whole_support):
    """A frozen network, one pass for all images: fp32 logits to 1e-4, gradients to 1e-3."""
    monkeypatch.setattr(winograd, "LEAST_TILES", 1)  # as at the paper's size
    monkeypatch.setattr(winograd, "LEAST_FILLED", 0)
    plain, model = PlainRun(TINY, shots=2), TINY.learner().eval()
    assert not model.reads_high_background
    for module in plain.backbone.modules():
        if isinstance(module, nn.BatchNorm2d):  # as of a trained network, whose maps stay small
            nn.init.uniform_(module.weight, 0.2, 0.6)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
    network = ResNet(tuple(TINY.channels), "layer4", dilated=True)
    network.network.load_state_dict(plain.backbone.network.state_dict(), strict=False)
    freeze(network)
    extractor = Extractor(backbone_spec("resnet50"), tuple(TINY.channels), network, "random")
    disc = torch.from_numpy(plain.label)[None, None]
    masks = nnf.interpolate(disc, (TINY.pixels, TINY.pixels)).expand(1, 3, -1, -1)
    featuriser = Featuriser(
        extractor, TINY.mid, TINY.high, TINY.pixels, whole_support=whole_support
    )
    live = featuriser(LiveBatch(plain.images[None], masks, *torch.zeros(2, 1, dtype=torch.int64)))
    assert live.support_high[0, 0, :, 0, 0].any() == whole_support  # a corner is background
    expected = plain.episode()
    given = {name: getattr(live, name) for name in ("query_mid", "query_high", "support_mid",
             "support_high")}  # fmt: skip
    results = []
    for batch in (replace(expected, **given), expected):
        model.zero_grad()
        logits = model(batch)
        model.loss(logits, batch.target).backward()
        gradients = [p.grad / p.grad.abs().max() for p in model.parameters() if p.grad.any()]
        results.append((logits.detach(), *gradients))
    assert len(results[1]) > 20
    assert results[1][0].std() > 0.01
    for index, (found, wanted) in enumerate(zip(*results, strict=True)):
        torch.testing.assert_close(found, wanted, atol=1e-3 if index else 1e-4, rtol=0)


def test_bf16_predicts_almost_the_same(tmp_path, native_bf16):
    run, model = CachedRun(TINY, tmp_path, 4), TINY.learner()
    full, half = (run.test(model, 4, amp) for amp in ("off", "bf16"))
    np.testing.assert_allclose(half.union, full.union, rtol=0.05)


def test_cached_step_trains(tmp_path):
    run, model = CachedRun(TINY, tmp_path, 4), TINY.learner()
    before = [parameter.clone() for parameter in model.parameters()]
    run.train_step(Learning(model), 2, "off")
    changed = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert np.mean(changed) > 0.9


def test_voc_best_has_the_sizes_of_the_experiment():
    experiment = load_experiment("voc_best")
    assert experiment.model.changed({}) == VOC_BEST.model
    assert experiment.evaluation.refine == VOC_BEST.refine
    assert experiment.diffused["diffused"].width == VOC_BEST.channels["diffused"]


def test_voc_cpu_has_the_sizes_of_the_experiment():
    experiment = load_experiment("voc_cpu")
    lite2 = experiment.extracted["lite2"]
    assert experiment.model.changed({}) == VOC_CPU.model
    assert {*lite2.mid, lite2.level} == {*VOC_CPU.mid}
    channels = backbone_spec(lite2.backbone).channels
    assert [channels[level] for level in lite2.mid] == [VOC_CPU.channels[one] for one in lite2.mid]
    assert backbone_spec(lite2.backbone).grid(400, 400) == (VOC_CPU.grid, VOC_CPU.grid)


def test_affinities_written_out_are_the_fused_ones():
    setting = Setting({"a": 6, "b": 8, "high": 8}, 96, 16, False, TINY.model)
    own, plain = setting.learner("catrans"), plain_layers(setting.learner("catrans"))
    batch = random_episodes(6, [6, 8], 2)
    torch.testing.assert_close(plain(batch), own(batch), atol=1e-5, rtol=1e-4)
    assert type(plain.levels[0].query_affinity).__name__ == "PlainAffinity"


def test_transductive_inference_by_autograd_is_the_closed_form():
    task = transductive_task(6, 8)
    own, plain = fit(task), fit_by_autograd(task)
    torch.testing.assert_close(plain.weight, own.weight, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(plain.bias, own.bias, atol=1e-5, rtol=1e-4)


def test_the_superpixels_of_a_setting_are_used(tmp_path):
    found = []
    for part in (0.0, 1.0):
        setting = replace(TINY, refine=RefineConfig(superpixels=part))
        run = CachedRun(setting, tmp_path / str(part), 4)
        found.append(run.test(TINY.learner(), 4, "off"))
    assert not np.array_equal(found[0].union, found[1].union)


def test_votes_agree():
    random = np.random.default_rng(0)
    labels = random.integers(5, size=(30, 40)).astype(np.uint8)
    superpixels = random.integers(20, size=(30, 40))
    np.testing.assert_array_equal(
        majority_vote(labels, superpixels), vote_by_loop(labels, superpixels)
    )


def test_simulated_tokens_are_the_same_when_read_again():
    store = SimulatedTokens(3, 5, 7)
    np.testing.assert_array_equal(store.read("1", "level"), store.read("1", "level"))
    assert store.read("2", "level").shape == (*store.grid("2"), 7)


def test_measurement_counts_items_and_memory():
    found = measure(lambda: np.ones(2**24).sum(), items=4, repeats=2)
    assert found.seconds > 0
    if sys.platform == "linux":
        assert found.megabytes > 100


def test_exponent_of_a_power_law():
    assert growth_exponent([1, 2, 8], [3, 12, 192]) == pytest.approx(2)


@pytest.mark.parametrize(
    ("measured", "at_least", "verdict"),
    [(0.5, False, "met"), (2, False, "MISSED"), (2, True, "met"), (None, True, "not measured")],
)
def test_verdict(measured, at_least, verdict):
    assert Goal("x", 1, measured, at_least).verdict == verdict


def test_a_learning_curve_is_the_mean_over_folds_and_drawings(tmp_path):
    table = tmp_path / "curves.csv"
    rows = [
        "1,net,,,0,40,41,42,43",
        "1,net,80,0.35,100,60,61,62,63",
        "2,net,80,0.35,100,64,65,66,67",
        "1,net,80,0.35,25,50,50,50,50",
        "1,net,30,none,25,10,20,30,40",
    ]
    table.write_text("\n".join([",".join(learning_curves.COLUMNS), *rows]) + "\n")
    assert learning_curves.read_curves(table) == {
        "net": {
            "floor": {0: 41.5},
            "80 clusters, features at 0.35": {25: 50.0, 100: 63.5},
            "30 clusters, features as they come": {25: 25.0},
        }
    }
    learning_curves.draw_curves(table, tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.size == (504, 408)


def scores(hits):
    """Ten episodes of two classes, of 10 px objects of which `hits` are found."""
    classes, hits = np.arange(10) % 2 + 1, np.full(10, hits)
    return EpisodeScores(classes, hits, np.full(10, 10), np.full(10, 90))


def keep(folder, attention, seed, hits):
    arm = prototypes.Arm("toys", prototypes.GUIDED, attention, seed)
    save_results(
        arm.file(folder),
        {0: {0: scores(hits)}},
        classes={0: [1, 2]},
        facts={"attention": attention},
    )


def test_a_study_of_prototypes_goes_on_with_the_seeds_that_both_arms_have(tmp_path):
    for seed, hits in enumerate((6, 8)):
        keep(tmp_path, prototypes.TEN, seed, hits)
    keep(tmp_path, prototypes.ONE, 1, 5)
    found = {row.measured: row for row in prototypes.table(tmp_path, range(5))}
    assert set(found) == {prototypes.TEN, prototypes.ONE, "K_fg 10 - K_fg 1"}
    assert (found[prototypes.TEN].mean, found[prototypes.TEN].seeds) == (70, 2)
    assert found[prototypes.TEN].low < 70 < found[prototypes.TEN].high
    difference = found["K_fg 10 - K_fg 1"]
    assert (difference.mean, difference.seeds) == (30, 1)
    prototypes.draw(list(found.values()), tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.size == (1600, 600)


def small_batch(row):
    """An episode of 6 x 6 tokens with a 2 x 2 object, whose mask starts at a row."""
    random = torch.Generator().manual_seed(0)
    mid, high = (torch.randn(2, 1, channels, 6, 6, generator=random) for channels in (12, 10))
    valid, mask = torch.ones(1, 6, 6, dtype=torch.bool), torch.zeros(1, 1, 6, 6)
    mask[..., row : row + 2, 1:3] = 1
    return EpisodeBatch(
        query_mid=mid[0],
        query_high=high[0],
        query_valid=valid,
        support_mid=mid[1:],
        support_high=high[1:],
        support_valid=valid[None],
        support_mask=mask,
        key=torch.ones(1, dtype=torch.int64),
    )


@pytest.mark.parametrize(
    ("guidance", "attention", "reads"),
    [
        (prototypes.GUIDED, prototypes.NONE, True),
        (prototypes.UNGUIDED, prototypes.TEN, True),
        (prototypes.UNGUIDED, prototypes.NONE, False),
    ],
)
def test_the_mask_reaches_the_query_by_guidance_or_by_attention(guidance, attention, reads):
    model = build_model("umtfss", TINY.model, [12])
    model = prototypes.ablated(model, guidance, attention).eval()
    one, other = (model(small_batch(row)) for row in (0, 3))
    assert torch.equal(one, other) != reads


@pytest.mark.parametrize(
    ("pixels", "expected"),
    [
        ({0: 4, 7: 1, 255: 9}, "alone"),
        ({7: 3, 2: 2, 255: 9}, "smaller"),
        ({7: 3, 2: 2, 20: 2}, "smaller"),
        ({7: 3, 2: 3}, "greater"),
        ({7: 3, 20: 5, 2: 1}, "greater"),
    ],
)
def test_a_scene_is_named_by_the_largest_other_class(pixels, expected):
    label_map = np.concatenate([np.full(count, one, np.uint8) for one, count in pixels.items()])
    share = pixels[7] / sum(pixels.values())
    assert scenes.scene(label_map[None], class_id=7) == (expected, share)


def test_the_computed_part_of_layer4_counts_the_boxes_of_its_blocks():
    side, pixels = live_photos.backbone_spec("resnet50").grid(473, 473)[0], 473
    everything = torch.ones(pixels, pixels, dtype=torch.uint8)
    assert live_photos.computed_part(everything, side) == 1
    assert live_photos.computed_part(0 * everything, side) == 0
    mask = 0 * everything
    mask[160:240, 80:400] = 1  # px of the tokens 20 to 30 and 10 to 50
    squares = [9 / 4 * 512**2 + 512 * 2048] * 2 + [9 / 4 * 512**2 + 512 * 2048 + 1024 * 2048]
    before = [2048 * 512, 2048 * 512, 1024 * 512]
    tokens = [11 * 41, 19 * 49, 27 * 57, 31 * 60]  # of a box that grows by 4, 4 and 2
    pairs = zip((*squares, *before), (*tokens[:3], *tokens[1:]), strict=True)
    expected = sum(products * count for products, count in pairs)
    found = live_photos.computed_part(mask, side)
    assert found == pytest.approx(expected / (side**2 * (sum(squares) + sum(before))))


def test_a_scene_keeps_its_episodes():
    kinds = {(1, 0): np.array(["alone", "greater", "alone"]), (1, 1): np.array(["greater"])}
    counts = {0: np.array([3, 4, 5]), 1: np.array([6])}
    of_fold = FoldResult(1, {seed: EpisodeScores(*[one] * 4) for seed, one in counts.items()})
    result = scenes.of_scene(RunResult({}, {1: of_fold}), kinds, "greater")
    assert result.folds[1].pooled().union.tolist() == [4, 6]


def test_wrong_supports_are_those_of_the_episode_before():
    masks = torch.arange(wrong_supports.BATCH, dtype=torch.float32)[:, None, None, None]
    batch = replace(
        small_batch(0),
        query_mid=masks.clone(),
        support_mask=masks.clone(),
        support_mid=masks[:, None].clone(),
    )

    class Echo(torch.nn.Module):
        def forward(self, seen):
            assert torch.equal(seen.query_mid, batch.query_mid)
            assert torch.equal(seen.support_mask, seen.support_mid[:, 0])
            return seen.support_mask

    shown = wrong_supports.WithOtherSupports(Echo())(batch).flatten().tolist()
    assert shown == [wrong_supports.before(row) for row in range(wrong_supports.BATCH)]
    assert wrong_supports.before(2 * wrong_supports.BATCH) == 3 * wrong_supports.BATCH - 1


@pytest.mark.parametrize("own", [True, False])
def test_queries_stand_beside_those_of_the_episode_before(own):
    count = wrong_supports.BATCH
    photos = torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(-1, 2, 2, 3)
    batch = replace(
        small_batch(0),
        query_mid=photos,
        query_high=photos,
        query_valid=torch.ones(count, 2, 3, dtype=torch.bool),
        support_mask=photos[:, :1],
        side=None,
    )

    class Both(torch.nn.Module):
        def forward(self, seen):
            return 100 * seen.support_mask[..., :1] + seen.query_mid

    shown = wrong_supports.Beside(Both(), own)(batch)
    assert shown.shape == (count, 2, 2, 3)
    before = [wrong_supports.before(row) for row in range(count)]
    for row in range(count):
        supports = row if own else before.index(row)  # a photo lies beside one query
        assert (shown[row] == 100 * supports + row).all()


def test_curves_on_photos_are_drawn_beside_the_floors(tmp_path):
    rows = [
        {"trained_on": "floor", "features": "vit", "steps": 0, "own_iou": "", "mean": "38.00"},
        {"trained_on": "pixels", "features": "lite2", "steps": 100, "own_iou": "0.1", "mean": "9"},
        {"trained_on": "pixels", "features": "lite2", "steps": 200, "own_iou": "0.2", "mean": "19"},
    ]
    picture = tmp_path / "curves.png"
    photo_curves.draw_curves(rows, picture)
    with Image.open(picture) as image:
        assert image.size == (624, 408)


def test_iou_of_own_photos_pools_the_pixels_that_are_not_ignored():
    found = [np.array([[True, True, False, True]]), np.array([[True, False]])]
    masks = [np.array([[7, 0, 7, 255]]), np.array([[7, 255]])]
    assert own_photos.pooled_iou(found, masks, 7) == pytest.approx(2 / 4)


IMAGES = 60  # of a made-up world


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """The folder of a made-up world."""
    return tmp_path_factory.mktemp("growth") / "world"


@pytest.mark.parametrize("part", ["data", "clustering: pixels", "episodes, 1,000"])
def test_the_growth_of_a_part_is_measured(drawn, part):
    row = growth.once(part, drawn, IMAGES)
    assert (row.part, row.images) == (part, IMAGES)
    assert row.seconds > 0


def test_made_up_images_differ_from_each_other(drawn):
    index = growth.world(drawn, IMAGES).index(growth.TRAIN)
    assert len(index.image_ids) == len(set(index.digests)) == IMAGES


def test_the_exponent_of_a_part_is_that_of_its_times():
    rows = [growth.Row("data", size, 3e-6 * size**1.5, 0) for size in (500, 5_000, 50_000)]
    assert growth.exponent(rows) == pytest.approx(1.5)


def test_rows_of_other_parts_stay(tmp_path):
    rows = [growth.Row("data", 500, 0.25, 1.5), growth.Row("data", 5_000, 2.5, 12.0)]
    growth.write_rows(tmp_path / "arrows.csv", rows)
    assert growth.read_rows(tmp_path / "arrows.csv") == rows
    assert "data,5000,2.5,12,1.00" in (tmp_path / "arrows.csv").read_text()
