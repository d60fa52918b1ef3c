"""Training of one run: from a job and its files to weights, in one process or under torchrun."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from umtfss.common.device import prepare_process
from umtfss.common.digests import digest_code, digest_json
from umtfss.common.files import PACKAGE_ROOT
from umtfss.common.locks import only_writer
from umtfss.common.log import job_log
from umtfss.common.manifests import read_manifest
from umtfss.common.randomness import seed64
from umtfss.data.catalog import Catalog
from umtfss.data.index import DatasetIndex
from umtfss.data.open import open_datasets
from umtfss.episodes.cached import CachedEpisodes, collate
from umtfss.episodes.episode import KIND as EPISODES
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.mask_split import SplitMasks
from umtfss.episodes.masks import (
    ClassMaps,
    ClassMasks,
    GroundTruthMasks,
    MaskSource,
    PseudoMasks,
)
from umtfss.experiment.backbones import backbone_spec
from umtfss.features.standard import Standardised, level_scales
from umtfss.features.store import FeatureStore
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.plan.run import TaskSource
from umtfss.pseudo_masks.store import KIND as MASKS
from umtfss.pseudo_masks.store import PseudoMaskStore
from umtfss.training import distributed
from umtfss.training.checkpoint import load_weights
from umtfss.training.loop import train


@dataclass(frozen=True)
class TrainingFiles:
    """The files that a training reads.

    Attributes:
        episodes: Manifest of the episodes.
        masks: Manifests of the masks; empty for tasks from labels.
        features: Manifests of the features; empty if the features are live.
        indexes: Indexes of the images; empty if neither images nor labels are read.
        initial: Manifest of the weights that training starts from; empty: from scratch.
    """

    episodes: str
    masks: Sequence[str]
    features: Sequence[str]
    indexes: Sequence[str]
    initial: Sequence[str]


@dataclass(frozen=True)
class TrainingResources:
    """The resources of a training; no weight depends on them.

    Attributes:
        threads: CPU threads of a process.
        gpus: Number of GPUs; torchrun starts a process for each if there are two or more.
        workers: Loader processes of each process.
        checkpoint_minutes: Minutes between checkpoints.
        log: Log file of the first process.
    """

    threads: int
    gpus: int = 0
    workers: int = 0
    checkpoint_minutes: float = 5.0
    log: str = ""


def train_run(
    job: TrainModel, files: TrainingFiles, folder: str, resources: TrainingResources
) -> None:
    """Train one run.

    Args:
        job: Everything but the files that decides the weights.
        files: The files to read.
        folder: Folder for weights, manifest and curve.
        resources: Resources; with several GPUs, torchrun replaces this process.

    Raises:
        StoreError: An input is missing or damaged, or another process trains in the folder.
    """
    if resources.gpus > 1 and "WORLD_SIZE" not in os.environ:
        _become_torchrun(job, files, folder, resources)
    how = {"workers": resources.workers, "checkpoint_minutes": resources.checkpoint_minutes}
    spec = backbone_spec(job.features.backbone)
    episodes = EPISODES.manifest(files.episodes)

    with (
        distributed.process_group(prepare_process(resources.threads)) as device,
        only_writer(folder) if distributed.rank() == 0 else nullcontext(),
    ):
        torch.manual_seed(seed64("weights", job.seed))  # equal layers start equal in every variant
        model = build_model(
            job.model,
            job.settings,
            job.features.mid_channels,
            align_corners=spec.align_corners,
        )
        for manifest in files.initial:
            load_weights(model, Path(manifest).parent)
        classes = _classes(job, files) if model.reads_classes else ()
        if classes:  # heads for other classes, as of the initial weights, start anew
            model.tell_apart(len(classes), job.tasks is not TaskSource.LABELS)
        scales = mid_scales(job, files)
        train(
            model,
            folder=Path(folder),
            settings=job.training.model_copy(update=how),
            identity=_identity(job, files),
            made_with=job.made_with(),
            seed=job.seed,
            device=device,
            images_per_epoch=episodes["images_per_epoch"],
            mid_scales=scales,
            **_episodes(job, files, device, scales, model, classes),
        )


def _become_torchrun(
    job: TrainModel, files: TrainingFiles, folder: str, resources: TrainingResources
) -> None:
    """Replace this process by torchrun; signals then reach torchrun, whose processes save."""
    call = {"files": asdict(files), "folder": folder, "resources": asdict(resources)}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(resources.gpus), "-m", "umtfss.training.train_run"]
    command.append(json.dumps({"job": job.params(), **call}))
    # The package may not be installed, as in conda environments, but be on this process's path.
    path = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    os.execve(sys.executable, command, environment)  # nosec B606 # a list, no shell


def _called_by_torchrun(text: str) -> None:
    """Train as one of torchrun's processes; `text` comes from `_become_torchrun`."""
    call = json.loads(text)
    resources = TrainingResources(**call["resources"])
    with job_log(resources.log if os.environ.get("RANK", "0") == "0" else None):
        train_run(
            TrainModel.read(call["job"]), TrainingFiles(**call["files"]), call["folder"], resources
        )


def mid_scales(job: TrainModel, files: TrainingFiles) -> dict[str, float]:
    """Level -> factor that scales the mid features to one standard deviation.

    A run that starts from the weights of another training uses the factors of that training.
    """
    if job.features.mid_std is None:
        return {}
    for manifest in files.initial:
        return dict(read_manifest(manifest, "training")["mid_scales"])
    return level_scales(list(files.features), job.features.mid, job.features.mid_std)


def _identity(job: TrainModel, files: TrainingFiles) -> str:
    """The digest of everything that decides the weights."""
    inputs = [
        EPISODES.manifest(files.episodes)["digest"],
        *(MASKS.manifest(path)["digest"] for path in files.masks),
        *(read_manifest(path, "features")["digest"] for path in files.features),
        *(read_manifest(path, "training")["digest"] for path in files.initial),
        *(DatasetIndex.load(path).checksum for path in files.indexes),
    ]
    code = digest_code("umtfss/training/train_run.py", *job.modules)
    return digest_json({**job.deciding(), "inputs": inputs, "code": code})


def _masks(job: TrainModel, files: TrainingFiles, catalog: Catalog) -> MaskSource:
    """The source of the episodes' masks."""
    if job.tasks is TaskSource.LABELS:
        return GroundTruthMasks(catalog)
    masks = PseudoMasks(PseudoMaskStore(files.masks))
    return SplitMasks(masks, job.seed) if job.tasks is TaskSource.SALIENCY else masks


def _classes(job: TrainModel, files: TrainingFiles) -> tuple[int, ...]:
    """The classes of the training tasks: those that episodes have, or every cluster."""
    if job.tasks is TaskSource.LABELS:
        return tuple(sorted(set(EpisodeList.load(files.episodes).class_id.tolist())))
    return tuple(range(PseudoMaskStore(files.masks).clusters))


def _episodes(
    job: TrainModel,
    files: TrainingFiles,
    device: torch.device,
    scales: Mapping[str, float],
    model: MetaLearner,
    classes: tuple[int, ...],
) -> dict[str, Any]:
    """The arguments of `train` for episodes: cached, or live with the backbone in the loop."""
    features, settings = job.features, job.training
    episodes = EpisodeList.load(files.episodes)
    catalog = Catalog(open_datasets(job.sources))
    masks = _masks(job, files, catalog)
    maps = ClassMaps(masks, classes) if classes and isinstance(masks, ClassMasks) else None
    target_side = settings.loss_side or features.long_side
    if features.live is None:
        cached = CachedEpisodes(
            episodes,
            Standardised(FeatureStore(files.features), scales),
            features.mid,
            features.high,
            masks,
            seed=job.seed,
            target_side=target_side,
            flip=settings.augment.flip,
            vertical_flip=settings.augment.vertical_flip,
            support_target=model.reads_support_target,
            class_maps=maps,
        )
        return {"episodes": cached, "collate": collate}
    # Imported here: these libraries take a second to load, and only live features need them.
    from umtfss.backbones.build import build_live_extractor
    from umtfss.episodes.live import Featuriser, LiveEpisodes, collate_live

    extractor = build_live_extractor(features.live).to(device)
    live = LiveEpisodes(
        episodes,
        catalog,
        masks,
        extractor=extractor,
        long_side=features.long_side,
        augment=settings.augment,
        seed=job.seed,
        class_maps=maps,
    )
    featuriser = Featuriser(
        extractor,
        features.mid,
        features.high,
        target_side,
        model.reads_support_target,
        whole_support=model.reads_high_background,
    )
    return {"episodes": live, "collate": collate_live, "featuriser": featuriser}


if __name__ == "__main__":
    _called_by_torchrun(sys.argv[1])
