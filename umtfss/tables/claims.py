"""The ledger: every claim of the paper judged on the experiment's own numbers.

A comparison is a difference of cells on the same episodes and training seeds, with its interval
(`umtfss/evaluation/intervals.py`). A ranking is a rank correlation with numbers in print. A claim
is supported if the intervals of all comparisons and rankings lie above zero, not supported if an
interval lies below zero, and undecided otherwise. The cost of attention is counted, not measured.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from umtfss.common.digests import digest_file
from umtfss.common.files import atomic_path, write_json
from umtfss.common.manifests import sealed
from umtfss.evaluation.intervals import rank_interval
from umtfss.plan.cells import FoldFile
from umtfss.plan.jobs.write_claims import WriteClaims
from umtfss.plan.tables.claim import Claim, Comparison, Ranking
from umtfss.tables.attention_cost import attention_cost
from umtfss.tables.values import (
    Results,
    cell_trainings,
    contrast,
    load_results,
    shared_trainings,
)
from umtfss.tables.write import templates, tested_on

Verdict = Literal["supported", "not supported", "undecided", "not tested"]


@dataclass(frozen=True)
class Effect:
    """The outcome of a comparison or a ranking.

    Attributes:
        name: Its description.
        effect: Difference, mIoU points, or rank correlation.
        low: Lower end of the interval.
        high: Upper end of the interval.
        verdict: Verdict on this comparison or ranking alone.
        trainings: Number of training seeds; 0 if nothing is trained.
    """

    name: str
    effect: float
    low: float
    high: float
    verdict: Verdict
    trainings: int = 0


@dataclass(frozen=True)
class Judgement:
    """A claim with its outcome.

    Attributes:
        key: Key of the claim.
        claim: The paper's claim.
        test: The condition that was tested.
        effects: One effect per comparison and ranking.
        verdict: Verdict on the claim, that of its weakest effect.
        note: Note for the reader.
    """

    key: str
    claim: str
    test: str
    effects: tuple[Effect, ...]
    verdict: Verdict
    note: str = ""


def judge(
    claim: Claim[FoldFile],
    results: Results,
    *,
    resamples: int,
    coverage: float,
) -> Judgement:
    """Judge a claim by its comparisons and rankings.

    Args:
        claim: The claim.
        results: Path -> evaluation.
        resamples: Number of bootstrap resamples.
        coverage: Coverage of the intervals.
    """
    effects = [
        effect_of(comparison, results, resamples=resamples, coverage=coverage)
        for comparison in claim.comparisons
    ]
    effects += [
        order_of(ranking, results, resamples=resamples, coverage=coverage)
        for ranking in claim.rankings
    ]
    note = "" if effects else "The experiment's tables lack the cells for it."
    return Judgement(claim.key, claim.claim, claim.test, tuple(effects), weakest(effects), note)


def effect_of(
    comparison: Comparison[FoldFile],
    results: Results,
    *,
    resamples: int,
    coverage: float,
) -> Effect:
    """The outcome of a comparison; arguments as in `judge`."""
    interval = contrast(comparison.terms, results, resamples=resamples, coverage=coverage)
    low, high = 100 * interval.low, 100 * interval.high
    return Effect(
        comparison.name,
        100 * interval.value,
        low,
        high,
        verdict_of(low, high),
        shared_trainings(comparison.terms),
    )


def order_of(
    ranking: Ranking[FoldFile],
    results: Results,
    *,
    resamples: int,
    coverage: float,
) -> Effect:
    """The rank correlation of a ranking; arguments as in `judge`."""
    files = [cell.measurements for _, cell in ranking.terms]
    seeds = min(file.seeds for part in files for file in part)
    models = [cell_trainings(cell, results, seeds) for _, cell in ranking.terms]
    interval = rank_interval(
        models,
        [number for number, _ in ranking.terms],
        tested=files[0][0].episodes,
        resamples=resamples,
        coverage=coverage,
    )
    low, high = interval.low, interval.high
    trainings = min(map(len, models))
    return Effect(ranking.name, interval.value, low, high, verdict_of(low, high), trainings)


def verdict_of(low: float, high: float) -> Verdict:
    """The verdict, from its interval, on a difference that should be positive."""
    return "supported" if low > 0 else "not supported" if high < 0 else "undecided"


def weakest(effects: Sequence[Effect]) -> Verdict:
    """The verdict on a claim that needs all of its comparisons."""
    found = {effect.verdict for effect in effects}
    order: tuple[Verdict, ...] = ("not supported", "undecided", "supported")
    return next((verdict for verdict in order if verdict in found), "not tested")


def judge_cost(job: WriteClaims) -> Judgement:
    """Judge by counting whether prototype-aware attention needs fewer multiplications."""
    effects = []
    for shot in job.shots:
        cost = attention_cost(job.model, job.tokens, shot)
        times = cost.vanilla / cost.prototype
        verdict = verdict_of(times - 1, times - 1)
        effects.append(Effect(f"{shot}-shot, {cost.tokens} tokens", times, times, times, verdict))
    note = (
        "Counted for the experiment's grid and K_fg, K_bg, the grouping included; the effect is "
        "how many times as many multiplications vanilla attention needs. No episodes, no interval."
    )
    return Judgement(
        "cheaper_attention",
        "Prototype-aware attention is cheaper than vanilla attention.",
        "The cross-attention layers need fewer multiplications.",
        tuple(effects),
        weakest(effects),
        note,
    )


def write_claims(job: WriteClaims, stem: str | Path) -> None:
    """Judge every claim and write `stem`.md and `stem`.json, which bears a seal.

    Args:
        job: The claims, and the files of their numbers.
        stem: Path without suffix.

    Raises:
        TableError: An evaluation, or a fold of an evaluation, is missing.
    """
    results = load_results((m for claim in job.claims for m in claim.measurements), "the ledger")
    judged = [
        judge(claim, results, resamples=job.resamples, coverage=job.coverage)
        for claim in job.claims
    ]
    judged.append(judge_cost(job))
    text = (
        templates()
        .get_template("claims.md.jinja")
        .render(
            judgements=judged,
            experiment=job.experiment,
            note=job.note,
            development=tested_on(job.development),
            coverage=100 * job.coverage,
            trainings=job.training_seeds,
            once=[
                effect
                for one in judged
                for effect in one.effects
                if effect.trainings == 1 < job.training_seeds
            ],
        )
    )
    with atomic_path(f"{stem}.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    content = {
        "kind": "claims",
        "experiment": job.experiment,
        "interval": job.coverage,
        "training_seeds": job.training_seeds,
        "claims": [asdict(one) for one in judged],
        "files": {f"{Path(stem).name}.md": digest_file(f"{stem}.md")},
    }
    write_json(f"{stem}.json", sealed(f"{stem}.json", content))
