"""The training and evaluation jobs of a tiny experiment, on drawn images with a random backbone."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from benchmarks.gpu.inputs import write_random_weights
from umtfss.backbones.build import build_live_extractor
from umtfss.common.device import prepare_process
from umtfss.common.digests import digest_file
from umtfss.data.index import DatasetIndex, build_index
from umtfss.data.open import open_dataset
from umtfss.data.shapes import write_shapes
from umtfss.data.source import DatasetSource
from umtfss.episodes.draw_labelled import draw_base_episodes, draw_test_episodes
from umtfss.evaluation.evaluate_run import EvaluationFiles, evaluate_run
from umtfss.evaluation.miou import summarise
from umtfss.evaluation.results import load_result
from umtfss.experiment.backbones import RESNET_CHANNELS
from umtfss.experiment.datasets import ExpectedCounts, ShapesConfig
from umtfss.experiment.evaluation import RefineConfig
from umtfss.experiment.features import ExtractedConfig, ModelFeatures
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.training import TrainingConfig
from umtfss.features.extract import extract_features
from umtfss.plan.jobs.evaluate_run import EvaluateRun
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.plan.run import TaskSource
from umtfss.training.train_run import TrainingFiles, TrainingResources, train_run

MODEL, DATASET, FOLD, PIXELS = "umtfss", "shapes", 0, 65
SHAPES = ShapesConfig(train_images=40, val_images=40, height=96, width=128)
MIN_AREA = 300
STEPS, EPISODES = 6, 20


@dataclass(frozen=True)
class World:
    """Files that every job reads.

    Attributes:
        folder: The folder of all files.
        source: The drawn data set.
        weights: The file of the backbone's weights.
    """

    folder: Path
    source: DatasetSource
    weights: Path

    @classmethod
    def drawn(cls, folder: Path) -> "World":
        """Draw images, indexes, episodes and weights into a folder."""
        folder.mkdir(parents=True)
        write_shapes(folder / "images", SHAPES)
        source = DatasetSource(DATASET, "shapes", str(folder / "images"), SHAPES)
        world = cls(folder, source, folder / "weights.safetensors")
        write_random_weights(world.weights)
        dataset = open_dataset(source)
        for split in ("train", "val"):
            build_index(dataset, split, ExpectedCounts("shapes", MIN_AREA), 1).save(
                world.index_path(split)
            )
        train, val = (world.index(split) for split in ("train", "val"))
        draw_base_episodes(
            train,
            source.base_classes(FOLD),
            shot=1,
            count=2 * STEPS,
            seed=0,
            min_area=MIN_AREA,
            allowed_ids=train.image_ids,
            key="train",
        ).save(folder / "train.h5", images_per_epoch=len(train.image_ids))
        draw_test_episodes(
            val,
            source.novel_classes(FOLD),
            shot=1,
            count=EPISODES,
            seed=0,
            draw="class_uniform",
            min_area=MIN_AREA,
            key="test",
        ).save(folder / "test.h5")
        return world

    def index_path(self, split: str) -> Path:
        """The file of a split's index."""
        return self.folder / f"{split}.index.json"

    def index(self, split: str) -> DatasetIndex:
        """The index of a split."""
        return DatasetIndex.load(self.index_path(split))

    def features(self, live: bool) -> ModelFeatures:
        """The features of the random backbone, live or cached."""
        given = {"source": str(self.weights), "sha256": digest_file(self.weights)}
        extracted = ExtractedConfig.model_validate(
            {
                "backbone": "resnet50",
                "long_side": PIXELS,
                "level": "layer4",
                "mid": ["layer2", "layer3"],
                "weights": {"resnet50": given},
                "cache": not live,
                "mid_std": None,
            }
        )
        return ModelFeatures(
            backbone="resnet50",
            long_side=PIXELS,
            mid=extracted.mid,
            mid_channels=[RESNET_CHANNELS[level] for level in extracted.mid],
            high=extracted.high,
            mid_std=None,
            live=extracted,
        )

    def cache(self, split: str) -> str:
        """Extract the features of a split on this process's device; the manifest."""
        settings = self.features(live=True).live
        assert settings is not None
        index = self.index(split)
        manifest = extract_features(
            open_dataset(self.source),
            index.image_ids,
            build_live_extractor(settings),
            PIXELS,
            self.folder / "features" / split,
            source=index.checksum,
            batch_size=8,
            device=prepare_process(1),
        )
        return str(manifest)


def miou(world: World, live: bool, trained: Path) -> float:
    """Train in a folder, unless that is done, and test: the mean IoU, percent."""
    features = world.features(live)
    if not live:
        features = features.model_copy(update={"live": None})
    keys = {"width": 32, "heads": 4, "layers": 1, "k_fg": 4, "k_bg": 8, "residual": "centred"}
    settings = ModelConfig().changed(keys)  # the residual predicts foreground at once
    manifest = trained / "manifest.json"
    if not manifest.is_file():
        training = {"steps": STEPS, "batch_size": 2, "loss_side": 48, "warmup_steps": 2}
        job = TrainModel(
            MODEL,
            settings,
            features,
            TrainingConfig.model_validate(training),
            TaskSource.LABELS,
            (world.source,),
            seed=0,
            behind={},
        )
        files = TrainingFiles(
            episodes=str(world.folder / "train.json"),
            masks=[],
            features=[] if live else [world.cache("train")],
            indexes=[str(world.index_path("train"))],
            initial=[],
        )
        train_run(job, files, str(trained), TrainingResources(threads=1))
    test = EvaluateRun(
        run="tiny",
        model=MODEL,
        settings=settings,
        features=features,
        dataset=world.source,
        shot=1,
        folds=(FOLD,),
        seeds=1,
        rare_classes="leave_out",
        refine=RefineConfig(),
        amp="off",
    )
    tested = EvaluationFiles(
        [str(manifest)],
        [] if live else [world.cache("val")],
        [],
        [str(world.folder / "test.json")],
    )
    path = world.folder / f"{trained.parent.name}-{trained.name}.json"
    evaluate_run(test, tested, path, batch_size=4, device=prepare_process(1))
    return 100 * summarise(load_result(path).folds[FOLD].pooled()).miou


def main(folder: Path, weights: Path | None) -> dict[str, float]:
    """The mean IoU of cached and of live features, percent.

    Args:
        folder: A new folder.
        weights: Folder of an earlier call, whose weights are tested as well.
    """
    world = World.drawn(folder)
    found = {}
    for name in ("cached", "live"):
        found[f"{name} features"] = miou(world, name == "live", folder / "trained" / name)
        if weights is not None:
            own = weights / "trained" / name
            found[f"{name} features, weights of the CPU"] = miou(world, name == "live", own)
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(main(arguments.folder, arguments.weights)))
