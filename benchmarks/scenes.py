"""Where is a run better: in photos with one labelled class, or beside other labelled objects?

The test episodes fall into three scenes, by the label map of the query. `alone`: the episode's
class is the only labelled one. `smaller`: every other class covers fewer pixels. `greater`: another
class covers as many pixels or more. Runs are compared on the episodes of a scene, paired, as
`umtfss compare` does; a class without an episode in a scene is left out there.

UMTFSS_DATA_ROOT=data python -m benchmarks.scenes voc_cpu:objects/umtfss/unsup-all/seed0 \
    voc_cpu:prototype/training_free voc_cpu:prototype/training_free+features=vit

Some seconds; evaluations of all runs and the test episodes of the first one must be there.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import astuple, fields, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from benchmarks.tables import write_rows
from benchmarks.world import RESULTS
from umtfss.data.catalog import Catalog
from umtfss.data.images import IGNORE
from umtfss.data.open import open_dataset
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import FoldResult, RunResult
from umtfss.experiment.load import load_experiment
from umtfss.figures.show import default_dataset
from umtfss.plan.plan import Plan
from umtfss.tables.compare import compared, results_of

SCENES = ("alone", "smaller", "greater")
COLUMNS = (
    *("run", "against", "scene", "episodes", "object", "miou", "of_other", "minus", "low", "high"),
)


def scene(label_map: np.ndarray, class_id: int) -> tuple[str, float]:
    """The scene of a query, by its label map, (H, W) uint8, and the object's share of the photo."""
    pixels = np.bincount(label_map.ravel(), minlength=IGNORE + 1)
    own, other = pixels[class_id], np.delete(pixels[:IGNORE], [0, class_id]).max()
    kind = "alone" if not other else "smaller" if other < own else "greater"
    return kind, own / label_map.size


def of_scene(
    result: RunResult, scenes: Mapping[tuple[int, int], np.ndarray], kind: str
) -> RunResult:
    """The episodes of one scene.

    Args:
        result: The counts of a run.
        scenes: (fold, episode seed) -> scene of every episode.
        kind: The scene kept.
    """

    def kept(scores: EpisodeScores, rows: np.ndarray) -> EpisodeScores:
        return EpisodeScores(*(getattr(scores, one.name)[rows] for one in fields(scores)))

    folds = {
        fold: FoldResult(
            fold,
            {seed: kept(one, scenes[fold, seed] == kind) for seed, one in of_fold.seeds.items()},
        )
        for fold, of_fold in result.folds.items()
    }
    return replace(result, folds=folds)


def scenes_of(
    plan: Plan, dataset: str, shot: int
) -> tuple[dict[tuple[int, int], np.ndarray], dict[str, float]]:
    """The scenes of all test episodes of a data set.

    Returns:
        (fold, episode seed) -> scene of every episode, (E,) str; and scene -> median share of the
        photo that the object covers.
    """
    source = plan.paths.source(dataset)
    images = Catalog({dataset: open_dataset(source, plan.experiment.raw_data_root)})
    found, shares = {}, defaultdict[str, list[float]](list)
    for fold in plan.experiment.tables.folds:
        for seed in range(plan.experiment.evaluation.seeds):
            path = plan.paths.test_episodes(dataset, fold, shot, seed, ".json")
            episodes = EpisodeList.load(path)
            kinds = []
            for episode in map(episodes.__getitem__, range(len(episodes))):
                kind, share = scene(images.mask(episode.query), episode.class_id)
                kinds.append(kind)
                shares[kind].append(share)
            found[fold, seed] = np.array(kinds)
    return found, {kind: float(np.median(some)) for kind, some in shares.items()}


def tested(argument: str, shots: int) -> tuple[Plan, str, list[RunResult]]:
    """The plan, the tested data set and the results of all trainings of EXPERIMENT:RUN."""
    name, _, path = argument.partition(":")
    plan = Plan(load_experiment(name))
    run = plan.runs.run_at(path)
    dataset = default_dataset(plan, run)
    return plan, dataset, results_of(plan, run, dataset, shots)


def main(
    run: Annotated[str, typer.Argument(help="EXPERIMENT:RUN, a path that `umtfss plan` prints")],
    against: Annotated[list[str], typer.Argument(help="runs that it is compared with, alike")],
    shots: Annotated[int, typer.Option(help="supports of an episode")] = 1,
    out: Annotated[Path, typer.Option(help="the CSV")] = RESULTS / "scenes.csv",
) -> None:
    """Compare a run with others in every scene, and write the table."""
    plan, dataset, results = tested(run, shots)
    scenes, shares = scenes_of(plan, dataset, shots)
    settings = plan.experiment.evaluation

    def rows() -> Iterator[tuple[object, ...]]:
        for other in against:
            for kind in SCENES:
                first, second = (
                    [of_scene(one, scenes, kind) for one in side]
                    for side in (tested(other, shots)[2], results)
                )
                row = next(compared(first, second, settings, {}, f"{dataset} {shots}-shot"))
                numbers = (shares[kind], row.second, row.first, *astuple(row.difference))
                yield run, other, kind, row.episodes, *(f"{100 * one:.1f}" for one in numbers)

    write_rows(out, COLUMNS, rows())


if __name__ == "__main__":
    typer.run(main)
