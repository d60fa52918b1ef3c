"""The path of every file of an experiment. No other module builds a path below results/."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from umtfss.data.class_list import ClassList, read_class_list
from umtfss.data.source import DatasetSource
from umtfss.experiment.datasets import OWN_KINDS
from umtfss.experiment.schema import Experiment
from umtfss.plan.run import EvaluationSpec, Measurement, RunSpec, TaskSource, evaluation_file

FOLDERS = (
    *("data", "features", "clustering", "pseudo_masks", "episodes", "training", "evaluation"),
    *("tables", "figures"),
)


@dataclass(frozen=True, order=True)
class FeatureCache:
    """The cache of named frozen features of one split, with all levels.

    Attributes:
        features: Name of the features in the experiment.
        dataset: Data set.
        split: Split of the data set.
    """

    features: str
    dataset: str
    split: str

    @property
    def images(self) -> tuple[str, str]:
        """The data set and the split."""
        return self.dataset, self.split


class Paths:
    """The files of an experiment.

    Args:
        experiment: The validated experiment.
    """

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.root = f"results/{experiment.name}"
        self._class_lists: dict[str, ClassList] = {}

    @property
    def settings(self) -> str:
        """The experiment's settings with all defaults filled in."""
        return f"{self.root}/settings.yaml"

    @property
    def claims(self) -> tuple[str, str]:
        """The ledger of claims, Markdown and JSON."""
        return f"{self.root}/tables/claims.md", f"{self.root}/tables/claims.json"

    @property
    def metrics(self) -> tuple[str, str, str]:
        """What DVC shows: numbers, the declared plots, and the manifest of both."""
        return f"{self.root}/metrics.json", f"{self.root}/dvc.yaml", f"{self.root}/dvc.json"

    @property
    def recorded_folders(self) -> list[str]:
        """The folders that DVC records: one for each arrow, and the pictures."""
        return [f"{self.root}/{name}" for name in FOLDERS]

    def source(self, dataset: str) -> DatasetSource:
        """The source from which a job opens a data set."""
        settings = self.experiment.datasets[dataset]
        folder = settings.folder or f"{self.root}/data/{dataset}/raw"  # kind shapes has none
        source = DatasetSource(dataset, settings.kind, folder, settings.shapes)
        if settings.kind not in OWN_KINDS:
            return source
        if dataset not in self._class_lists:
            root = source.files(self.experiment.raw_data_root)
            if settings.kind == "coco_json":
                from umtfss.data.coco_json import read_coco_classes as read  # it paints, too
            else:
                read = read_class_list
            self._class_lists[dataset] = read(root)
        return replace(source, class_list=self._class_lists[dataset])

    def sources(self, splits: Iterable[str]) -> list[DatasetSource]:
        """The sources of the data sets of `splits`, each once."""
        return [self.source(name) for name in sorted({name for name, _ in pairs_of(splits)})]

    def dataset_root(self, dataset: str) -> Path:
        """The folder of a data set's raw files."""
        return self.source(dataset).files(self.experiment.raw_data_root)

    def raw_marker(self, dataset: str) -> list[str]:
        """The file that marks the raw files as complete; empty for files that the user brings."""
        settings = self.experiment.datasets[dataset]
        if settings.kind == "shapes":
            return [f"{self.root}/data/{dataset}/generated.json"]
        return [f"{self.root}/data/{dataset}/downloaded.json"] if settings.download else []

    def index(self, dataset: str, split: str) -> str:
        """The verified list of a split's images."""
        return f"{self.root}/data/{dataset}/{split}.json"

    def tested_split(self, dataset: str) -> str:
        """The tested split of a data set, e.g. "pascal/val"."""
        return f"{dataset}/{self.experiment.datasets[dataset].test_split}"

    def test_index(self, dataset: str) -> str:
        """The verified list of a data set's test images."""
        return self.index(dataset, self.experiment.datasets[dataset].test_split)

    def pool_indexes(self, pool: str) -> list[str]:
        """The verified lists of a pool's images."""
        return [self.index(*pair) for pair in pairs_of(self.experiment.pools[pool].images)]

    def fold_indexes(self, pool: str, fold: str) -> list[str]:
        """The verified lists that select a fold's images; empty if all images are used."""
        return [] if fold == "all" else self.pool_indexes(pool)

    def feature_manifests(self, caches: Iterable[FeatureCache]) -> list[str]:
        """The manifests of all shards of the caches."""
        return [
            f"{self.root}/features/{c.features}/{c.dataset}/{c.split}/shard{shard}/manifest.json"
            for c in caches
            for shard in range(self.experiment.extraction.shards)
        ]

    def centroids(self, pool: str, suffix: str = ".h5") -> str:
        """The cluster centroids of a pool (`.h5`), or their manifest (`.json`)."""
        return f"{self.root}/clustering/{pool}/centroids{suffix}"

    def feature_manifest(self, features: str, dataset: str, split: str, shard: str) -> str:
        """The manifest of one shard of the named features of a split."""
        return self.feature_manifests([FeatureCache(features, dataset, split)])[int(shard)]

    def diffusion_map(self, features: str, suffix: str = ".h5") -> str:
        """The diffusion map of named features (`.h5`), or its manifest (`.json`)."""
        return f"{self.root}/features/{features}/diffusion{suffix}"

    def pseudo_masks(self, pool: str, suffix: str = ".h5") -> list[str]:
        """The pseudo-mask shards of a pool (`.h5`), or their manifests (`.json`)."""
        return [
            f"{self.root}/pseudo_masks/{pool}/{name.replace('/', '-')}-shard{shard}{suffix}"
            for name in self.experiment.pools[pool].images
            for shard in range(self.experiment.extraction.shards)
        ]

    def saliency_masks(self, pool: str, suffix: str = ".h5") -> list[str]:
        """The salient masks of a pool, by shard (`.h5`), or their manifests (`.json`)."""
        return [
            f"{self.root}/pseudo_masks/saliency-{name.replace('/', '-')}-shard{shard}{suffix}"
            for name in self.experiment.pools[pool].images
            for shard in range(self.experiment.extraction.shards)
        ]

    def superpixels(self, dataset: str, split: str, suffix: str = ".h5") -> list[str]:
        """The superpixels of a split's images, by shard (`.h5`), or their manifests (`.json`)."""
        return [
            f"{self.root}/pseudo_masks/superpixels-{dataset}-{split}-shard{shard}{suffix}"
            for shard in range(self.experiment.extraction.shards)
        ]

    def task_masks(self, run: RunSpec, suffix: str = ".h5") -> list[str]:
        """The mask files of a run's tasks; empty if the tasks come from labels."""
        match run.tasks:
            case TaskSource.CLUSTERS:
                return self.pseudo_masks(run.pool, suffix)
            case TaskSource.SALIENCY:
                return self.saliency_masks(run.pool, suffix)
            case _:
                return []

    def training_episodes(self, run: RunSpec, suffix: str = ".h5") -> str:
        """The training episodes of a run (`.h5`), or their manifest (`.json`)."""
        tasks = run.tasks_of_fold
        if run.tasks is TaskSource.LABELS:
            tasks += f"-labels{run.ratio}"
        return f"{self.root}/episodes/train/{run.pool}/{tasks}-seed{run.seed}{suffix}"

    def test_episodes(
        self, dataset: str, fold: int, shot: int, seed: int, suffix: str = ".h5"
    ) -> str:
        """The test episodes of a fold (`.h5`), or their manifest (`.json`)."""
        return f"{self.root}/episodes/test/{dataset}/fold{fold}-{shot}shot-seed{seed}{suffix}"

    def training_folder(self, run: RunSpec) -> str:
        """The folder of a run's weights."""
        return f"{self.root}/training/{run.path}"

    def training_manifest(self, run: RunSpec | None) -> list[str]:
        """The manifest of a run's weights; empty without a run or without training."""
        if run is None or not run.is_trained:
            return []
        return [f"{self.training_folder(run)}/manifest.json"]

    def training_weights(self, run: RunSpec | None) -> list[str]:
        """The weights of a run; empty without a run or without training."""
        manifests = self.training_manifest(run)
        return [str(Path(path).with_name("weights.safetensors")) for path in manifests]

    def training_log(self, run: RunSpec) -> str:
        """The training curve of a run."""
        return f"{self.training_folder(run)}/log.csv"

    def evaluation(self, one: EvaluationSpec | Measurement) -> str:
        """The file of per-episode results of an evaluation, or that holds a measurement."""
        return f"{self.root}/evaluation/{evaluation_file(one)}"

    def table(self, name: str) -> list[str]:
        """The files of a table: LaTeX, CSV and Markdown."""
        suffixes = (".tex", "_notes.tex", "_page.tex", ".csv", ".md")
        return [f"{self.root}/tables/{name}{suffix}" for suffix in suffixes]

    def table_csv(self, name: str) -> str:
        """The CSV of a table."""
        return f"{self.root}/tables/{name}.csv"

    def table_markdown(self, name: str) -> str:
        """The caption, the cells and the notes of a table for readers."""
        return f"{self.root}/tables/{name}.md"

    @property
    def episode_pictures(self) -> str:
        """The pictures of test episodes that the report shows."""
        return f"{self.root}/figures/episodes.json"

    @property
    def rule_graph(self) -> str:
        """The picture of the experiment's rules."""
        return f"{self.root}/figures/rules.svg"

    @property
    def report(self) -> str:
        """The report, a HTML page."""
        return f"{self.root}/report.html"


def pairs_of(names: Iterable[str]) -> list[tuple[str, str]]:
    """(data set, split) of every name, such as "pascal/train"."""
    return [(dataset, split) for dataset, _, split in (name.partition("/") for name in names)]
