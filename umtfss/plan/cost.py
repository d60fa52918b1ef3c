"""The cost of an experiment before anything starts: disk exactly, time roughly.

Disk follows from grid sizes and channels. Time is floating-point work over the rate of the workers
(`umtfss/plan/rates.py`), plus the start of every job.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from umtfss.common.errors import DataError
from umtfss.data.open import open_dataset
from umtfss.experiment.backbones import backbone_spec, parts_of
from umtfss.experiment.features import ExtractedConfig
from umtfss.experiment.model import FFN_RATIO, ModelConfig
from umtfss.plan.paths import FeatureCache
from umtfss.plan.plan import Plan
from umtfss.plan.rates import Rates
from umtfss.plan.run import EvaluationSpec, RunSpec, TaskSource

# (H, W) of a typical photo of PASCAL VOC or COCO; exact sizes are known after images are read.
TYPICAL_SIZE = (375, 500)
# Measured on the photos and cores of `umtfss/plan/rates.py`.
# Core-seconds for the superpixels and regions of an image: 1,995 images in 4 jobs that took 170 s.
PSEUDO_MASK_SECONDS = 0.073
# GFLOP that take as long as the diffusion of a token: 499 images took 40 s.
DIFFUSION_GFLOP = 0.015
# Peak memory (benchmarks/README.md), GB: a process; in a training, a sample of two images of 3,600
# tokens from a cache in fp32; in an evaluation, a batch of 8 and the images held in memory.
PROCESS_GB, SAMPLE_GB, EVALUATION_GB = 1.1, 0.6, 3.4
SAMPLE_TOKENS = 2 * 3600


@dataclass(frozen=True)
class Cost:
    """The cost of one arrow.

    Attributes:
        arrow: Name of the arrow.
        jobs: Number of jobs.
        hours: Time with all workers busy, h (see `Rates`).
        gigabytes: Disk space of the outputs, GB.
    """

    arrow: str
    jobs: int
    hours: float
    gigabytes: float


@dataclass(frozen=True)
class TrainingFeatures:
    """The cost of one way to provide the features of trainings.

    Attributes:
        way: "cache" or "live".
        images: Number of images that the backbone processes.
        hours: Time on this machine's CPU with all cores busy, h.
        gigabytes: Disk space, GB.
    """

    way: str
    images: int
    hours: float
    gigabytes: float


def image_count(plan: Plan, dataset: str, split: str) -> int:
    """The number of images in a split: from its index, else expected, else listed; 0: no files."""
    index = Path(plan.paths.index(dataset, split))
    if index.is_file():
        return len(json.loads(index.read_text())["images"])
    settings = plan.experiment.datasets[dataset]
    if settings.shapes is not None:
        return settings.shapes.train_images if split == "train" else settings.shapes.val_images
    if split in settings.expected_images:
        return settings.expected_images[split]
    try:
        return len(
            open_dataset(plan.paths.source(dataset), plan.experiment.raw_data_root).ids(split)
        )
    except DataError:
        return 0


def warnings(plan: Plan) -> list[str]:
    """A line for each split without images, and for each backbone without a source of weights."""
    experiment = plan.experiment
    splits = {name for run in plan.runs.trained_runs for name in plan.runs.training_splits(run)}
    splits |= {
        plan.paths.tested_split(m.dataset) for table in plan.runs.tables for m in table.measurements
    }
    lines = [
        f"{name} holds no images yet at {plan.paths.dataset_root(name.split('/')[0])}: counted as 0"
        for name in sorted(splits)
        if image_count(plan, *name.split("/")) == 0
    ]
    for name, features in experiment.extracted.items():
        for part in parts_of(features.backbone):
            backbone = backbone_spec(part)
            if backbone.source is None and part not in features.weights:
                lines.append(
                    f"features.{name}.weights.{part} needs a `source:` and a `sha256:`; "
                    f"the official file is {backbone.official}"
                )
    return lines


def episode_gflop(model: ModelConfig, tokens: int, channels: int, shot: int = 1) -> float:
    """GFLOP of one forward pass of UMTFSS on one episode, roughly; also used for other models.

    Args:
        model: The model's settings.
        tokens: Tokens of an image.
        channels: Channels of the mid feature.
        shot: K.
    """
    d, images = model.width, 1 + shot
    project = images * channels * d + 3 * images * d * d
    attention = model.layers * images * (4 + 2 * FFN_RATIO) * d * d
    cross = model.layers * (2 + 2 * FFN_RATIO) * d * d
    cross += 2 * model.layers * (model.umtfss.k_fg + model.umtfss.k_bg) * d
    return 2 * tokens * (project + attention + cross + 9 * d * d) / 1e9


def training_episodes(plan: Plan, run: RunSpec) -> int:
    """The number of training episodes of a run; rough if the length is given in epochs."""
    stage = plan.runs.training_settings(run)
    count = sum(image_count(plan, *name.split("/")) for name in plan.runs.training_splits(run))
    return (stage.steps or 0) * stage.batch_size or (stage.epochs or 0) * (count * run.ratio // 100)


def training_features(plan: Plan, rates: Rates) -> list[TrainingFeatures]:
    """The cost of the features of all trainings from a cache, and live.

    A cache computes every image once. Live features are computed for every image of every episode,
    with a new augmentation every time, and are not stored.

    Args:
        plan: The plan.
        rates: The speed of the workers.
    """
    features = plan.features.extracted(plan.experiment.model.features)
    backbone, levels = backbone_spec(features.backbone), features.levels
    splits = {name for run in plan.runs.trained_runs for name in plan.runs.training_splits(run)}
    counts = {name: image_count(plan, *name.split("/")) for name in sorted(splits)}
    sizes = {name: _image_size(plan, name.split("/")[0]) for name in counts}
    seen = {name: backbone.resized(*size, features.long_side) for name, size in sizes.items()}
    passes = 1 + features.mirrored
    square = passes * backbone.gflop(*backbone.resized(1, 1, features.long_side), levels)
    rate = rates.gflops["features"] * rates.workers * 3600

    gflop = sum(n * passes * backbone.gflop(*seen[name], levels) for name, n in counts.items())
    stored = sum(n * backbone.image_bytes(*seen[name], levels) for name, n in counts.items())
    images = sum(
        training_episodes(plan, run) * (1 + plan.runs.training_settings(run).shot)
        for run in plan.runs.trained_runs
    )
    return [
        TrainingFeatures("cache", sum(counts.values()), gflop / rate, stored / 1e9),
        TrainingFeatures("live", images, images * square / rate, 0.0),
    ]


def cheaper_features(plan: Plan, ways: list[TrainingFeatures], free: float | None = None) -> str:
    """One sentence: which way to provide the training's features is cheaper here, and why.

    The user chooses the way. An automatic choice would differ between machines, and the numbers of
    the experiment with it.

    Args:
        plan: The plan.
        ways: Result of `training_features`.
        free: Free disk space, GB; None: free space on the disk of the results.
    """
    cache, live = ways
    if free is None:
        folder = next(path for path in Path(plan.paths.root).absolute().parents if path.is_dir())
        free = shutil.disk_usage(folder).free / 1e9
    if cache.gigabytes > free:
        best, why = "live", f"a cache of {cache.gigabytes:.1f} GB exceeds the {free:.1f} GB free"
    elif cache.hours > live.hours:
        best, why = "live", f"trainings draw {live.images} images, a cache computes {cache.images}"
    else:
        best, why = "a cache", f"it computes {cache.images} images, trainings draw {live.images}"
    name = plan.experiment.source_of(plan.experiment.model.features)
    setting = f"features.{name}.cache: {str(best != 'live').lower()}"
    is_set = plan.features.extracted(name).cache == (best != "live")
    return f"cheaper is {best}, as {why}; {setting} {'is set' if is_set else 'is not set'}"


def _image_size(plan: Plan, dataset: str) -> tuple[int, int]:
    """The usual size (H, W) of the images of a data set, px."""
    shapes = plan.experiment.datasets[dataset].shapes
    return (shapes.height, shapes.width) if shapes else TYPICAL_SIZE


def _image_gflop(plan: Plan, features: ExtractedConfig, dataset: str) -> float:
    """GFLOP of the features of one image of a data set."""
    backbone = backbone_spec(features.backbone)
    resized = backbone.resized(*_image_size(plan, dataset), features.long_side)
    return (1 + features.mirrored) * backbone.gflop(*resized, features.levels)


def _cache_cost(plan: Plan, cache: FeatureCache) -> tuple[float, float]:
    """GFLOP and GB of a cache."""
    features, extracted = (
        plan.experiment.features[cache.features],
        plan.features.extracted(cache.features),
    )
    backbone = backbone_spec(extracted.backbone)
    resized = backbone.resized(*_image_size(plan, cache.dataset), extracted.long_side)
    images, (h, w) = image_count(plan, *cache.images), backbone.grid(*resized)
    bytes_of_image = 2 * h * w * sum(plan.features.channels(cache.features).values())
    if isinstance(features, ExtractedConfig):
        gflop = _image_gflop(plan, features, cache.dataset)
    else:
        gflop = h * w * DIFFUSION_GFLOP
    return images * gflop, images * bytes_of_image / 1e9


def _episode_seconds(plan: Plan, run: RunSpec, shot: int, arrow: str, rates: Rates) -> float:
    """Seconds of a worker for the model on one episode; features are not counted."""
    features = plan.features.model_features(run)
    tokens = backbone_spec(features.backbone).grid(features.long_side, features.long_side)[0] ** 2
    settings = plan.experiment.model.changed(dict(run.overrides))  # all models count as UMTFSS
    model = episode_gflop(settings, tokens, sum(features.mid_channels), shot)
    passes = 3 if arrow == "training" else 1  # forward and backward
    return rates.seconds(arrow, passes * model)


def _trained_seconds(plan: Plan, run: RunSpec, rates: Rates) -> float:
    """Seconds of a worker for a training, live features included, padded to a square."""
    shot, live = plan.runs.training_settings(run).shot, plan.features.model_features(run).live
    seconds = _episode_seconds(plan, run, shot, "training", rates)
    if live is not None:
        backbone = backbone_spec(live.backbone)
        square = backbone.gflop(*backbone.resized(1, 1, live.long_side), live.levels)
        work = (1 + live.mirrored) * square
        seconds += (1 + shot) * rates.seconds("features", work)
    return training_episodes(plan, run) * seconds


def _tested_seconds(plan: Plan, spec: EvaluationSpec, episodes: int, rates: Rates) -> float:
    """Seconds of a worker for an evaluation; live features are computed once an image."""
    seconds = episodes * _episode_seconds(plan, spec.run, spec.shot, "evaluation", rates)
    live = plan.features.model_features(spec.run).live
    if live is not None:
        split = plan.paths.tested_split(spec.dataset).split("/")
        images = min(image_count(plan, *split), episodes * (1 + spec.shot))
        seconds += images * rates.seconds("features", _image_gflop(plan, live, spec.dataset))
    return seconds


def estimate(plan: Plan, rates: Rates) -> list[Cost]:
    """The cost of every arrow that takes long or needs much disk space.

    Args:
        plan: The plan.
        rates: The speed of the workers. Pseudo-masks are made by this machine's cores in any case.
    """
    experiment, shards = plan.experiment, plan.experiment.extraction.shards

    caches = [_cache_cost(plan, cache) for cache in plan.feature_caches]
    jobs = len(caches) * shards
    seconds = rates.seconds("features", sum(work for work, _ in caches))
    costs = [Cost("features", jobs, rates.hours(jobs, seconds), sum(disk for _, disk in caches))]

    pooled = [name for pool in plan.runs.pools for name in experiment.pools[pool].images]
    salient = [run.pool for run in plan.runs.trained_runs if run.tasks is TaskSource.SALIENCY]
    pooled += sorted({name for pool in salient for name in experiment.pools[pool].images})
    pooled += ["/".join(pair) for pair in plan.superpixel_splits]
    images = sum(image_count(plan, *name.split("/")) for name in pooled)
    jobs, seconds = len(pooled) * shards, images * PSEUDO_MASK_SECONDS
    hours = Rates("cores", {}, os.cpu_count() or 1).hours(jobs, seconds)
    costs.append(Cost("pseudo_masks", jobs, hours, images * 2.5e-5))

    trained = sum(_trained_seconds(plan, run, rates) for run in plan.runs.trained_runs)
    jobs = len(plan.runs.trained_runs)
    costs.append(Cost("training", jobs, rates.hours(jobs, trained), jobs * 0.02))

    tested, files = 0.0, 0
    specs = {spec for table in plan.runs.tables for spec in plan.runs.evaluations_of(table)}
    for spec in specs:
        episodes = experiment.datasets[spec.dataset].test_episodes * len(spec.folds) * spec.seeds
        files += episodes
        if spec.run.is_trained:
            tested += _tested_seconds(plan, spec, episodes, rates)
    costs.append(Cost("evaluation", len(specs), rates.hours(len(specs), tested), files * 3e-8))
    return costs


def tables_alone(plan: Plan, rates: Rates) -> dict[str, tuple[float, float]]:
    """Table -> hours and GB of disk if this table alone is made, from the start."""
    found = {}
    for table in plan.runs.tables:
        costs = estimate(Plan(plan.experiment, [table.name]), rates)
        found[table.name] = sum(c.hours for c in costs), sum(c.gigabytes for c in costs)
    return found


def memory(plan: Plan) -> dict[str, float]:
    """Arrow -> memory of its largest job in fp32, GB; on a GPU most of a training is there."""
    experiment, trainings = plan.experiment, [0.0]
    for run in plan.runs.trained_runs:
        stage, features = plan.runs.training_settings(run), plan.features.model_features(run)
        side = backbone_spec(features.backbone).grid(features.long_side, features.long_side)[0]
        images = stage.batch_size * (1 + stage.shot)
        trainings.append(PROCESS_GB + SAMPLE_GB * images * side**2 / SAMPLE_TOKENS)
    vectors = [0.0]
    for pool in plan.runs.pools:
        name = experiment.clustered_features(pool)
        level = experiment.features[name].level
        channels = plan.features.channels(name)[level]
        vectors.append(PROCESS_GB + 4e-9 * experiment.clustering.memory_vectors * channels)
    return {
        "clustering": max(vectors),
        "training": max(trainings),
        "evaluation": PROCESS_GB + EVALUATION_GB,
    }
