"""The test episodes of one fold and seed with the predictions of a run, truth and IoU.

Shapes: E episodes, H W pixels.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from umtfss.common.errors import ConfigError, StoreError
from umtfss.common.manifests import read_manifest
from umtfss.data.open import open_dataset
from umtfss.episodes.episode import KIND as EPISODES
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import GroundTruthMasks
from umtfss.episodes.overlap import foreground_overlap
from umtfss.evaluation.evaluate_run import (
    EvaluationFiles,
    scoring_options,
    tested_images,
    tested_model,
)
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import load_result
from umtfss.evaluation.scores import evaluate, predicted_scores
from umtfss.experiment.datasets import DATA_ROOT_VARIABLE
from umtfss.plan.jobs.evaluate_run import EvaluateRun
from umtfss.plan.plan import Plan
from umtfss.plan.run import EvaluationSpec, RunSpec
from umtfss.pseudo_masks.superpixels import KIND as SUPERPIXELS


@dataclass(frozen=True)
class EpisodeSet:
    """The test episodes of one file.

    Attributes:
        dataset: Data set tested.
        shot: K.
        fold: Fold tested.
        seed: Episode seed.
    """

    dataset: str
    shot: int
    fold: int
    seed: int

    def __str__(self) -> str:
        return f"{self.dataset} {self.shot}-shot, fold {self.fold}, seed {self.seed}"


@dataclass(frozen=True)
class Found:
    """The prediction of a run in a query.

    Attributes:
        mask: (H, W) bool.
        iou: IoU with the truth, in [0, 1]; label 255 is left out.
    """

    mask: np.ndarray
    iou: float


class TestedRun:
    """A run on test episodes. All files are checked before anything is computed.

    Args:
        plan: The experiment.
        run: One of its runs.
        tested: The episodes.
        refine: The steps of `evaluation.refine` that the scores go through.
        device: Where the model runs.

    Raises:
        ConfigError: The experiment has no such data set or fold, or the run was trained on the
            classes that the fold tests.
        StoreError: A file is missing, or the evaluation file was made with other files.
        DataError: The raw images are missing.
    """

    __test__ = False  # for pytest, which takes the name for a test

    def __init__(
        self,
        plan: Plan,
        run: RunSpec,
        tested: EpisodeSet,
        refine: tuple[str, ...],
        device: torch.device,
    ) -> None:
        _check_fold(plan, run, tested)
        folds = (tested.fold,)
        spec = EvaluationSpec(run, tested.dataset, tested.shot, folds, tested.seed + 1, refine)
        files = _files(plan, spec, tested)
        self.stored = _stored_scores(plan, spec, files, tested)
        # A job does not say where raw data lie; the Snakefile sets the variable for scripts.
        os.environ[DATA_ROOT_VARIABLE] = str(plan.experiment.raw_data_root)
        job = EvaluateRun.of_spec(plan, spec)
        self.episodes = EpisodeList.load(*files.episodes)
        self.images, self.model = tested_images(job, files, device), tested_model(job, files)
        self.masks = GroundTruthMasks(self.images)
        self.options = scoring_options(job, plan.experiment.evaluation.batch_size, device)
        self.class_names = open_dataset(job.dataset).class_names

    @property
    def ious(self) -> np.ndarray:
        """The IoU of every episode, (E,), from the evaluation file, else computed now."""
        scores = self.stored or evaluate(self.model, self.episodes, self.images, self.options)
        return scores.intersection / np.maximum(scores.union, 1)

    def truth(self, row: int) -> np.ndarray:
        """The true mask of an episode's query, (H, W) uint8 in {0, 1, 255}."""
        episode = self.episodes[row]
        return self.masks.mask(episode.query, episode.class_id)

    def find(self, rows: Sequence[int]) -> list[Found]:
        """The run's predictions in the queries of some episodes, in the order of `rows`."""
        scores = predicted_scores(self.model, self.episodes, self.images, self.options, rows)
        return [
            Found(score > 0, _iou(score > 0, self.truth(row)))
            for row, score in zip(rows, scores, strict=True)
        ]


def _iou(mask: np.ndarray, truth: np.ndarray) -> float:
    intersection, union = foreground_overlap(mask, truth)
    return float(intersection / max(1, union))


def _check_fold(plan: Plan, run: RunSpec, tested: EpisodeSet) -> None:
    """Refuse a fold without test episodes, and a run trained on the tested classes."""
    experiment = plan.experiment
    if tested.dataset not in experiment.datasets:
        raise ConfigError(
            f"experiment {experiment.name} has no data set {tested.dataset!r}",
            expected=f"one of {sorted(experiment.datasets)}",
            fix="correct --dataset",
        )
    if tested.fold not in experiment.tables.folds:
        raise ConfigError(
            f"experiment {experiment.name} does not test fold {tested.fold}",
            expected=f"one of {list(experiment.tables.folds)}",
            fix="correct --fold, or add it to tables.folds",
        )
    if run.fold not in (None, tested.fold):
        raise ConfigError(
            f"the run {run.path} may have been trained on the classes of fold {tested.fold}",
            expected=f"fold {run.fold}, whose classes it has not seen",
            found=f"fold {tested.fold}",
            fix="correct --fold or --run",
        )


def _files(plan: Plan, spec: EvaluationSpec, tested: EpisodeSet) -> EvaluationFiles:
    """The files that the evaluation reads, with the episodes of one fold and seed alone."""
    inputs = plan.inputs.evaluation_inputs(spec)
    episodes = [
        plan.paths.test_episodes(tested.dataset, tested.fold, tested.shot, tested.seed, suffix)
        for suffix in (".json", ".h5")
    ]
    files = EvaluationFiles(
        inputs["weights"], inputs["features"], inputs["superpixels"], episodes[:1]
    )
    needed = [*files.weights, *plan.paths.training_weights(spec.run), *files.features]
    needed += [*files.superpixels, *plan.inputs.test_superpixels(spec)]
    needed += [*episodes, *plan.paths.raw_marker(tested.dataset)]
    missing = [path for path in needed if not Path(path).is_file()]
    if missing:
        raise StoreError(
            f"files that {spec.run.path} is tested with are missing",
            expected=", ".join(needed),
            found="none of " + ", ".join(missing),
            fix="in the project's folder: snakemake --cores all --config "
            f"experiment={plan.experiment.name} -- {' '.join(missing)}",
        )
    return files


def _stored_scores(
    plan: Plan, spec: EvaluationSpec, files: EvaluationFiles, tested: EpisodeSet
) -> EpisodeScores | None:
    """The counts in the evaluation file; none if it is not there or lacks the fold or the seed."""
    path = plan.paths.evaluation(spec)
    if not Path(path).is_file():
        return None
    result = load_result(path)
    fold = result.folds.get(tested.fold)
    scores = fold.seeds.get(tested.seed) if fold else None
    if scores is None:
        return None
    key = f"fold{tested.fold}-seed{tested.seed}"
    used = {
        "weights": [read_manifest(file, "training")["digest"] for file in files.weights],
        "features": [read_manifest(file, "features")["digest"] for file in files.features],
        "superpixels": [SUPERPIXELS.manifest(file)["digest"] for file in files.superpixels],
        "episodes": EPISODES.manifest(files.episodes[0])["digest"],
    }
    stored = {**result.facts, "episodes": result.facts["episodes"][key]}
    for name, digest in used.items():
        if stored[name] != digest:
            raise StoreError(
                f"{path} was made with other {name} than the present files",
                expected=stored[name],
                found=digest,
                fix="in the project's folder: snakemake --cores all --force --config "
                f"experiment={plan.experiment.name} -- {path}",
            )
    return scores
