"""One training job: from a run of the plan to its weights, in one process or under torchrun."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from umtfss.common.device import prepare_process
from umtfss.common.digests import digest_code, digest_json
from umtfss.common.files import PACKAGE_ROOT
from umtfss.common.log import job_log
from umtfss.common.manifests import read_manifest
from umtfss.common.randomness import seed64
from umtfss.data.catalog import Catalog
from umtfss.data.index import DatasetIndex
from umtfss.data.open import open_datasets
from umtfss.episodes.cached import CachedEpisodes, collate
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.mask_split import SplitMasks
from umtfss.episodes.masks import GroundTruthMasks, MaskSource, PseudoMasks
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.load import load_experiment
from umtfss.features.standard import Standardised, level_scales
from umtfss.features.store import FeatureStore
from umtfss.models.build import build_model
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.pseudo_masks.store import PseudoMaskStore
from umtfss.training import distributed
from umtfss.training.checkpoint import load_weights
from umtfss.training.loop import train


def train_run(
    experiment: str, seed: int, run_path: str, *, threads: int, gpus: int = 0, log: str = ""
) -> None:
    """Train one run of an experiment; its files end in the plan's folder.

    Args:
        experiment: Name of the experiment.
        seed: The experiment's seed.
        run_path: The run, as `python -m umtfss plan` prints it.
        threads: CPU threads of a process.
        gpus: More than one replaces this process by torchrun with that many processes.
        log: Log file of the first of those processes.
    """
    if gpus > 1 and "WORLD_SIZE" not in os.environ:
        # exec, so that signals reach torchrun, which lets its processes save and stop.
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", str(gpus), "-m", "umtfss.training.train_run"]
        command += [experiment, str(seed), run_path, str(threads), log]
        # The package need not be installed (conda environments lack it): it may be on this
        # process's path alone.
        path = [str(PACKAGE_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
        os.execve(sys.executable, command, environment)
    plan = Plan(load_experiment(experiment, seed))
    run = plan.run_at(run_path)
    features = plan.model_features(run)
    spec = backbone_spec(features.backbone)
    manifest = read_manifest(plan.training_episodes(run, ".json"), "episodes")

    with distributed.process_group(prepare_process(threads)) as device:
        torch.manual_seed(seed64("weights", run.seed))  # equal layers start equal in every variant
        model = build_model(
            run.model,
            plan.model_settings(run),
            features.mid_channels,
            align_corners=spec.align_corners,
        )
        if run.initial is not None:
            load_weights(model, Path(plan.training_folder(run.initial)))
        scales = mid_scales(plan, run)
        train(
            model,
            folder=Path(plan.training_folder(run)),
            settings=plan.training_settings(run),
            identity=_identity(plan, run, manifest["digest"]),
            made_with=plan.settings_behind(run),
            seed=run.seed,
            device=device,
            images_per_epoch=manifest["images_per_epoch"],
            mid_scales=scales,
            **_episodes(plan, run, device, scales, model.reads_support_target),
        )


def mid_scales(plan: Plan, run: RunSpec) -> dict[str, float]:
    """Level -> number that brings the mid features of a run to one scale; those of its weights.

    A run that starts from other weights takes their numbers.
    """
    features = plan.model_features(run)
    std = features.mid_std
    if std is None:
        return {}
    if run.initial is not None:
        (manifest,) = plan.training_manifest(run.initial)
        return dict(read_manifest(manifest, "training")["mid_scales"])
    manifests = plan.feature_manifests(plan.training_caches(run))
    return level_scales(manifests, features.mid, std)


def _identity(plan: Plan, run: RunSpec, episodes: str) -> str:
    """The digest of everything that decides the weights."""
    inputs = plan.training_inputs(run)
    manifests = [
        *(read_manifest(path, "pseudo_masks")["digest"] for path in inputs["masks"]),
        *(read_manifest(path, "features")["digest"] for path in inputs["features"]),
        *(read_manifest(path, "training")["digest"] for path in inputs["initial"]),
        *(DatasetIndex.load(path).checksum for path in inputs["indexes"]),
    ]
    return digest_json(
        {
            "run": run.path,
            **plan.trained_with(run),
            "inputs": [episodes, *manifests],
            "code": digest_code("umtfss/training/train_run.py", plan.model_source(run)),
        }
    )


def _masks(plan: Plan, run: RunSpec, catalog: Catalog) -> MaskSource:
    """Where the masks of a run's episodes come from."""
    if run.tasks == "sup":
        return GroundTruthMasks(catalog)
    masks = PseudoMasks(PseudoMaskStore([Path(path) for path in plan.task_masks(run)]))
    return SplitMasks(masks, run.seed) if run.tasks == "saliency" else masks


def _episodes(
    plan: Plan,
    run: RunSpec,
    device: torch.device,
    scales: Mapping[str, float],
    support_target: bool,
) -> dict[str, Any]:
    """What `train` takes of the episodes: cached, or live with the backbone in the loop."""
    features, settings = plan.model_features(run), plan.training_settings(run)
    episodes = EpisodeList.load(plan.training_episodes(run))
    splits = plan.training_splits(run)
    pixels = run.tasks == "sup" or features.live is not None  # else the raw files may be gone
    sources = plan.sources(splits) if pixels else []
    catalog = Catalog(open_datasets(sources, plan.experiment.raw_data_root))
    masks = _masks(plan, run, catalog)
    target_side = settings.loss_side or features.long_side
    if features.live is None:
        store = FeatureStore(plan.feature_manifests(plan.training_caches(run)))
        cached = CachedEpisodes(
            episodes,
            Standardised(store, scales),
            features.mid,
            features.high,
            masks,
            seed=run.seed,
            target_side=target_side,
            flip=settings.augment.flip,
            vertical_flip=settings.augment.vertical_flip,
            support_target=support_target,
        )
        return {"episodes": cached, "collate": collate}
    # Imported here: libraries that take a second to load, and only live features need.
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
        seed=run.seed,
    )
    featuriser = Featuriser(extractor, features.mid, features.high, target_side, support_target)
    return {"episodes": live, "collate": collate_live, "featuriser": featuriser}


if __name__ == "__main__":
    name, seed_text, path, thread_text, log_file = sys.argv[1:]
    with job_log(log_file if os.environ.get("RANK", "0") == "0" else None):
        train_run(name, int(seed_text), path, threads=int(thread_text))
