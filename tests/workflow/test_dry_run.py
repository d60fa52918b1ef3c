"""What Snakemake would do, before any file exists."""

import shutil

import pytest
from PIL import Image

from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan

# Without labels (models, other pool, vanilla, grid, folds or departures), MaskSplit, on labels
# (Tables 1, 2 and 6).
RUNS = {
    "tiny": (1 + 1 + 1 + 1 + 2) + (1 + 2) + (2 + 2 * 2),
    "demo": (3 + 1 + 3) + 1 + (12 + 4 + 8),
    "demo_seeds": 5 * ((5 + 1 + 1 + 2 + 9) + 1 + (20 + 12 + 24)),
    "paper": (25 + 8 + 2 + 4 + 4) + 2 * (1 + 4) + 9 * 4 * (4 + 4) + 8 * 4 + 16,
}


@pytest.mark.parametrize("experiment", sorted(RUNS))
def test_a_dry_run_needs_no_data(fresh, experiment):
    jobs = fresh.planned("--config", f"experiment={experiment}", "--", "all_tables")
    assert jobs["train_model"] == RUNS[experiment]
    assert jobs["write_table"] == 7 + (experiment == "demo_seeds")  # departures
    assert jobs["write_claims"] == 1
    if experiment == "paper":
        assert jobs["download_dataset"] == 2
        assert jobs["extract_features"] == 2 * 2 * 16  # data sets, image sizes, shards


def test_table4_alone_runs_only_what_it_needs(fresh):
    jobs = fresh.planned("results/tiny/tables/table4.csv")
    assert jobs["train_model"] == jobs["evaluate_run"] == 2
    assert jobs["write_table"] == 1


def test_tables_of_a_clone_do_not_pass_for_made(fresh):
    """Tables and evaluations come with git: without their provenance they prove nothing."""
    project = Plan(load_experiment(str(fresh.root / "experiments/tiny.yaml")))
    committed = [p for table in project.runs.tables for p in project.paths.table(table.name)]
    committed += [project.paths.evaluation(spec) for spec in project.runs.evaluations.values()]
    for name in committed:
        path = fresh.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("committed")
    try:
        jobs = fresh.planned("all_tables")
        assert jobs["train_model"] == RUNS["tiny"]
        assert jobs["write_table"] == 7
        jobs = fresh.planned("--config", "tables=4", "--", "all_tables")
        assert jobs["train_model"] == jobs["evaluate_run"] == 2
        assert jobs["write_table"] == 1
    finally:
        shutil.rmtree(fresh.root / "results/tiny")


def test_an_unknown_table_is_named(fresh):
    printed = fresh.snakemake("-n", "--config", "tables=table7", "--", "all_tables", check=False)
    assert "experiment tiny has no table 'table7'" in printed
    assert "Traceback" not in printed


def test_new_photos_are_noticed(fresh, tmp_path, monkeypatch):
    monkeypatch.setenv("UMTFSS_DATA_ROOT", str(tmp_path))
    (tmp_path / "my_photos").mkdir()
    own = ("--config", "experiment=own_photos", "--", "all_data")
    try:
        for number in range(2):
            Image.new("RGB", (9, 9), (number, 0, 0)).save(tmp_path / f"my_photos/{number}.png")
            assert fresh.planned(*own)["index_split"] == 1
            fresh.snakemake(*own)
            assert fresh.planned(*own) == {}
    finally:
        shutil.rmtree(fresh.root / "results/own_photos")


def test_one_arrow_alone(fresh):
    assert set(fresh.planned("all_data")) == {"all_data", "make_shapes", "index_split"}


def test_a_bad_key_stops_everything_with_its_name(fresh):
    fresh.edit("experiments/tiny.yaml", "steps: 6", "stepz: 6")
    printed = fresh.snakemake("-n", check=False)
    fresh.edit("experiments/tiny.yaml", "stepz: 6", "steps: 6")
    assert "training.shapes.stepz: unknown key, did you mean 'steps'" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("experiment: tiny\nseed: 0\ndevice: cpu\n".encode("utf-16"), "is no text in UTF-8"),
        (b"seed: 0\ndevice: cpu\n", "lacks experiment"),
        (b"experiment: tiny\nseed: -1\ndevice: cpu\n", "is no seed"),
    ],
    ids=["utf16", "no experiment", "negative seed"],
)
def test_a_config_that_cannot_be_read_is_named(fresh, content, message):
    path = fresh.root / "config.yaml"
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        printed = fresh.snakemake("-n", check=False)
    finally:
        path.write_bytes(kept)
    assert message in printed
    assert "config.yaml" in printed
    assert "Traceback" not in printed
    assert "lib/python" not in printed  # Snakemake's own traceback


def test_the_plan_is_printed(fresh):
    printed = fresh.run("python", "-m", "umtfss", "plan", "--table", "4").stdout
    assert printed.count("table4") == 1
    assert "cheaper is a cache" in printed
    assert "shapes/umtfss/unsup-all/seed0+k_fg=1" in printed
