"""The headline, which other programs read by its titles."""

from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan

MATCHER = "prototype matcher on what UMTFSS sees (training-free)"
COLUMNS = (*(f"fold {fold}" for fold in range(4)), "mean")


def test_titles_stay_as_other_programs_know_them():
    for name, middle in (("demo_seeds", []), ("voc_best", [MATCHER])):
        plan = Plan(load_experiment(name))
        table = plan.runs.table_named("headline")
        rows = ["prototype matcher (training-free)", *middle, "UMTFSS (unsupervised)"]
        assert list(table.rows[: len(rows)]) == rows
        shots = plan.experiment.evaluation.shots
        names = [f"{shot}-shot {column}" for shot in shots for column in COLUMNS]
        assert [column.name for column in table.columns] == names
    assert Plan(load_experiment("demo_seeds")).runs.table_named("headline").rows[2:] == (
        "UMTFSS (unsupervised, pool shapes_vit)",
    )


def test_keys_name_model_pool_shot_and_fold():
    table = Plan(load_experiment("demo_seeds")).runs.table_named("headline")
    for key, place in (
        ({"model": "floor", "shot": 1}, ("prototype matcher (training-free)", "1-shot mean")),
        ({"model": "umtfss", "shot": 5, "fold": 2}, ("UMTFSS (unsupervised)", "5-shot fold 2")),
        (
            {"model": "umtfss", "other_pool": "shapes_vit", "shot": 1},
            ("UMTFSS (unsupervised, pool shapes_vit)", "1-shot mean"),
        ),
    ):
        cell = table.cell(key)
        assert cell is not None
        assert cell.place == place
