"""The plan of an experiment; each part of the plan is a file of its own.

Snakemake asks the plan for targets and inputs. Jobs ask for settings, and tables for the files of
their numbers.
"""

from collections.abc import Iterable
from functools import cached_property
from itertools import product

from umtfss.experiment.schema import Experiment
from umtfss.plan.features import Features
from umtfss.plan.inputs import Inputs
from umtfss.plan.paths import FeatureCache, Paths, pairs_of
from umtfss.plan.run import TaskSource
from umtfss.plan.runs import Runs


class Plan:
    """The plan of an experiment: its targets, and parts for everything else.

    Attributes:
        experiment: The validated experiment.
        paths: Where files lie.
        features: The frozen features.
        runs: The runs, evaluations and tables.
        inputs: The inputs of each rule's jobs.

    Args:
        experiment: The validated experiment.
        tables: Names of the requested tables, e.g. ("table4",); empty: all tables.

    Raises:
        ConfigError: The experiment has no such table.
    """

    def __init__(self, experiment: Experiment, tables: Iterable[str] = ()) -> None:
        self.experiment = experiment
        self.paths, self.features = Paths(experiment), Features(experiment)
        self.runs = Runs(experiment, tables)
        self.inputs = Inputs(self.paths, self.features, self.runs)

    @cached_property
    def feature_caches(self) -> list[FeatureCache]:
        """Every cache that the requested tables need."""
        experiment, caches = self.experiment, set[FeatureCache]()
        for run in self.runs.trained_runs:
            caches.update(self.inputs.training_caches(run))
            if run.tasks is TaskSource.SALIENCY:
                images = experiment.pools[run.pool].images
                caches.update(self.features.caches(experiment.salient_features, images))
        for pool in self.runs.pools:
            for name in (experiment.clustered_features(pool), experiment.assigned_features(pool)):
                caches.update(self.features.caches(name, experiment.pools[pool].images))
        for table in self.runs.tables:
            for m in table.measurements:
                caches.update(self.inputs.tested_caches(m.run, m.dataset))
        return sorted(caches | self.features.source_caches(caches))

    @property
    def ledger(self) -> list[str]:
        """The ledger of claims, which needs all tables; empty without tables, or with some."""
        needed = self._is_whole and self.runs.tables
        return list(self.paths.claims) if needed else []

    @property
    def metrics(self) -> list[str]:
        """What DVC shows, which needs all tables; empty if not all are requested."""
        return list(self.paths.metrics) if self._is_whole else []

    @property
    def _is_whole(self) -> bool:
        return self.runs.tables == self.runs.every_table

    @property
    def mask_files(self) -> list[str]:
        """The pseudo-masks and superpixels that the requested tables need, with manifests."""
        found: set[str] = set()
        for suffix in (".h5", ".json"):
            for run in self.runs.trained_runs:
                found.update(self.paths.task_masks(run, suffix))
            for pair in self.superpixel_splits:
                found.update(self.paths.superpixels(*pair, suffix))
        return sorted(found)

    @property
    def superpixel_splits(self) -> list[tuple[str, str]]:
        """The tested splits, (data set, split), whose superpixels the requested tables need."""
        measured = (m for table in self.runs.tables for m in table.measurements)
        needed = {one.dataset for one in measured if self.inputs.test_superpixels(one)}
        return pairs_of(self.paths.tested_split(name) for name in sorted(needed))

    @property
    def indexes(self) -> list[str]:
        """The verified lists of every split that the requested tables read."""
        tested = {m.dataset for table in self.runs.tables for m in table.measurements}
        splits = {self.paths.tested_split(dataset) for dataset in tested}
        splits = splits.union(*(self.runs.training_splits(run) for run in self.runs.trained_runs))
        splits |= {"/".join(cache.images) for cache in self.feature_caches}
        return sorted(self.paths.index(*pair) for pair in pairs_of(splits))

    @property
    def episode_files(self) -> list[str]:
        """The episodes that the requested tables read, with manifests."""
        specs = [spec for table in self.runs.tables for spec in self.runs.evaluations_of(table)]
        found: set[str] = set()
        for suffix in (".h5", ".json"):
            for spec in specs:
                found.update(self.inputs.tested_episodes(spec, suffix))
            for run in self.runs.trained_runs:
                found.add(self.paths.training_episodes(run, suffix))
        return sorted(found)

    @property
    def has_panel(self) -> bool:
        """Whether a requested table tests the main run with one shot."""
        return any(
            m.run == self.runs.main_run and m.shot == 1
            for table in self.runs.tables
            for m in table.measurements
        )

    @property
    def figures(self) -> list[str]:
        """The pictures of the requested tables, and the purity of clusters."""
        drawn_pools = product(self.runs.pools, (".png", ".pdf", "-purity.json"))
        names = [f"clusters-{pool}{suffix}" for pool, suffix in drawn_pools]
        drawn = {"table2": "label_ratios", "table4": "table4_heatmap"}
        stems = [drawn[table.name] for table in self.runs.tables if table.name in drawn]
        stems += ["qualitative"] * self.has_panel
        names += [stem + suffix for stem in stems for suffix in (".png", ".pdf")]
        return [f"{self.paths.root}/figures/{name}" for name in names]

    @property
    def floor_of_ratios(self) -> list[str]:
        """The headline's CSV, if requested and with the floor on Table 2's data set; else empty."""
        own, requested = self.experiment.tables, {table.name for table in self.runs.tables}
        if own.headline is None or own.table2 is None or "headline" not in requested:
            return []
        alike = own.headline.dataset == own.table2.dataset and 1 in self.experiment.evaluation.shots
        return [self.paths.table_csv("headline")] * alike

    @property
    def report_inputs(self) -> dict[str, list[str]]:
        """The files that the report of the requested tables shows."""
        paths, panel = self.paths, self.has_panel
        own = [self.runs.panel] if panel else []
        floor = [paths.evaluation(self.runs.panel_floor)] if panel else []
        tested = {paths.evaluation(one) for one in self.runs.evaluations.values()}
        return {
            "settings": [paths.settings],
            "tables": [paths.table_csv(table.name) for table in self.runs.tables],
            "notes": [paths.table_markdown(table.name) for table in self.runs.tables],
            "claims": [path for path in self.ledger if path.endswith(".json")],
            "figures": [path for path in self.figures if path.endswith(".png")],
            "episodes": [paths.episode_pictures] if panel else [],
            "results": [paths.evaluation(one) for one in own],
            "floor": [path for path in floor if path in tested],
            "curves": [paths.training_log(run) for run in self.runs.trained_runs],
            "rules": [paths.rule_graph],
        }


def table_names(asked: object) -> list[str]:
    """The full names of the tables that a user requested.

    Args:
        asked: A list of names, or a text of names separated by commas; `4` stands for `table4`.
    """
    several = asked if isinstance(asked, list | tuple) else str(asked).split(",")
    names = [str(name).strip() for name in several]
    return [f"table{name}" if name.isdigit() else name for name in names if name]
