"""The claims ledger: each claim of the paper as a test on the cells of our own tables.

A comparison is a difference of cells, taken on the same episodes of the same seeds, with its
paired bootstrap interval, which covers the draw of episodes and not the training, of which there
is one. A claim is supported if the interval of every comparison lies above zero, not supported if
one lies below, undecided otherwise. Whether attention is cheaper is counted, not measured.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

from umtfss.backbones.facts import backbone_facts
from umtfss.evaluation.intervals import contrast_interval
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import RunResult, load_result
from umtfss.paths import EvaluationSpec
from umtfss.plan import Plan
from umtfss.provenance import atomic_path, write_json
from umtfss.runs import MODELS, TUNED, Measurement
from umtfss.tables.attention_cost import attention_cost
from umtfss.tables.cells import Cell, Table
from umtfss.tables.latex import templates
from umtfss.tables.layout import start_row
from umtfss.tables.zero_labels import FLOOR_ROW, MATCHER_ROW, ZERO_LABELS_ROW

Verdict = Literal["supported", "not supported", "undecided", "not tested"]
FEW_LABELS = "20 %"


@dataclass(frozen=True)
class Comparison:
    """A sum of cells with signs, which the claim says is positive.

    Attributes:
        name: What is compared, for the reader.
        terms: (sign, cell).
    """

    name: str
    terms: tuple[tuple[int, Cell], ...]


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and the test that it becomes here.

    Attributes:
        key: Short name.
        claim: What the paper claims, in our words.
        test: What every comparison must show.
        comparisons: None if the experiment's tables lack the cells.
    """

    key: str
    claim: str
    test: str
    comparisons: tuple[Comparison, ...]


@dataclass(frozen=True)
class Effect:
    """The outcome of a comparison.

    Attributes:
        name: What is compared.
        effect: mIoU points.
        low: Lower end of the paired interval.
        high: Upper end.
        verdict: Of this comparison alone.
    """

    name: str
    effect: float
    low: float
    high: float
    verdict: Verdict


@dataclass(frozen=True)
class Judgement:
    """A claim with its outcome.

    Attributes:
        key: Of the claim.
        claim: What the paper claims.
        test: What was tested.
        effects: One per comparison.
        verdict: Of the claim: that of its weakest comparison.
        note: What the reader should know.
    """

    key: str
    claim: str
    test: str
    effects: tuple[Effect, ...]
    verdict: Verdict
    note: str = ""


def claims(tables: Sequence[Table]) -> tuple[Claim, ...]:
    """The claims that are measured, over the tables that an experiment fills."""
    by_name = {table.name: table for table in tables}

    def made(build: Callable[..., Iterator[Comparison]], *names: str) -> tuple[Comparison, ...]:
        if not set(names) <= set(by_name):
            return ()
        return tuple(build(*(by_name[name] for name in names)))

    return (
        Claim(
            "unsupervised",
            "Unsupervised meta-training works with existing models.",
            "Without labels, each model beats the training-free matcher on the features it sees.",
            made(_above_floor, "table1", "headline"),
        ),
        Claim(
            "fine_tuning",
            "Fine-tuning from unsupervised weights beats training from scratch at every ratio.",
            "At each label ratio, each model is better from unsupervised weights.",
            made(_above_scratch, "table2"),
        ),
        Claim(
            "few_labels",
            f"With {FEW_LABELS} of the labels UMTFSS outperforms supervised competitors.",
            f"UMTFSS, fine-tuned on {FEW_LABELS}, is better than each other model on 100 %.",
            made(_above_supervised, "table2"),
        ),
        Claim(
            "prototype_attention",
            "Prototype-aware cross-attention is better than vanilla cross-attention.",
            "Meta-trained alike without labels, the prototype variant is better.",
            made(_above_vanilla, "table3"),
        ),
        Claim(
            "more_prototypes",
            "More foreground prototypes help.",
            "At each K_bg, the largest K_fg is better than the smallest.",
            made(_more_prototypes, "table4"),
        ),
        Claim(
            "saturation",
            "The gain of more foreground prototypes saturates.",
            "At each K_bg, the first step of K_fg gains more than the last one.",
            made(_saturation, "table4"),
        ),
        Claim(
            "masksplit",
            "UMTFSS is better than MaskSplit.",
            "Without labels, UMTFSS is better than MaskSplit, in each setting of Table 5.",
            made(_above_masksplit, "table5"),
        ),
        Claim(
            "folds",
            "The result is robust across folds.",
            "On each fold UMTFSS without labels beats the training-free matcher on its features.",
            made(_every_fold, "headline"),
        ),
    )


def _difference(name: str, one: Cell | None, other: Cell | None) -> Iterator[Comparison]:
    """One comparison if both cells are measured on the same episodes, else none."""
    if one is None or other is None:
        return
    if [_episodes(m) for m in one.measurements] == [_episodes(m) for m in other.measurements]:
        yield Comparison(name, ((1, one), (-1, other)))


def _episodes(measurement: Measurement) -> tuple[str, int, int]:
    return measurement.dataset, measurement.fold, measurement.shot


def _matcher(headline: Table, column: str) -> Cell | None:
    """What needs no training on the features that models see: else features pass for training."""
    return headline.cell(MATCHER_ROW, column) or headline.cell(FLOOR_ROW, column)


def _above_floor(table1: Table, headline: Table) -> Iterator[Comparison]:
    floor = _matcher(headline, "1-shot mean")
    for model in table1.columns:
        yield from _difference(f"{model} minus matcher", table1.cell("unsup", model), floor)


def _above_scratch(table2: Table) -> Iterator[Comparison]:
    for model in _models(table2):
        for ratio in table2.columns:
            one = table2.cell(start_row(model, "unsup_init"), ratio)
            other = table2.cell(start_row(model, "scratch"), ratio)
            yield from _difference(f"{model}, {ratio}", one, other)


def _above_supervised(table2: Table) -> Iterator[Comparison]:
    one = table2.cell(start_row("UMTFSS", "unsup_init"), FEW_LABELS)
    for model in _models(table2):
        if model not in ("UMTFSS", MODELS[TUNED]):  # the paper has no tuned backbone
            other = table2.cell(start_row(model, "scratch"), "100 %")
            yield from _difference(f"UMTFSS {FEW_LABELS} minus {model} 100 %", one, other)


def _models(table2: Table) -> list[str]:
    return list(dict.fromkeys(row.split(",")[0] for row in table2.rows))


def _above_vanilla(table3: Table) -> Iterator[Comparison]:
    vanilla, prototype = (table3.cell(row, "mean") for row in table3.rows)
    yield from _difference("prototype minus vanilla", prototype, vanilla)


def _more_prototypes(table4: Table) -> Iterator[Comparison]:
    few, *_, many = sorted(table4.columns, key=int) if len(table4.columns) > 1 else ("", "")
    for k_bg in table4.rows:
        one, other = table4.cell(k_bg, many), table4.cell(k_bg, few)
        yield from _difference(f"K_bg {k_bg}: K_fg {many} minus {few}", one, other)


def _saturation(table4: Table) -> Iterator[Comparison]:
    steps = list(pairwise(sorted(table4.columns, key=int)))
    if len(steps) < 2:
        return
    (a, b), (c, d) = steps[0], steps[-1]
    for k_bg in table4.rows:
        signed = ((1, b), (-1, a), (-1, d), (1, c))
        cells = [(sign, table4.cell(k_bg, k_fg)) for sign, k_fg in signed]
        terms = tuple((sign, cell) for sign, cell in cells if cell is not None)
        yield Comparison(f"K_bg {k_bg}: gain of {a} → {b} minus gain of {c} → {d}", terms)


def _above_masksplit(table5: Table) -> Iterator[Comparison]:
    for row in table5.rows:
        setting, _, model = row.partition(": ")
        for column in table5.columns:
            if model == "UMTFSS" and column.endswith("mean"):
                other = table5.cell(f"{setting}: MaskSplit", column)
                dataset = column.removesuffix(" mean")
                name = f"{dataset}, {setting}: UMTFSS minus MaskSplit"
                yield from _difference(name, table5.cell(row, column), other)


def _every_fold(headline: Table) -> Iterator[Comparison]:
    for column in headline.columns:
        if column.startswith("1-shot fold"):
            one, other = headline.cell(ZERO_LABELS_ROW, column), _matcher(headline, column)
            yield from _difference(f"{column}: UMTFSS minus matcher", one, other)


def judge(
    claim: Claim,
    load: Callable[[Measurement], RunResult],
    *,
    resamples: int,
    coverage: float,
) -> Judgement:
    """The claim's outcome.

    Args:
        claim: The claim.
        load: The evaluation that holds a measurement.
        resamples: Of the bootstrap.
        coverage: Of the intervals.
    """
    effects = []
    for comparison in claim.comparisons:
        seeds = min(m.seeds for _, cell in comparison.terms for m in cell.measurements)

        def scores(cell: Cell, seeds: int = seeds) -> list[EpisodeScores]:
            return [load(m).folds[m.fold].pooled(seeds) for m in cell.measurements]

        interval = contrast_interval(
            [(sign, scores(cell)) for sign, cell in comparison.terms],
            resamples=resamples,
            coverage=coverage,
        )
        low, high = 100 * interval.low, 100 * interval.high
        effects.append(
            Effect(comparison.name, 100 * interval.value, low, high, verdict_of(low, high))
        )
    note = "" if effects else "The experiment's tables lack the cells for it."
    return Judgement(claim.key, claim.claim, claim.test, tuple(effects), weakest(effects), note)


def verdict_of(low: float, high: float) -> Verdict:
    """The verdict on a difference that is claimed to be positive, from its interval."""
    return "supported" if low > 0 else "not supported" if high < 0 else "undecided"


def weakest(effects: Sequence[Effect]) -> Verdict:
    """The verdict on a claim all of whose comparisons must hold."""
    found = {effect.verdict for effect in effects}
    order: tuple[Verdict, ...] = ("not supported", "undecided", "supported")
    return next((verdict for verdict in order if verdict in found), "not tested")


def _cost_judgement(plan: Plan) -> Judgement:
    experiment = plan.experiment
    features = experiment.features.model
    height, width = backbone_facts(features.backbone).grid(features.long_side, features.long_side)
    effects = []
    for shot in experiment.evaluation.shots:
        cost = attention_cost(experiment.model, height * width, shot)
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


def claim_evaluations(plan: Plan) -> list[EvaluationSpec]:
    """The evaluations that the ledger reads."""
    measured = {
        (m.run.path, m.dataset, m.shot)
        for claim in claims(plan.every_table)
        for comparison in claim.comparisons
        for _, cell in comparison.terms
        for m in cell.measurements
    }
    return [plan.evaluations[key] for key in sorted(measured)]


def write_claims(plan: Plan, stem: str | Path) -> None:
    """Judge every claim and write `stem`.md and `stem`.json.

    Args:
        plan: The plan, whose evaluations are there.
        stem: Path without suffix.
    """
    specs = claim_evaluations(plan)
    results = {
        (spec.run.path, spec.dataset, spec.shot): load_result(plan.evaluation(spec))
        for spec in specs
    }
    settings = plan.experiment.evaluation
    judged = [
        judge(
            claim,
            lambda m: results[m.run.path, m.dataset, m.shot],
            resamples=settings.bootstrap,
            coverage=settings.interval,
        )
        for claim in claims(plan.every_table)
    ]
    judged.append(_cost_judgement(plan))
    text = (
        templates()
        .get_template("claims.md.jinja")
        .render(
            judgements=judged,
            experiment=plan.experiment.name,
            note=plan.experiment.tables.note,
            coverage=100 * settings.interval,
        )
    )
    with atomic_path(f"{stem}.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
    write_json(
        f"{stem}.json",
        {
            "experiment": plan.experiment.name,
            "interval": settings.interval,
            "claims": [asdict(one) for one in judged],
        },
    )
