"""The ledger: what follows from the comparisons."""

import json

import numpy as np
import pytest
import yaml

from umtfss.common.files import PACKAGE_ROOT
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import FoldResult, RunResult
from umtfss.experiment.load import load_experiment
from umtfss.experiment.model import ModelConfig, UMTFSSConfig
from umtfss.plan.plan import Plan
from umtfss.plan.tables.claims import claims
from umtfss.tables.attention_cost import attention_cost
from umtfss.tables.claims import Effect, claim_evaluations, judge, verdict_of, weakest, write_claims


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


def test_a_better_model_is_found_and_so_is_a_worse_one(plan):
    by_key = {claim.key: claim for claim in claims(plan.every_table)}
    claim = by_key["prototype_attention"]
    prototype = claim.comparisons[0].terms[0][1].measurements[0].run
    good, bad = result(0.6), result(0.5, seed=1)

    def judged(better):
        return judge(
            claim,
            lambda m: good if (m.run == prototype) == better else bad,
            resamples=200,
            coverage=0.95,
        )

    assert judged(True).verdict == "supported"
    assert judged(True).effects[0].effect == pytest.approx(10, abs=1.5)
    assert judged(False).verdict == "not supported"
    same = judge(claim, lambda m: good, resamples=200, coverage=0.95)
    assert (same.effects[0].effect, same.verdict) == (0, "undecided")


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


def test_the_ledger_is_written_with_what_cannot_be_tested(tmp_path, monkeypatch):
    plan = Plan(load_experiment("demo"))
    read = []

    def load(path):
        read.append(path)
        return result(0.5, seed=len(read))

    monkeypatch.setattr("umtfss.tables.claims.load_result", load)
    write_claims(plan, tmp_path / "claims")
    assert len(read) == len(claim_evaluations(plan))
    text = (tmp_path / "claims.md").read_text()
    assert "**not tested**" in text  # demo's grid has two numbers of prototypes
    assert text.count("\n## ") == 11
    assert (tmp_path / "claims.json").is_file()


def seeded(run, spread: float) -> RunResult:
    """What a training of that seed is tested to: another level for each seed."""
    shift = np.random.default_rng(run.seed).normal(0, spread) if run.is_trained else 0
    return result(0.5 + shift, seed=100 + run.seed)


def test_training_seeds_widen_what_they_do_not_share(tmp_path, monkeypatch):
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/demo.yaml").read_text())
    raw["evaluation"]["training_seeds"] = 5
    (tmp_path / "five.yaml").write_text(yaml.safe_dump(raw))
    plan = Plan(load_experiment(str(tmp_path / "five.yaml")))
    (claim,) = (one for one in claims(plan.tables) if one.key == "unsupervised")
    spread = {}
    for size in (0.0, 0.1):
        judged = judge(claim, lambda m, s=size: seeded(m.run, s), resamples=200, coverage=0.95)
        spread[size] = judged.effects[0].high - judged.effects[0].low
    assert spread[0.1] > 5 * spread[0.0]

    by_path = {plan.evaluation(spec): spec for spec in plan.evaluations.values()}
    monkeypatch.setattr("umtfss.tables.claims.load_result", lambda p: seeded(by_path[p].run, 0.0))
    write_claims(plan, tmp_path / "claims")
    assert "5 training seeds (Student's t)" in (tmp_path / "claims.md").read_text()
    assert json.loads((tmp_path / "claims.json").read_text())["training_seeds"] == 5


@pytest.mark.parametrize(("name", "said"), [("voc_dev", True), ("voc_vit", False)])
def test_a_development_split_is_said(tmp_path, monkeypatch, name, said):
    monkeypatch.setattr("umtfss.tables.claims.load_result", lambda path: result(0.5))
    write_claims(Plan(load_experiment(name)), tmp_path / "claims")
    text = (tmp_path / "claims.md").read_text()
    assert ("\nDevelopment: tested on pascal/train, not on the test split.\n" in text) == said
    assert "trained once, and another seed moves it" in text
