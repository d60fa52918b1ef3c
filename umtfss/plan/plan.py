"""The heart: from the tables asked for to the distinct runs, and what every job reads.

Snakemake asks the plan for targets and inputs, the scripts for settings, the tables for where a
number lies (`umtfss/plan/paths.py`).
"""

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from umtfss.common.errors import ConfigError
from umtfss.data.source import DatasetSource
from umtfss.data.splits import ClassPresence, base_classes
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.models import MASKSPLIT
from umtfss.experiment.schema import Experiment
from umtfss.experiment.training import TrainingConfig
from umtfss.plan.cells import FoldFile, Table, unsupervised_run
from umtfss.plan.features import Caches
from umtfss.plan.paths import FeatureCache, pairs_of
from umtfss.plan.run import EvaluationSpec, Measurement, RunSpec, TaskSource, evaluation_file
from umtfss.plan.tables.claim import Claim
from umtfss.plan.tables.registry import all_claims, all_tables

TRAIN = "train"  # the split whose labels are trained on


class Plan(Caches):
    """What an experiment computes.

    Args:
        experiment: The validated experiment.
        tables: Names of the tables asked for, e.g. ("table4",); all if none are named. They
            select targets only: what a shared run is, never depends on what was asked for.

    Raises:
        ConfigError: The experiment has no such table.
    """

    def __init__(self, experiment: Experiment, tables: Iterable[str] = ()) -> None:
        super().__init__(experiment)
        self.every_table = all_tables(experiment)
        known = {table.name: table for table in self.every_table}
        asked = tuple(tables) or tuple(known)
        for name in asked:
            if name not in known:
                raise ConfigError(
                    f"experiment {experiment.name} has no table {name!r}",
                    expected=f"one of {sorted(known)}",
                    fix=f"add a block tables.{name} to its file",
                )
        self.tables: tuple[Table[Measurement], ...] = tuple(known[name] for name in asked)

    # What is computed

    @cached_property
    def sharing(self) -> dict[RunSpec, int]:
        """Distinct runs of the tables asked for -> number of cells that use them.

        A run that no cell shows, because others start from it, counts 0.
        An experiment without tables trains the model block once on every pool that has a training
        block.
        """
        if not self.every_table:
            pools = sorted(self.experiment.training)
            return {unsupervised_run(self.experiment, pool): 0 for pool in pools}
        cells: Counter[RunSpec] = Counter()
        for table in self.tables:
            for cell in table.cells:
                cells.update({measurement.run for measurement in cell.measurements})
        cells.update({run.initial: 0 for run in cells if run.initial is not None})
        return dict(sorted(cells.items(), key=lambda one: one[0].path))

    @property
    def trained_runs(self) -> list[RunSpec]:
        """Runs that have to be trained."""
        return [run for run in self.sharing if run.is_trained]

    @cached_property
    def evaluations(self) -> dict[str, EvaluationSpec]:
        """File below evaluation/ -> the evaluation, over every table of the experiment."""
        parts: dict[str, list[Measurement]] = {}
        for table in self.every_table:
            for measured in table.measurements:
                parts.setdefault(evaluation_file(measured), []).append(measured)
        return {
            file: EvaluationSpec(
                first.run,
                first.dataset,
                first.shot,
                tuple(sorted({first.fold, *(one.fold for one in others)})),
                max(one.seeds for one in (first, *others)),
                first.refine,
            )
            for file, (first, *others) in parts.items()
        }

    def evaluations_of(self, table: Table[Measurement]) -> list[EvaluationSpec]:
        """The evaluations that a table reads."""
        return self._evaluations_of(table.measurements)

    @cached_property
    def claims(self) -> tuple[Claim[Measurement], ...]:
        """The claims of the paper, over every table of the experiment."""
        return all_claims(self.every_table)

    def _evaluations_of(self, measured: Iterable[Measurement]) -> list[EvaluationSpec]:
        return [self.evaluations[file] for file in sorted(set(map(evaluation_file, measured)))]

    def evaluation_at(self, wildcards: Any) -> EvaluationSpec:
        """The evaluation that a rule's wildcards name: run, dataset, shot and refine."""
        of = wildcards
        return self.evaluations[f"{of.run}/{of.dataset}-{of.shot}shot{of.refine}.json"]

    def fold_file(self, measured: Measurement) -> FoldFile:
        """Where a measurement lies."""
        return FoldFile(
            self.evaluation(measured),
            measured.fold,
            measured.seeds,
            measured.run.seed if measured.run.is_trained else None,
            f"{measured.dataset} {measured.shot}-shot",
        )

    def run_at(self, path: str) -> RunSpec:
        """The run whose results lie at `path` below training/.

        Raises:
            ConfigError: No table of the experiment needs such a run.
        """
        if path not in self._runs:
            raise ConfigError(
                f"no table of experiment {self.experiment.name} needs the run {path}",
                expected="one of " + ", ".join(self._runs) + "; to predict, also prototype",
                fix="correct the path, or add the table or cell to the experiment's file",
            )
        return self._runs[path]

    @cached_property
    def _runs(self) -> dict[str, RunSpec]:
        """Path -> run, over every table of the experiment."""
        return {run.path: run for run in Plan(self.experiment).sharing}

    def training_splits(self, run: RunSpec) -> list[str]:
        """The data set splits whose images a run is trained on, e.g. ["pascal/train"]."""
        if run.tasks is TaskSource.LABELS:
            return [f"{run.pool}/{TRAIN}"]
        return self.experiment.pools[run.pool].images

    def reads_images(self, run: RunSpec) -> bool:
        """Whether a training reads images or labels; else the raw files may be gone."""
        return run.tasks is TaskSource.LABELS or self.model_features(run).live is not None

    # What is set

    def model_settings(self, run: RunSpec) -> ModelConfig:
        """The model block with the run's overrides, as far as its model reads it."""
        return self.experiment.model.changed(dict(run.overrides)).of_model(run.model)

    def training_settings(self, run: RunSpec) -> TrainingConfig:
        """The training block of the run's stage, with what differs for its model."""
        experiment = self.experiment
        stages = experiment.training
        if run.tasks is TaskSource.LABELS:
            stages = experiment.fine_tuning if run.init else experiment.supervised
        return stages[run.pool].of_model(run.model)

    def fold_classes(self, pool: str, fold: str) -> dict[str, ClassPresence] | None:
        """Data set of a pool -> the classes that its images must hold, in a fold; "all": none."""
        if fold == "all":
            return None
        found = {}
        for source in self.sources(self.experiment.pools[pool].images):
            classes = base_classes(source.kind, int(fold.removeprefix("fold")))
            area = self.experiment.datasets[source.name].min_class_area
            found[source.name] = ClassPresence(classes, area)
        return found

    def split_stage(self, pool: str) -> TrainingConfig:
        """The training on split masks of a pool; their episodes are MaskSplit's alone."""
        return self.experiment.training[pool].of_model(MASKSPLIT)

    def label_stages(self, dataset: str) -> list[TrainingConfig]:
        """The trainings on labels of a data set; all of them draw from one list of episodes."""
        blocks = (self.experiment.supervised, self.experiment.fine_tuning)
        return [block[dataset] for block in blocks if dataset in block]

    # What is frozen

    @cached_property
    def feature_caches(self) -> list[FeatureCache]:
        """Every cache that the tables asked for need."""
        experiment, caches = self.experiment, set[FeatureCache]()
        for run in self.trained_runs:
            caches.update(self.training_caches(run))
            if run.tasks is TaskSource.SALIENCY:
                images = experiment.pools[run.pool].images
                caches.update(self.caches(experiment.salient_features, images))
        for pool in self.pools:
            for name in (experiment.clustered_features(pool), experiment.assigned_features(pool)):
                caches.update(self.caches(name, experiment.pools[pool].images))
        for table in self.tables:
            for m in table.measurements:
                caches.update(self.tested_caches(m.run, m.dataset))
        return sorted(caches | self.source_caches(caches))

    def training_caches(self, run: RunSpec) -> list[FeatureCache]:
        """The caches that a run is trained on; none if its features are live."""
        return self.caches(self.run_features(run), self.training_splits(run))

    def tested_caches(self, run: RunSpec, dataset: str) -> list[FeatureCache]:
        """The caches of a data set's test images that a run reads; none if they are live."""
        return self.caches(self.run_features(run), [self.tested_split(dataset)])

    def test_superpixels(self, one: EvaluationSpec | Measurement) -> list[str]:
        """The superpixels of the test images of an evaluation; none if no step reads them."""
        if "superpixels" not in one.refine:
            return []
        return self.superpixels(one.dataset, self.experiment.datasets[one.dataset].test_split)

    # Where it lies

    @property
    def ledger(self) -> list[str]:
        """The ledger of claims, which needs every table; none if only some were asked for."""
        whole = self.tables == self.every_table != ()
        return [f"{self.root}/claims.md"] if whole else []

    @property
    def pools(self) -> list[str]:
        """The unlabelled pools whose clusters the tables asked for train on."""
        return sorted({run.pool for run in self.trained_runs if run.tasks is TaskSource.CLUSTERS})

    @property
    def mask_files(self) -> list[str]:
        """The manifests of all pseudo-masks that the tables asked for need, and superpixels."""
        lists = [self.task_masks(run, ".json") for run in self.trained_runs]
        lists += [self.superpixels(*pair) for pair in self.superpixel_splits]
        return sorted(set().union(*lists))

    @property
    def superpixel_splits(self) -> list[tuple[str, str]]:
        """The tested splits, (data set, split), whose superpixels the tables asked for need."""
        measured = (m for table in self.tables for m in table.measurements)
        needed = {one.dataset for one in measured if self.test_superpixels(one)}
        return pairs_of(self.tested_split(name) for name in sorted(needed))

    @property
    def indexes(self) -> list[str]:
        """The verified lists of every split that the tables asked for read."""
        tested = {m.dataset for table in self.tables for m in table.measurements}
        splits = {self.tested_split(dataset) for dataset in tested}
        splits = splits.union(*(self.training_splits(run) for run in self.trained_runs))
        splits |= {"/".join(cache.images) for cache in self.feature_caches}
        return sorted(self.index(*pair) for pair in pairs_of(splits))

    @property
    def test_seeds(self) -> int:
        """Number of episode seeds that are drawn."""
        measured = (m.seeds for table in self.every_table for m in table.measurements)
        return max(measured, default=0)

    @property
    def episode_files(self) -> list[str]:
        """Every episode file that the tables asked for read."""
        specs = [spec for table in self.tables for spec in self.evaluations_of(table)]
        test = {path for spec in specs for path in self.tested_episodes(spec)}
        return sorted(test | {self.training_episodes(run, ".json") for run in self.trained_runs})

    def table_named(self, name: str) -> Table[Measurement]:
        """A table of the experiment."""
        return next(table for table in self.every_table if table.name == name)

    @cached_property
    def main_run(self) -> RunSpec:
        """The trained run that most cells share, over every table of the experiment."""
        sharing = Plan(self.experiment).sharing
        return max((run for run in sharing if run.is_trained), key=lambda run: sharing[run])

    @property
    def panel(self) -> EvaluationSpec:
        """The evaluation whose predictions are drawn: the main run, 1-shot, every step taken."""
        steps = self.experiment.evaluation.refine.steps
        own = (one for one in self.evaluations.values() if one.run == self.main_run)
        return next(one for one in own if (one.shot, one.refine) == (1, steps))

    @property
    def figures(self) -> list[str]:
        """The pictures of the tables asked for."""
        names = [f"clusters-{pool}.png" for pool in self.pools]
        drawn = {"table2": "label_ratios.png", "table4": "table4_heatmap.png"}
        names += [drawn[table.name] for table in self.tables if table.name in drawn]
        if any(m.run == self.main_run and m.shot == 1 for t in self.tables for m in t.measurements):
            names.append("qualitative.png")
        return [f"{self.root}/figures/{name}" for name in names]

    # What a job reads

    def training_inputs(self, run: RunSpec) -> dict[str, Any]:
        """Manifests and files that the training of a run reads."""
        splits = self.training_splits(run) if self.reads_images(run) else []
        return {
            "episodes": self.training_episodes(run, ".json"),
            "masks": self.task_masks(run, ".json"),
            "features": self.feature_manifests(self.training_caches(run)),
            "indexes": [self.index(*pair) for pair in pairs_of(splits)],
            "initial": self.training_manifest(run.initial),
        }

    def training_sources(self, run: RunSpec) -> list[DatasetSource]:
        """The data sets whose images or labels a training reads."""
        return self.sources(self.training_splits(run)) if self.reads_images(run) else []

    def training_files(self, run: RunSpec) -> list[str]:
        """The big files that the manifests of `training_inputs` describe."""
        masks = self.task_masks(run)
        return [self.training_episodes(run), *masks, *self.training_weights(run.initial)]

    def clustered_features(self, pool: str) -> list[str]:
        """The manifests of the features that the clustering of a pool reads."""
        name = self.experiment.clustered_features(pool)
        return self.feature_manifests(self.caches(name, self.experiment.pools[pool].images))

    def mapped_features(self, features: str) -> list[str]:
        """The manifests of the features that named ones are diffused over."""
        return self.feature_manifests(self.mapped_caches(features))

    def features_before(self, features: str, dataset: str, split: str, shard: str) -> str:
        """The manifest of the shard that a shard of diffused features is made of."""
        return self.feature_manifest(self.experiment.source_of(features), dataset, split, shard)

    def assigned_features(self, pool: str, dataset: str, split: str, shard: str) -> str:
        """The manifest of the shard of features that pseudo-masks are made of."""
        return self.feature_manifest(self.experiment.assigned_features(pool), dataset, split, shard)

    def salient_features(self, dataset: str, split: str, shard: str) -> str:
        """The manifest of the shard of features that saliency is found in."""
        return self.feature_manifest(self.experiment.salient_features, dataset, split, shard)

    def table_inputs(self, name: str) -> list[str]:
        """The evaluation files that a table reads."""
        return [self.evaluation(spec) for spec in self.evaluations_of(self.table_named(name))]

    @property
    def claim_inputs(self) -> list[str]:
        """The evaluation files that the ledger of claims reads."""
        measured = (m for claim in self.claims for m in claim.measurements)
        return [self.evaluation(spec) for spec in self._evaluations_of(measured)]

    def tested_episodes(self, spec: EvaluationSpec) -> list[str]:
        """The files of the episodes of an evaluation."""
        return [
            self.test_episodes(spec.dataset, fold, spec.shot, seed)
            for fold in spec.folds
            for seed in range(spec.seeds)
        ]

    def evaluation_inputs(self, spec: EvaluationSpec) -> dict[str, Any]:
        """Manifests and files that an evaluation reads."""
        run, dataset = spec.run, spec.dataset
        return {
            "weights": self.training_manifest(run),
            "features": self.feature_manifests(self.tested_caches(run, dataset)),
            "superpixels": self.test_superpixels(spec),
            "index": self.test_index(spec.dataset),
            "episodes": self.tested_episodes(spec),
        }


def table_names(asked: object) -> list[str]:
    """The tables that a user asked for, named in full.

    Args:
        asked: A name or a list of names, separated by commas or not; `4` stands for `table4`.
    """
    several = asked if isinstance(asked, list | tuple) else str(asked).split(",")
    names = [str(name).strip() for name in several]
    return [f"table{name}" if name.isdigit() else name for name in names if name]
