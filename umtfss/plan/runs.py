"""The distinct runs and evaluations of the requested tables, and the settings of each."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from typing import Any

from umtfss.common.errors import ConfigError
from umtfss.data.splits import ClassPresence
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.models import MASKSPLIT
from umtfss.experiment.schema import Experiment
from umtfss.experiment.training import TrainingConfig
from umtfss.plan.cells import FoldFile, Table, floor_run, unsupervised_run
from umtfss.plan.paths import Paths
from umtfss.plan.run import EvaluationSpec, Measurement, RunSpec, TaskSource, evaluation_file
from umtfss.plan.tables.claim import Claim
from umtfss.plan.tables.registry import all_claims, all_tables

TRAIN = "train"  # the split with training labels


class Runs:
    """The runs of an experiment.

    Args:
        experiment: The validated experiment.
        tables: Names of the requested tables; empty: all tables. Names select targets alone; the
            definition of a run does not depend on them.

    Raises:
        ConfigError: The experiment has no such table.
    """

    def __init__(self, experiment: Experiment, tables: Iterable[str] = ()) -> None:
        self.experiment, self.paths = experiment, Paths(experiment)
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

    @cached_property
    def sharing(self) -> dict[RunSpec, int]:
        """Distinct run of the requested tables -> number of cells that use the run.

        A run counts 0 if no cell shows it and other runs start from its weights. An experiment
        without tables trains the model block once on every pool with a training block.
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
        """The runs with a training."""
        return [run for run in self.sharing if run.is_trained]

    @cached_property
    def evaluations(self) -> dict[str, EvaluationSpec]:
        """File below evaluation/ -> evaluation, over all tables of the experiment."""
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
        return self.evaluations_behind(table.measurements)

    @cached_property
    def claims(self) -> tuple[Claim[Measurement], ...]:
        """The claims of the paper, over all tables of the experiment."""
        return all_claims(self.every_table)

    def evaluations_behind(self, measured: Iterable[Measurement]) -> list[EvaluationSpec]:
        """The evaluations that hold the measurements `measured`."""
        return [self.evaluations[file] for file in sorted(set(map(evaluation_file, measured)))]

    def evaluation_at(self, wildcards: Any) -> EvaluationSpec:
        """The evaluation that a rule's wildcards (run, dataset, shot, refine) name."""
        of = wildcards
        return self.evaluations[f"{of.run}/{of.dataset}-{of.shot}shot{of.refine}.json"]

    def fold_file(self, measured: Measurement) -> FoldFile:
        """The evaluation file of a measurement, and the measurement's part of it."""
        return FoldFile(
            self.paths.evaluation(measured),
            measured.fold,
            measured.seeds,
            measured.run.seed if measured.run.is_trained else None,
            f"{measured.dataset} {measured.shot}-shot",
        )

    def run_at(self, path: str) -> RunSpec:
        """The run with its results at `path` below training/.

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
        """Path -> run, over all tables of the experiment."""
        return {run.path: run for run in Runs(self.experiment).sharing}

    def training_splits(self, run: RunSpec) -> list[str]:
        """The data set splits whose images a run is trained on, e.g. ["pascal/train"]."""
        if run.tasks is TaskSource.LABELS:
            return [f"{run.pool}/{TRAIN}"]
        return self.experiment.pools[run.pool].images

    def model_settings(self, run: RunSpec) -> ModelConfig:
        """The model block with the run's overrides, reduced to the keys that its model reads."""
        return self.experiment.model.changed(dict(run.overrides)).of_model(run.model)

    def training_settings(self, run: RunSpec) -> TrainingConfig:
        """The training settings of a run, with the values for its model."""
        experiment = self.experiment
        stages = experiment.training
        if run.tasks is TaskSource.LABELS:
            stages = experiment.fine_tuning if run.init else experiment.supervised
        return stages[run.pool].of_model(run.model)

    def fold_classes(self, pool: str, fold: str) -> dict[str, ClassPresence] | None:
        """Data set of a pool -> classes that an image must hold in a fold; None for "all"."""
        if fold == "all":
            return None
        found = {}
        for source in self.paths.sources(self.experiment.pools[pool].images):
            classes = source.base_classes(int(fold.removeprefix("fold")))
            area = self.experiment.datasets[source.name].min_class_area
            found[source.name] = ClassPresence(classes, area)
        return found

    def split_stage(self, pool: str) -> TrainingConfig:
        """The settings of MaskSplit's training on a pool, whose episodes no other model reads."""
        return self.experiment.training[pool].of_model(MASKSPLIT)

    def label_stages(self, dataset: str) -> list[TrainingConfig]:
        """The settings of all trainings on labels of a data set, which share their episodes."""
        blocks = (self.experiment.supervised, self.experiment.fine_tuning)
        return [block[dataset] for block in blocks if dataset in block]

    @property
    def pools(self) -> list[str]:
        """The unlabelled pools on whose clusters the requested tables train."""
        return sorted({run.pool for run in self.trained_runs if run.tasks is TaskSource.CLUSTERS})

    @property
    def test_seeds(self) -> int:
        """The number of seeds for which test episodes are drawn."""
        measured = (m.seeds for table in self.every_table for m in table.measurements)
        return max(measured, default=0)

    def table_named(self, name: str) -> Table[Measurement]:
        """A table of the experiment."""
        return next(table for table in self.every_table if table.name == name)

    @cached_property
    def main_run(self) -> RunSpec:
        """The trained run that most cells share, over all tables of the experiment."""
        sharing = Runs(self.experiment).sharing
        return max((run for run in sharing if run.is_trained), key=lambda run: sharing[run])

    @property
    def panel(self) -> EvaluationSpec:
        """The evaluation of the qualitative panel: the main run, 1-shot, with every refinement."""
        steps = self.experiment.evaluation.refine.steps
        own = (one for one in self.evaluations.values() if one.run == self.main_run)
        return next(one for one in own if (one.shot, one.refine) == (1, steps))

    @property
    def panel_floor(self) -> EvaluationSpec:
        """The evaluation of the training-free floor on the episodes of the panel."""
        return replace(self.panel, run=floor_run(self.experiment), refine=())
