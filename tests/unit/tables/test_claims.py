"""The ledger: what follows from the comparisons."""

import json
from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import yaml

from umtfss.common.files import PACKAGE_ROOT
from umtfss.common.verify import verify
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import FoldResult, RunResult
from umtfss.experiment.load import load_experiment
from umtfss.experiment.model import ModelConfig, UMTFSSConfig
from umtfss.plan.jobs.write_claims import WriteClaims
from umtfss.plan.plan import Plan
from umtfss.tables.attention_cost import attention_cost
from umtfss.tables.claims import Effect, Verdict, judge, verdict_of, weakest, write_claims


@pytest.fixture(scope="module")
def plan() -> Plan:
    return Plan(load_experiment("paper"))


def result(level: float, seed: int = 0, episodes: int = 300) -> RunResult:
    """Every fold tested on the same episodes, with an IoU of about `level`."""
    folds = {}
    for fold in range(4):
        random = np.random.default_rng(fold)
        union = random.integers(800, 1200, episodes)
        noise = np.random.default_rng(seed).normal(0, 0.05, episodes)
        hit = (union * np.clip(level + 0.2 * random.normal(size=episodes) + noise, 0, 1)).astype(
            int
        )
        class_id = np.arange(episodes) % 5
        scores = EpisodeScores(class_id, hit, union, 5000 - union)
        folds[fold] = FoldResult(fold, {seed: scores for seed in range(5)})
    return RunResult({}, folds)


def job_of(plan: Plan) -> WriteClaims:
    return WriteClaims.of(plan, None)


@pytest.fixture
def holding(monkeypatch):
    """Evaluation files are not read: `holding(load)` says what each of them holds."""

    def use(load):
        def load_all(files, purpose):
            return {path: load(path) for path in {file.path for file in files}}

        monkeypatch.setattr("umtfss.tables.claims.load_results", load_all)

    return use


def test_a_better_model_is_found_and_so_is_a_worse_one(plan):
    (claim,) = (one for one in job_of(plan).claims if one.key == "prototype_attention")
    prototype, vanilla = (cell.measurements[0].path for _, cell in claim.comparisons[0].terms)
    good, bad = result(0.6), result(0.5, seed=1)

    def judged(one, other):
        return judge(claim, {prototype: one, vanilla: other}, resamples=200, coverage=0.95)

    assert judged(good, bad).verdict == "supported"
    assert judged(good, bad).effects[0].effect == pytest.approx(10, abs=1.5)
    assert judged(bad, good).verdict == "not supported"
    same = judged(good, good)
    assert (same.effects[0].effect, same.verdict) == (0, "undecided")


def test_an_order_is_judged_by_its_rank_correlation(plan):
    (claim,) = (one for one in job_of(plan).claims if one.key == "competitor_order")
    pascal = replace(claim, rankings=claim.rankings[:1])
    (ranking,) = pascal.rankings
    for sign, verdict in ((1, "supported"), (-1, "not supported")):
        levels = {
            cell.measurements[0].path: result(0.5 + sign * (number - 60) / 100)
            for number, cell in ranking.terms
        }
        assert set(levels) == {m.path for m in pascal.measurements}
        judged = judge(pascal, levels, resamples=50, coverage=0.95)
        assert judged.verdict == verdict
        assert judged.effects[0].effect == pytest.approx(sign)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 2, "supported"), (-2, -0.1, "not supported"), (-1, 1, "undecided")],
)
def test_the_interval_decides(low, high, verdict):
    assert verdict_of(low, high) == verdict


def test_a_claim_is_as_good_as_its_weakest_comparison():
    def effects(*verdicts):
        return [Effect("", 0, 0, 0, verdict) for verdict in verdicts]

    assert weakest(effects("supported", "supported")) == "supported"
    assert weakest(effects("supported", "undecided")) == "undecided"
    assert weakest(effects("undecided", "not supported")) == "not supported"
    assert weakest([]) == "not tested"


def test_attention_is_counted_as_it_is_multiplied():
    model = ModelConfig(
        layers=1, width=8, heads=2, umtfss=UMTFSSConfig(k_fg=2, k_bg=3, hash_bits=4)
    )
    tokens, count = 6, {"vanilla": 0, "scores": 0}
    for _ in range(tokens):  # each query token: a product and a weighted sum of every support token
        count["vanilla"] += 2 * 2 * tokens * 8
        count["scores"] += 2 * (2 + 3) * 8
    hashing = 2 * tokens * 8 * 4
    grouping = 10 * 2 * tokens * (2 + 3) * 4
    cost = attention_cost(model, tokens, shot=2)
    assert cost.vanilla == count["vanilla"]
    assert cost.prototype == count["scores"] + hashing + grouping


def test_the_ledger_is_written_with_what_cannot_be_tested(tmp_path, holding):
    plan = Plan(load_experiment("demo"))
    read = []

    def load(path):
        read.append(path)
        return result(0.5, seed=len(read))

    holding(load)
    write_claims(job_of(plan), tmp_path / "claims")
    assert sorted(read) == sorted(plan.inputs.claim_inputs)
    text = (tmp_path / "claims.md").read_text()
    assert "**not tested**" in text  # demo's grid has two numbers of prototypes
    assert text.count("\n## ") == 12
    claims = json.loads((tmp_path / "claims.json").read_text())["claims"]
    assert [one["key"] for one in claims] == [
        *(one.key for one in plan.runs.claims),
        "cheaper_attention",
    ]
    assert {one["verdict"] for one in claims} <= set(get_args(Verdict))
    assert verify(tmp_path).problems == ()
    (tmp_path / "claims.md").write_text(text.replace("not tested", "supported"))
    assert "claims.md is damaged" in str(verify(tmp_path).problems[0])


def seeded(training: int | None, spread: float) -> RunResult:
    """What a training of that seed is tested to: another level for each seed."""
    shift = 0 if training is None else np.random.default_rng(training).normal(0, spread)
    return result(0.5 + shift, seed=100 + (training or 0))


def test_training_seeds_widen_what_they_do_not_share(tmp_path, holding):
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/demo.yaml").read_text())
    raw["evaluation"]["training_seeds"] = 5
    (tmp_path / "five.yaml").write_text(yaml.safe_dump(raw))
    job = job_of(Plan(load_experiment(str(tmp_path / "five.yaml"))))
    (claim,) = (one for one in job.claims if one.key == "unsupervised")
    trainings = {m.path: m.training for one in job.claims for m in one.measurements}
    spread = {}
    for size in (0.0, 0.1):
        results = {path: seeded(training, size) for path, training in trainings.items()}
        judged = judge(claim, results, resamples=200, coverage=0.95)
        spread[size] = judged.effects[0].high - judged.effects[0].low
    assert spread[0.1] > 5 * spread[0.0]

    holding(lambda path: seeded(trainings[path], 0.0))
    write_claims(job, tmp_path / "claims")
    assert "5 training seeds (Student's t)" in (tmp_path / "claims.md").read_text()
    assert json.loads((tmp_path / "claims.json").read_text())["training_seeds"] == 5


def test_a_table_trained_once_is_compared_by_the_seed_that_both_have(tmp_path, holding):
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/demo.yaml").read_text())
    raw["evaluation"]["training_seeds"] = 5
    raw["tables"]["table2"]["training_seeds"] = 1
    (tmp_path / "once.yaml").write_text(yaml.safe_dump(raw))
    plan = Plan(load_experiment(str(tmp_path / "once.yaml")))
    captions = {
        table.name: {m.run.seed for m in table.measurements} for table in plan.runs.every_table
    }
    assert len(captions["table1"]) == 5
    assert len(captions["table2"]) == 1
    job = job_of(plan)
    trainings = {m.path: m.training for one in job.claims for m in one.measurements}
    holding(lambda path: seeded(trainings[path], 0.1))
    write_claims(job, tmp_path / "claims")
    claims = json.loads((tmp_path / "claims.json").read_text())["claims"]
    found = {one["key"]: {effect["trainings"] for effect in one["effects"]} for one in claims}
    assert found["unsupervised"] == {5}  # Table 1 against the headline
    assert found["few_labels"] == {1}  # Table 2 against Table 1
    assert found["cheaper_attention"] == {0}
    text = (tmp_path / "claims.md").read_text()
    assert "marked \\* has one training alone" in text
    assert "UMTFSS 20 % minus PFENet 100 % \\* |" in text
    assert "PFENet minus matcher |" in text


@pytest.mark.parametrize(("name", "said"), [("voc_dev", True), ("demo", False)])
def test_a_development_split_is_said(tmp_path, holding, name, said):
    holding(lambda path: result(0.5))
    write_claims(job_of(Plan(load_experiment(name))), tmp_path / "claims")
    text = (tmp_path / "claims.md").read_text()
    assert ("\nDevelopment: tested on pascal/dev, not on the test split.\n" in text) == said
    assert "trained once; intervals do not cover training" in text
