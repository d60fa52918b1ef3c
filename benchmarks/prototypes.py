"""The effect of prototypes on UMTFSS, with and without its prior mask and global vector.

UMTFSS is trained without labels, with the settings of the experiment `demo`, on two drawn worlds:
demo's toys of two parts, and mosaics of six unlike parts. Every number is measured on the split dev
of a drawing seed that no table tests. The prior mask and the global vector also tell the query
where the object is, which may hide the effect of prototypes. So the study also trains without both.

python -m benchmarks.prototypes                          # 80 trainings, an hour of a quiet core
python -m benchmarks.prototypes --folder DIR --seeds 2   # keeps results in DIR; resumes there
python -m benchmarks.prototypes --quick                  # tiny sizes: shows that everything runs
"""

import csv
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, astuple, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from matplotlib.figure import Figure
from torch import Tensor, nn

from benchmarks.world import (
    DATASET,
    DEMO,
    DEV,
    RESULTS,
    Bench,
    KeptItems,
    World,
    demo_backbone,
    seen_features,
)
from umtfss.common.device import prepare_process
from umtfss.common.files import atomic_path
from umtfss.data.splits import novel_classes
from umtfss.episodes.batch import EpisodeBatch
from umtfss.evaluation.intervals import Interval, Term, contrast_interval
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import load_result, save_results
from umtfss.experiment.load import load_experiment
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.schema import Experiment
from umtfss.models.layers.blocks import to_tokens
from umtfss.models.layers.guidance import (
    Branches,
    GuidedBranches,
    guided_query,
    guided_support,
    support_guidance,
)
from umtfss.models.umtfss import UMTFSS

DRAWING_SEED = 1
TESTS = "prototypes/fold{fold}"
WORLDS: dict[str, dict[str, Any]] = {"toys": {}, "mosaics": {"parts": 6}}
GUIDED, UNGUIDED = "prior and vector", "neither"
ONE, FOUR, TEN = "K_fg 1", "K_fg 4", "K_fg 10"
TEN_AS_ONE = "K_fg 10, tested with 1"  # two tests of one training
VANILLA, NONE = "vanilla", "no cross-attention"
GROUPS = {ONE: 1, FOUR: 4, TEN: 10}
TRAINED = (  # the most telling first, for an interrupted study
    (GUIDED, TEN),
    (GUIDED, NONE),
    (GUIDED, ONE),
    (UNGUIDED, TEN),
    (UNGUIDED, ONE),
    (GUIDED, VANILLA),
    (UNGUIDED, VANILLA),
    (GUIDED, FOUR),
)
DIFFERENCES = {  # name -> minuend and subtrahend
    "prototypes - vanilla": (TEN, VANILLA),
    "K_fg 10 - K_fg 1": (TEN, ONE),
    "K_fg 4 - K_fg 1": (FOUR, ONE),
    "K_fg 10 - K_fg 4": (TEN, FOUR),
    "prototypes - no cross-attention": (TEN, NONE),
    "K_fg 10 - K_fg 1, same weights": (TEN, TEN_AS_ONE),
}
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Arm:
    """A training and its test.

    Attributes:
        world: Key of `WORLDS`.
        guidance: `GUIDED` or `UNGUIDED`: whether the query has prior mask and global vector.
        attention: Kind of cross-attention, or none.
        seed: Training seed.
    """

    world: str
    guidance: str
    attention: str
    seed: int

    def file(self, folder: Path) -> Path:
        """The file of the arm's counts."""
        name = "-".join(map(str, astuple(self))).replace(",", "").replace(" ", "_")
        return folder / "scores" / f"{name}.json"


@dataclass(frozen=True)
class Row:
    """A line of the table: mIoU in percent, or a difference of two mIoU in points.

    Attributes:
        world: Key of `WORLDS`.
        guidance: `GUIDED` or `UNGUIDED`: whether the query has prior mask and global vector.
        measured: A kind of attention, or a key of `DIFFERENCES`.
        seeds: Number of training seeds.
        mean: Mean over seeds and folds.
        low: Lower end of the 95 % interval over seeds and episodes.
        high: Upper end of the interval.
    """

    world: str
    guidance: str
    measured: str
    seeds: int
    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Sizes:
    """The sizes of the study; None: the experiment's."""

    steps: int | None = None
    train_images: int | None = None
    dev_images: int = 200
    episodes: int | None = None


QUICK = Sizes(steps=2, train_images=60, dev_images=160, episodes=5)


class UnguidedQuery(nn.Module):
    """Branches whose query knows neither the prior mask nor the support's vector.

    The support's tokens are merged with the support's vector as always, so the mask reaches the
    query through cross-attention alone.

    Args:
        guided: The branches whose layers are used.
    """

    def __init__(self, guided: GuidedBranches) -> None:
        super().__init__()
        self.guided = guided

    def forward(self, batch: EpisodeBatch) -> Branches:
        """The tokens of the episodes."""
        of = self.guided
        query = to_tokens(of.query_mid(batch.query_mid))
        support = to_tokens(of.support_mid(batch.support_mid.flatten(0, 1)))
        own, vector, prior = support_guidance(support, batch, of.settings)
        nothing = torch.zeros_like(vector), torch.zeros_like(prior)
        return Branches(
            guided_query(query, *nothing, of.query_merge),
            guided_support(support, own, of.support_merge),
            query,
            support,
        )


class NoAttention(nn.Module):
    """In place of a cross-attention: returns the query unchanged."""

    def forward(self, query: Tensor, context: Tensor, keep: Tensor) -> Tensor:
        """(B, N, d) the query."""
        return query


def untrained(bench: Bench, arm: Arm) -> UMTFSS:
    """The untrained model of an arm; layers that two arms share start with equal weights."""
    settings: ModelConfig = bench.world.experiment.model
    if arm.attention in GROUPS:
        settings = settings.changed({"k_fg": GROUPS[arm.attention]})
    elif arm.attention == VANILLA:
        settings = settings.changed({"cross_attention": "vanilla"})
    model = bench.untrained("umtfss", settings, arm.seed)
    assert isinstance(model, UMTFSS)
    return ablated(model, arm.guidance, arm.attention)


def ablated(model: UMTFSS, guidance: str, attention: str) -> UMTFSS:
    """The model without the parts that the study removes; the model is changed."""
    if guidance == UNGUIDED:
        model.branches = UnguidedQuery(model.branches)  # type: ignore[assignment]
    if attention == NONE:
        model.cross = nn.ModuleList(NoAttention() for _ in model.cross)
    return model


def open_bench(experiment: Experiment, world: str, sizes: Sizes, folder: Path) -> Bench:
    """A world of the study, as the experiment's models see it."""
    shapes = experiment.datasets[DATASET].shapes
    assert shapes is not None
    drawn = {
        **WORLDS[world],
        "seed": DRAWING_SEED,
        "train_images": sizes.train_images or shapes.train_images,
        "dev_images": sizes.dev_images,
    }
    return Bench(
        World(
            experiment,
            shapes.model_copy(update=drawn),
            folder / world,
            split=DEV,
            key="prototypes",
            episodes=sizes.episodes,
        ),
        demo_backbone(experiment),
        seen_features(experiment).mid_std,
    )


def measure(
    experiment: Experiment,
    sizes: Sizes,
    worlds: Sequence[str],
    seeds: Sequence[int],
    folder: Path,
) -> None:
    """Train and test every arm whose counts the folder lacks, seed by seed and world by world."""
    stage = experiment.training[DATASET]
    stage = stage.model_copy(update={"steps": sizes.steps or stage.steps})
    clusters = experiment.pools[DATASET].clusters
    assert clusters is not None
    benches: dict[str, Bench] = {}
    for seed in seeds:
        for world in worlds:
            todo = [
                arm
                for guidance, attention in TRAINED
                if not (arm := Arm(world, guidance, attention, seed)).file(folder).is_file()
            ]
            if not todo:
                continue
            if world not in benches:
                benches[world] = open_bench(experiment, world, sizes, folder)
            bench = benches[world]
            masks = bench.world.masks(bench.backbone, clusters)
            items = bench.items(bench.world.pseudo_tasks(masks, stage, seed), stage, seed)
            for arm in todo:
                _measure_arm(bench, arm, items, folder)


def _measure_arm(bench: Bench, arm: Arm, items: KeptItems, folder: Path) -> None:
    model = untrained(bench, arm)
    bench.train(model, items, arm.seed)
    if arm.attention == TEN:
        trained_with = model.settings
        model.settings = trained_with.changed({"k_fg": 1})
        _test(bench, model, replace(arm, attention=TEN_AS_ONE), folder)
        model.settings = trained_with
    _test(bench, model, arm, folder)


def _test(bench: Bench, model: UMTFSS, arm: Arm, folder: Path) -> None:
    scores = bench.test(model, TESTS)
    save_results(
        arm.file(folder),
        {fold: {0: one} for fold, one in scores.items()},
        classes={fold: novel_classes(DATASET, fold) for fold in scores},
        facts=asdict(arm),
    )


def table(folder: Path, seeds: Sequence[int]) -> Iterator[Row]:
    """Every attention, then every difference, over the seeds that the folder holds."""
    for world in WORLDS:
        for guidance in (GUIDED, UNGUIDED):
            found = {
                attention: {
                    seed: _folds(path)
                    for seed in seeds
                    if (path := Arm(world, guidance, attention, seed).file(folder)).is_file()
                }
                for attention in (*GROUPS, TEN_AS_ONE, VANILLA, NONE)
            }
            for attention, trainings in found.items():
                if trainings:
                    interval = contrast_interval([Term(1, list(trainings.values()))])
                    yield _row(world, guidance, attention, len(trainings), interval)
            for name, (more, less) in DIFFERENCES.items():
                shared = [seed for seed in found[more] if seed in found[less]]
                if shared:
                    terms = [
                        Term(sign, [found[of][seed] for seed in shared])
                        for sign, of in ((1, more), (-1, less))
                    ]
                    interval = contrast_interval(terms)
                    yield _row(world, guidance, name, len(shared), interval)


def _folds(path: Path) -> list[EpisodeScores]:
    return [fold.pooled() for _, fold in sorted(load_result(path).folds.items())]


def _row(world: str, guidance: str, measured: str, seeds: int, found: Interval) -> Row:
    points = (round(100 * one, 2) for one in (found.value, found.low, found.high))
    return Row(world, guidance, measured, seeds, *points)


def draw(rows: Sequence[Row], picture: Path) -> None:
    """Draw the attentions above and the differences below, a column for each world and guidance."""
    columns = [(world, guidance) for world in WORLDS for guidance in (GUIDED, UNGUIDED)]
    figure = Figure(figsize=(4 * len(columns), 6), layout="constrained")
    panels = figure.subplots(2, len(columns), sharex="row", squeeze=False)
    for column, of in enumerate(columns):
        for axes, is_difference in zip(panels[:, column], (False, True), strict=True):
            shown = [
                row
                for row in rows
                if (row.world, row.guidance) == of
                and (row.measured in DIFFERENCES) == is_difference
            ]
            names = [row.measured for row in shown]
            means = [row.mean for row in shown]
            sides = [row.mean - row.low for row in shown], [row.high - row.mean for row in shown]
            axes.errorbar(means, names, xerr=sides, fmt="o", capsize=3)
            axes.invert_yaxis()
            axes.grid(axis="x", alpha=0.3)
            axes.set_xlabel("difference, mIoU points" if is_difference else "mIoU on dev, %")
            if is_difference:
                axes.axvline(0, color="black", linewidth=0.8)
            else:
                axes.set_title(f"{of[0]}; query sees {of[1]}", fontsize=8)
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, dpi=100, metadata={"Software": None})


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="Tiny sizes, one seed.")] = False,
    seeds: Annotated[int, typer.Option(help="Training seeds.")] = 5,
    world: Annotated[list[str] | None, typer.Option(help="A world; may be given twice.")] = None,
    results: Annotated[Path, typer.Option(help="Where CSV and picture go.")] = RESULTS,
    folder: Annotated[Path | None, typer.Option(help="Keeps what is made and measured.")] = None,
) -> None:
    """Train and test all arms, and write the table and its picture."""
    prepare_process(1)
    sizes, numbers = (QUICK, range(1)) if quick else (Sizes(), range(seeds))
    with tempfile.TemporaryDirectory() as temporary:
        kept = folder or Path(temporary)
        measure(load_experiment(DEMO, 0), sizes, world or list(WORLDS), numbers, kept)
        found = list(table(kept, numbers))
    path = results / "prototypes.csv"
    with atomic_path(path) as partial, open(partial, "w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(one.name for one in fields(Row))
        writer.writerows(astuple(row) for row in found)
    draw(found, path.with_suffix(".png"))
    for row in found:
        typer.echo(", ".join(map(str, astuple(row))))


if __name__ == "__main__":
    app()
