"""The ledger of claims: what is compared, and what follows from it."""

import numpy as np
import pytest

from umtfss.config import ModelConfig
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import FoldResult, RunResult
from umtfss.experiment_file import load_experiment
from umtfss.plan import Plan
from umtfss.tables.attention_cost import attention_cost
from umtfss.tables.claims import (
    Effect,
    claim_evaluations,
    claims,
    judge,
    verdict_of,
    weakest,
    write_claims,
)


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


def test_every_claim_of_the_paper_is_tested_on_its_tables(plan):
    counts = {claim.key: len(claim.comparisons) for claim in claims(plan.every_table)}
    assert counts == {
        "unsupervised": 3,
        "fine_tuning": 3 * 4,
        "few_labels": 2,
        "prototype_attention": 1,
        "more_prototypes": 5,
        "saturation": 5,
        "masksplit": 2 * 2,
        "folds": 4,
    }


def test_comparisons_are_paired(plan):
    for claim in claims(plan.every_table):
        for comparison in claim.comparisons:
            tested = {
                tuple((m.dataset, m.fold, m.shot) for m in cell.measurements)
                for _, cell in comparison.terms
            }
            assert len(tested) == 1
            assert sum(sign for sign, _ in comparison.terms) == 0


def test_training_is_compared_on_the_features_that_it_sees():
    """Against the floor before diffusion, the features' gain would pass for that of training."""
    plan = Plan(load_experiment("voc_cpu"))
    for claim in claims(plan.every_table):
        if claim.key in ("unsupervised", "folds"):
            for comparison in claim.comparisons:
                runs = [cell.measurements[0].run for _, cell in comparison.terms]
                assert len({plan.diffuses(run) for run in runs}) == 1
                assert runs[1].path == "prototype/training_free"


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
    model = ModelConfig(layers=1, width=8, heads=2, k_fg=2, k_bg=3, hash_bits=4)
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
    assert text.count("\n## ") == 9
    assert (tmp_path / "claims.json").is_file()
