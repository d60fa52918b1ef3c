"""The heart: from the tables asked for to the distinct runs, and what every job reads.

Snakemake asks the plan for targets and inputs, the scripts for settings, the tables for where a
number lies (`umtfss/plan/paths.py`).
"""

from collections import Counter
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from umtfss.common.errors import ConfigError
from umtfss.experiment.schema import Experiment
from umtfss.plan.cells import FoldFile, Table, unsupervised_run
from umtfss.plan.paths import EvaluationSpec, FeatureCache, pairs_of
from umtfss.plan.run import Measurement, RunSpec
from umtfss.plan.run_settings import RunSettings
from umtfss.plan.tables.claim import Claim
from umtfss.plan.tables.registry import all_claims, all_tables

TRAIN = "train"  # the split whose labels are trained on


class Plan(RunSettings):
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

        A run that no cell shows counts 0: one that others start from, or have the weights of.
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
        cells.update({run.trained_as: 0 for run in cells if run.is_trained})
        return dict(sorted(cells.items()))

    @property
    def trained_runs(self) -> list[RunSpec]:
        """Runs that have to be trained."""
        return [run for run in self.sharing if run.is_trained and run == run.trained_as]

    @cached_property
    def evaluations(self) -> dict[tuple[str, str, int], EvaluationSpec]:
        """(run path, data set, shot) -> the evaluation, over every table of the experiment."""
        folds: dict[tuple[RunSpec, str, int], set[int]] = {}
        seeds: Counter[tuple[RunSpec, str, int]] = Counter()
        for table in self.every_table:
            for m in table.measurements:
                key = (m.run, m.dataset, m.shot)
                folds.setdefault(key, set()).add(m.fold)
                seeds[key] = max(seeds[key], m.seeds)
        return {
            (run.path, dataset, shot): EvaluationSpec(
                run, dataset, shot, tuple(sorted(tested)), seeds[run, dataset, shot]
            )
            for (run, dataset, shot), tested in folds.items()
        }

    def evaluations_of(self, table: Table[Measurement]) -> list[EvaluationSpec]:
        """The evaluations that a table reads."""
        return self._evaluations_of(table.measurements)

    @cached_property
    def claims(self) -> tuple[Claim[Measurement], ...]:
        """The claims of the paper, over every table of the experiment."""
        return all_claims(self.every_table)

    def _evaluations_of(self, measured: Iterable[Measurement]) -> list[EvaluationSpec]:
        keys = {(m.run.path, m.dataset, m.shot) for m in measured}
        return [self.evaluations[key] for key in sorted(keys)]

    def fold_file(self, measured: Measurement) -> FoldFile:
        """Where a measurement lies."""
        run, dataset, shot = measured.run, measured.dataset, measured.shot
        return FoldFile(
            self.evaluation(self.evaluations[run.path, dataset, shot]),
            measured.fold,
            measured.seeds,
            run.seed if run.is_trained else None,
            f"{dataset} {shot}-shot",
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
        if run.tasks == "sup":
            return [f"{run.pool}/{TRAIN}"]
        return self.experiment.pools[run.pool].images

    # What is frozen

    @cached_property
    def feature_caches(self) -> list[FeatureCache]:
        """Every cache that the tables asked for need."""
        experiment, caches = self.experiment, set[FeatureCache]()
        for run in self.trained_runs:
            caches.update(self.training_caches(run))
            if run.tasks == "saliency":
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

    def test_superpixels(self, run: RunSpec, dataset: str) -> list[str]:
        """The superpixels of a data set's test images; none if the run does not ask for them."""
        if not self.model_settings(run).superpixels:
            return []
        return self.superpixels(dataset, self.experiment.datasets[dataset].test_split)

    # Where it lies

    @property
    def ledger(self) -> list[str]:
        """The ledger of claims, which needs every table; none if only some were asked for."""
        whole = self.tables == self.every_table != ()
        return [f"{self.root}/claims.md"] if whole else []

    @property
    def pools(self) -> list[str]:
        """The unlabelled pools whose clusters the tables asked for train on."""
        return sorted({run.pool for run in self.trained_runs if run.tasks == "unsup"})

    @property
    def mask_files(self) -> list[str]:
        """The manifests of all pseudo-masks that the tables asked for need, and superpixels."""
        lists = [self.task_masks(run, ".json") for run in self.trained_runs]
        lists += [self.superpixels(*pair) for pair in self.superpixel_splits]
        return sorted(set().union(*lists))

    @property
    def superpixel_splits(self) -> list[tuple[str, str]]:
        """The tested splits, (data set, split), whose superpixels the tables asked for need."""
        tested = {(m.run, m.dataset) for table in self.tables for m in table.measurements}
        needed = {name for run, name in tested if self.test_superpixels(run, name)}
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
        """The evaluation whose predictions are drawn: the main run, 1-shot."""
        return next(e for e in self.evaluations.values() if e.run == self.main_run and e.shot == 1)

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
        splits = self.training_splits(run)
        pixels = run.tasks == "sup" or self.model_features(run).live is not None
        return {
            "episodes": self.training_episodes(run, ".json"),
            "masks": self.task_masks(run, ".json"),
            "features": self.feature_manifests(self.training_caches(run)),
            "indexes": [self.index(*pair) for pair in pairs_of(splits)] if pixels else [],
            "initial": self.training_manifest(run.initial),
        }

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
            "superpixels": self.test_superpixels(run, dataset),
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
