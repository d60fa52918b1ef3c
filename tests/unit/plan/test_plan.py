"""From tables to distinct runs."""

import re
from itertools import chain
from typing import Any

import pytest
import yaml

from umtfss.common.errors import ConfigError
from umtfss.common.files import PACKAGE_ROOT
from umtfss.data.splits import ClassPresence
from umtfss.experiment.features import WeightsConfig
from umtfss.experiment.load import load_experiment
from umtfss.experiment.schema import Experiment
from umtfss.experiment.training import TrainingConfig
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.plan.plan import Plan, table_names
from umtfss.plan.run import RunSpec, TaskSource

CLUSTERS, SALIENCY, LABELS = TaskSource.CLUSTERS, TaskSource.SALIENCY, TaskSource.LABELS

FLOOR_PATH = "prototype/training_free+features=pair+margin=0.0+self_support=False"

MATCHER_PATH = "prototype/training_free"


def with_features(experiment: Experiment, name: str, **changes: Any) -> Plan:
    """The plan of an experiment with other settings of its named features."""
    one = experiment.features[name].model_copy(update=changes)
    return Plan(experiment.model_copy(update={"features": {**experiment.features, name: one}}))


@pytest.fixture(scope="module")
def paper() -> Plan:
    return Plan(load_experiment("paper"))


def test_the_default_run_is_shared_and_not_repeated(paper):
    default = RunSpec("umtfss", "pascal", CLUSTERS)
    assert default.path == "pascal/umtfss/unsup-all/seed0"
    # Table 4's cell (50, 100); in Table 5 the row `all`, by both metrics: four folds and the mean.
    assert paper.runs.sharing[default] == 1 + 2 * 5
    assert len(paper.runs.trained_runs) == len(set(paper.runs.trained_runs))


def test_number_of_runs_of_the_paper(paper):
    unlabelled = [run for run in paper.runs.trained_runs if run.tasks is CLUSTERS]
    tables = paper.experiment.tables
    models, competitors = len(tables.table2.models), len(tables.table6.listed_models)
    # Grid 25, of which one is the default; COCO vanilla; every model on COCO; 4 folds of each set.
    assert len(unlabelled) == 25 + 1 + models + 4 + 4
    assert len([run for run in paper.runs.trained_runs if run.tasks is SALIENCY]) == 2 * (1 + 4)
    labelled = [run for run in paper.runs.trained_runs if run.tasks is LABELS]
    # Table 2: models x 4 folds x 4 ratios x 2 starts; Table 1 is part of it; Table 6 adds COCO.
    assert len(labelled) == models * 4 * 4 * 2 + 4 * 4 + competitors * 4
    assert len(unlabelled) + len(labelled) + 10 == len(paper.runs.trained_runs)


def test_a_fine_tuned_run_needs_the_run_that_it_starts_from(paper):
    run = RunSpec("umtfss", "coco", LABELS, 1, ratio=5, init="coco")
    assert run.path == "coco/umtfss/sup-fold1/seed0+labels=5+init=coco"
    assert run.initial == RunSpec("umtfss", "coco", CLUSTERS)
    inputs = paper.inputs.training_inputs(run)
    assert inputs["initial"] == ["results/paper/training/coco/umtfss/unsup-all/seed0/manifest.json"]
    assert inputs["episodes"].endswith("episodes/train/coco/sup-fold1-labels5-seed0.json")
    assert inputs["masks"] == []
    assert paper.runs.training_settings(run).epochs == 50
    assert all(r.initial in paper.runs.trained_runs for r in paper.runs.trained_runs if r.initial)


# The effective peak rates of the public releases; from scratch on PASCAL,
# UMTFSS has CyCTR's. (rate, epochs, batch)
@pytest.mark.parametrize(
    ("model", "pool", "tasks", "init", "expected"),
    [
        ("umtfss", "pascal", CLUSTERS, "", (0.03, 200, 4)),
        ("umtfss", "coco", CLUSTERS, "", (0.15, 20, 32)),
        ("pfenet", "pascal", CLUSTERS, "", (0.025, 200, 4)),
        ("pfenet", "coco", CLUSTERS, "", (0.2, 20, 32)),
        ("cyctr", "pascal", CLUSTERS, "", (0.0375, 200, 4)),
        ("cyctr", "coco", CLUSTERS, "", (0.3, 20, 32)),
        ("umtfss", "pascal", LABELS, "", (0.0375, 200, 4)),
        ("cyctr", "pascal", LABELS, "", (0.0375, 200, 4)),
        ("pfenet", "pascal", LABELS, "", (0.025, 200, 4)),
        ("pfenet", "coco", LABELS, "", (0.2, 50, 32)),
        ("umtfss", "pascal", LABELS, "coco", (0.0015, 100, 4)),
        ("pfenet", "pascal", LABELS, "coco", (0.0015, 100, 4)),
        ("umtfss", "coco", LABELS, "coco", (0.0375, 50, 16)),
    ],
)
def test_paper_trains_at_the_rates_of_the_releases(paper, model, pool, tasks, init, expected):
    stage = paper.runs.training_settings(RunSpec(model, pool, tasks, init=init))
    rate = stage.sgd_lr * stage.lr_multiplier
    assert (pytest.approx(rate), stage.epochs, stage.batch_size) == expected
    assert stage.adamw_lr == 1e-4


def test_masksplit_has_the_length_of_its_release(paper):
    for pool in ("pascal", "coco"):
        stage = paper.runs.split_stage(pool)
        assert stage == paper.runs.training_settings(RunSpec("masksplit", pool, SALIENCY))
        assert (stage.epochs, stage.batch_size, stage.augment.gray) == (100, 16, 0.4)
        assert (stage.optimiser, stage.decay, stage.warmup_steps) == ("adam", "constant", 0)
        assert (stage.adamw_lr, stage.adamw_weight_decay) == (1e-4, 1e-5)
        assert paper.runs.training_settings(RunSpec("umtfss", pool, CLUSTERS)).augment.gray == 0


def test_scratch_and_fine_tuning_have_stages_of_their_own(paper):
    stages = {
        "supervised": {"coco": TrainingConfig(steps=3)},
        "fine_tuning": {"coco": TrainingConfig(steps=5)},
    }
    plan = Plan(paper.experiment.model_copy(update=stages))
    scratch, tuned = (RunSpec("umtfss", "coco", LABELS, 1, init=i) for i in ("", "coco"))
    assert plan.runs.training_settings(scratch).steps == 3
    assert plan.runs.training_settings(tuned).steps == 5


def test_a_run_that_only_others_start_from_is_planned_and_shown_nowhere(tmp_path):
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/demo.yaml").read_text())
    raw["tables"] = {"table2": {**raw["tables"]["table2"], "models": ["umtfss"]}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    plan = Plan(load_experiment(str(tmp_path / "mine.yaml")))
    initial = RunSpec("umtfss", "shapes", CLUSTERS)
    assert initial in plan.runs.trained_runs
    assert {run.tasks for run in plan.runs.trained_runs if run != initial} == {LABELS}
    masks = (plan.paths.pseudo_masks("shapes", suffix) for suffix in (".h5", ".json"))
    assert plan.mask_files == sorted(chain(*masks))


def test_superpixels_of_test_images_are_made_for_steps_that_ask():
    plan = Plan(load_experiment("voc_best"), ["headline"])
    made = plan.paths.superpixels("pascal", "val", ".json")
    assert len(set(made)) == plan.experiment.extraction.shards
    for spec in plan.runs.evaluations_of(plan.runs.table_named("headline")):
        asks = spec.refine == ("superpixels",)
        assert asks == (spec.run.features == "")  # the floor does not
        assert plan.inputs.evaluation_inputs(spec)["superpixels"] == (made if asks else [])
    assert set(made) < set(plan.mask_files)


def test_overrides_stand_in_the_path_only_where_they_differ(paper):
    paths = {run.path for run in paper.runs.trained_runs}
    assert "pascal/umtfss/unsup-all/seed0+k_fg=1" in paths
    assert "pascal/umtfss/unsup-all/seed0+k_bg=1+k_fg=1" in paths
    assert not any("k_fg=50" in path or "k_bg=100" in path for path in paths)


def test_a_run_is_found_by_its_path(paper):
    for run in paper.runs.trained_runs:
        assert paper.runs.run_at(run.path) == run
    with pytest.raises(ConfigError, match="no table"):
        paper.runs.run_at("pascal/umtfss/unsup-all/seed9")


def test_asking_for_one_table_selects_but_does_not_change(paper):
    only = Plan(paper.experiment, ["table4"])
    assert {run.pool for run in only.runs.trained_runs} == {"pascal"}
    assert only.runs.evaluations == paper.runs.evaluations
    with pytest.raises(ConfigError, match="no table 'table9'"):
        Plan(paper.experiment, ["table9"])


def test_the_panel_does_not_depend_on_the_tables_asked_for(paper):
    only = Plan(paper.experiment, ["table4"])
    assert only.runs.main_run == paper.runs.main_run == RunSpec("umtfss", "coco", CLUSTERS)
    names = ["clusters-pascal.png", "clusters-pascal.pdf", "clusters-pascal-purity.json",
             "table4_heatmap.png", "table4_heatmap.pdf"]  # fmt: skip
    assert only.figures == [f"results/paper/figures/{name}" for name in names]


def test_the_report_shows_the_floor_where_a_table_tests_it():
    demo = load_experiment("demo")
    whole, some = Plan(demo).report_inputs, Plan(demo, ["table3"]).report_inputs
    (tested,) = whole["floor"]
    assert tested == "results/demo/evaluation/prototype/training_free/shapes-1shot.json"
    assert (
        whole["results"]
        == some["results"]
        == [f"results/demo/evaluation/{Plan(demo).runs.main_run.path}/shapes-1shot.json"]
    )
    assert whole["claims"] == ["results/demo/tables/claims.json"]
    assert some["claims"] == []
    assert len(some["tables"]) == 1


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        (4, ["table4"]),
        ("headline, 3", ["headline", "table3"]),
        (["4", "table5"], ["table4", "table5"]),
        ([], []),
        ("", []),
    ],
)
def test_tables_are_asked_for_by_name_or_number(asked, names):
    assert table_names(asked) == names


def test_without_tables_every_pool_is_trained_once(tmp_path):
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/demo.yaml").read_text())
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({**raw, "tables": {}}))
    plan = Plan(load_experiment(str(tmp_path / "mine.yaml")))
    run = RunSpec("umtfss", "shapes", CLUSTERS)
    assert plan.runs.trained_runs == [run] == [plan.runs.run_at(run.path)] == [plan.runs.main_run]
    pictures = ["clusters-shapes.png", "clusters-shapes.pdf", "clusters-shapes-purity.json"]
    assert plan.figures == [f"results/mine/figures/{name}" for name in pictures]
    assert plan.report_inputs["figures"] == plan.figures[:1]
    assert plan.report_inputs["episodes"] == plan.report_inputs["tables"] == []
    assert plan.indexes == ["results/mine/data/shapes/train.json"]
    assert [cache.split for cache in plan.feature_caches] == ["train"]


def test_an_evaluation_covers_the_folds_and_seeds_of_every_table(paper):
    fold_run = paper.runs.evaluations["pascal/umtfss/unsup-fold2/seed0/pascal-1shot.json"]
    assert fold_run.folds == (2,)
    default = paper.runs.evaluations["pascal/umtfss/unsup-all/seed0/pascal-1shot.json"]
    assert (default.folds, default.seeds) == ((0, 1, 2, 3), 5)  # Table 4 asks for one seed only


def test_settings_of_a_run_hold_its_overrides(paper):
    run = paper.runs.run_at("pascal/umtfss/unsup-all/seed0+k_bg=1+k_fg=1")
    assert (
        paper.runs.model_settings(run).umtfss.k_fg,
        paper.runs.model_settings(run).umtfss.k_bg,
    ) == (1, 1)
    assert paper.runs.training_settings(run).epochs == 200


def test_live_features_need_no_cache_for_the_model(paper):
    assert {cache.features for cache in paper.feature_caches} == {"moco", "moco_large"}


def test_a_key_that_the_matcher_does_not_read_is_no_setting_of_its_runs():
    experiment = load_experiment("voc_best")
    model = experiment.model.model_copy(update={"width": 64, "layers": 7})
    before, after = Plan(experiment), Plan(experiment.model_copy(update={"model": model}))
    run = RunSpec("prototype")
    assert before.runs.model_settings(run) == after.runs.model_settings(run)
    assert before.runs.model_settings(before.runs.main_run) != after.runs.model_settings(
        before.runs.main_run
    )


@pytest.mark.parametrize(
    ("block", "key", "value"),
    [
        ("model", "width", 256),
        ("clustering", "iterations", 9),
        ("pseudo_masks", "min_area", 7),
        ("episodes", "max_border", 0.7),
    ],
)
def test_what_decides_weights_is_behind_them(block, key, value):
    experiment = load_experiment("voc_best")
    changed = getattr(experiment, block).model_copy(update={key: value})
    before, after = Plan(experiment), Plan(experiment.model_copy(update={block: changed}))
    run = before.runs.main_run
    assert (
        TrainModel.of_run(before, run).made_with()[block]
        != TrainModel.of_run(after, run).made_with()[block]
    )


@pytest.mark.parametrize(
    ("name", "key", "value", "changed"),
    [
        ("pair", "mirrored", False, {"model"}),
        ("diffused", "channels", 8, {"model"}),
        ("vit", "long_side", 224, {"clustering", "pseudo_masks"}),
    ],
)
def test_the_features_of_clusters_and_model_are_behind_weights(name, key, value, changed):
    experiment = load_experiment("voc_best")
    before, after = Plan(experiment), with_features(experiment, name, **{key: value})
    one, other = (
        TrainModel.of_run(plan, before.runs.main_run).made_with()["features"]
        for plan in (before, after)
    )
    assert one.keys() == {"model", "clustering", "pseudo_masks"}
    assert {block for block in one if one[block] != other[block]} == changed


def test_a_name_of_features_decides_nothing():
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/voc_best.yaml").read_text())
    text = yaml.safe_dump(raw)
    for name in ("pair", "diffused"):
        text = text.replace(f"features: {name}", f"features: {name}2")
        text = text.replace(f"{name}:", f"{name}2:").replace(f"from: {name}", f"from: {name}2")
    before, after = (
        Plan(Experiment.model_validate({**one, "name": "mine"}))
        for one in (raw, yaml.safe_load(text))
    )
    run = before.runs.main_run
    assert list(after.experiment.features) != list(before.experiment.features)
    assert TrainModel.of_run(before, run).made_with() == TrainModel.of_run(after, run).made_with()


def test_only_live_features_are_decided_by_how_they_are_computed(paper):
    weights = {"resnet50": WeightsConfig(source="/elsewhere.pth")}
    run = paper.runs.main_run
    other = with_features(paper.experiment, "resnet", weights=weights).features.model_features(run)
    assert paper.features.model_features(run).live.weights == {}
    assert other.live.weights == weights
    cached = Plan(load_experiment("voc_best"))
    mirrored = with_features(cached.experiment, "pair", mirrored=False)
    run = cached.runs.run_at(FLOOR_PATH)
    assert cached.features.model_features(run) == mirrored.features.model_features(run)


def test_clusters_and_model_share_one_cache_of_named_features():
    plan = Plan(load_experiment("demo"))
    assert [one.features for one in plan.feature_caches] == ["lite2", "lite2"]
    assert [one.split for one in plan.feature_caches] == ["train", "val"]
    assert plan.features.extracted("lite2").levels == ("block14", "block20")
    assert plan.features.channels("lite2") == {"block14": 120, "block20": 352}


def test_diffused_features_are_caches_of_their_own():
    plan = Plan(load_experiment("voc_best"))
    assert {(one.features, *one.images) for one in plan.feature_caches} == {
        ("vit", "pascal", "train"),
        *(("pair", photos, "all") for photos in ("coco", "imagenet")),
        *((name, "pascal", split) for split in ("train", "val") for name in ("pair", "diffused")),
    }
    assert plan.inputs.features_before("diffused", "pascal", "val", "1") == (
        "results/voc_best/features/pair/pascal/val/shard1/manifest.json"
    )
    assert len(plan.inputs.mapped_features("diffused")) == 3 * 4  # splits, shards
    assert plan.paths.diffusion_map("diffused") == "results/voc_best/features/diffused/diffusion.h5"
    assert "results/voc_best/data/imagenet/all.json" in plan.indexes


def test_without_diffused_runs_nothing_is_diffused():
    plan = Plan(load_experiment("voc_best"), ["headline"])
    floor = plan.runs.run_at(FLOOR_PATH)
    assert plan.features.source_caches(plan.inputs.tested_caches(floor, "pascal")) == set()


def test_a_run_may_read_other_features_than_the_model():
    plan = Plan(load_experiment("voc_best"))
    floor, matcher = map(
        plan.features.model_features, map(plan.runs.run_at, (FLOOR_PATH, MATCHER_PATH))
    )
    assert (floor.mid, floor.high, floor.mid_channels) == (["fused"], "fused", [736])
    assert (matcher.mid, matcher.high) == (["diffused"], "diffused")
    assert matcher.mid_channels == [384]  # 256 of a place, 128 of the kept part
    settings = plan.runs.model_settings(plan.runs.run_at(FLOOR_PATH)).prototype
    assert (settings.self_support, settings.margin) == (False, 0)
    frozen = next(run for run in plan.runs.trained_runs if run.features == "pair")
    folders = {path.split("/")[3] for path in plan.inputs.training_inputs(frozen)["features"]}
    assert folders == {"pair"}
    assert plan.experiment.clustered_features("objects") == "vit"
    assert plan.experiment.assigned_features("objects") == "vit"


def test_the_floor_of_an_experiment_without_diffusion_is_the_plain_matcher(paper):
    runs = {spec.run for spec in paper.runs.evaluations.values() if spec.run.model == "prototype"}
    assert runs == {RunSpec("prototype")}


def test_no_two_outputs_share_a_path(paper):
    paths = [paper.paths.evaluation(spec) for spec in paper.runs.evaluations.values()]
    paths += [paper.paths.training_folder(run) for run in paper.runs.trained_runs]
    paths += paper.paths.feature_manifests(paper.feature_caches) + paper.episode_files
    assert len(paths) == len(set(paths))
    assert all(path.startswith("results/paper/") for path in paths)


def test_a_run_is_tested_with_and_without_a_step_on_its_score():
    plan = Plan(load_experiment("voc_best"), ["ablation"])
    run = plan.runs.run_at("objects/umtfss/unsup-all/seed0")
    own = [spec for spec in plan.runs.evaluations.values() if (spec.run, spec.shot) == (run, 1)]
    specs = {spec.refine: spec for spec in own}
    assert {refine: plan.paths.evaluation(spec) for refine, spec in specs.items()} == {
        (): f"results/voc_best/evaluation/{run.path}/pascal-1shot.json",
        ("superpixels",): f"results/voc_best/evaluation/{run.path}/pascal-1shot-superpixels.json",
    }
    for spec in specs.values():
        assert plan.inputs.evaluation_inputs(spec)["weights"] == plan.paths.training_manifest(run)
    assert plan.runs.panel.refine == ("superpixels",)
    assert all("superpixels" not in run.path for run in plan.runs.trained_runs)


def test_a_fold_trains_on_the_images_of_its_base_classes(paper):
    assert paper.runs.fold_classes("pascal", "all") is None
    assert paper.paths.fold_indexes("pascal", "all") == []
    base = paper.runs.fold_classes("pascal", "fold3")
    assert base == {"pascal": ClassPresence(tuple(range(1, 16)), 2048)}
    assert paper.paths.fold_indexes("pascal", "fold3") == ["results/paper/data/pascal/train.json"]


@pytest.mark.parametrize("test_split", ["val", "train"])
def test_every_split_that_is_learnt_from_is_compared_with_the_test_images(tmp_path, test_split):
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/demo.yaml").read_text())
    shapes, vit = raw["datasets"]["shapes"], raw["model"]["features"]
    raw["datasets"] = {
        "shapes": {**shapes, "test_split": test_split},
        "photos": {"kind": "folder", "folder": "a"},
        "more": {"kind": "folder", "folder": "b"},
        "unused": {"kind": "folder", "folder": "c"},
    }
    raw["pools"]["photos"] = {**raw["pools"]["shapes"], "images": ["photos/all"]}
    raw["pools"]["more"] = {"images": ["more/all"]}
    raw["features"]["diffused"] = {"from": vit, "diffuse_over": "more"}
    raw["clustering"], raw["pseudo_masks"] = {"features": "diffused"}, {"features": "diffused"}
    raw["training"]["photos"] = raw["training"]["shapes"]
    raw["tables"] = {"headline": {"dataset": "shapes", "pool": "photos"}}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(raw))
    inputs = Plan(load_experiment(str(tmp_path / "mine.yaml"))).inputs
    compared = {
        name: inputs.tested_indexes(*name.split("/"))
        for name in ("photos/all", "more/all", "unused/all", "shapes/val", "shapes/train")
    }
    test = ["results/mine/data/shapes/val.json"] if test_split == "val" else []
    assert compared["photos/all"] == compared["more/all"] == test
    for name in ("unused/all", "shapes/val", "shapes/train"):
        assert compared[name] == []


def test_images_with_labels_are_compared_with_the_test_images(paper):
    tested = paper.inputs.tested_indexes("pascal", "train")
    assert tested == ["results/paper/data/pascal/val.json"]
    assert "results/paper/data/coco/val.json" in paper.inputs.tested_indexes("coco", "train")


@pytest.mark.parametrize("own_pool", [False, True])
def test_the_experiment_of_the_page_on_own_images_is_planned(tmp_path, monkeypatch, own_pool):
    page = (PACKAGE_ROOT / "docs/your_own_images.md").read_text()
    text = page.split("```yaml\n")[1].split("```")[0]
    if not own_pool:
        text = re.sub(r"pools:\n  photos: .*\n", "", text)
    (tmp_path / "mine.yaml").write_text(text)
    for name in ("cat", "cow", "dog", "horse"):
        (tmp_path / "data/mine" / name).mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UMTFSS_DATA_ROOT", raising=False)
    plan = Plan(load_experiment("mine.yaml"))
    assert [table.name for table in plan.runs.tables] == ["headline", "table1"]
    assert ("results/mine/data/photos/all.json" in plan.indexes) != own_pool
