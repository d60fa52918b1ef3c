"""Trained models and their features, for evaluation and prediction."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from umtfss.common.manifests import read_manifest
from umtfss.data.image_source import ImageSource
from umtfss.experiment.features import ExtractedConfig, ModelFeatures
from umtfss.experiment.model import ModelConfig
from umtfss.features.standard import Standardised
from umtfss.features.store import FeatureSource
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model
from umtfss.training.checkpoint import load_weights

if TYPE_CHECKING:
    from umtfss.backbones.extractor import Extractor


def trained_model(
    name: str, settings: ModelConfig, features: ModelFeatures, manifest: str | None
) -> MetaLearner:
    """Build a meta-learner and load its weights, if it is trained.

    Args:
        name: Name of the meta-learner.
        settings: Settings of the meta-learner.
        features: The features that the meta-learner reads.
        manifest: Manifest of the weights, which lie beside it; None: training-free.
    """
    model = build_model(name, settings, features.mid_channels)
    if manifest is not None:
        load_weights(model, Path(manifest).parent)
    return model


def on_trained_scale(features: FeatureSource, manifest: str | None) -> FeatureSource:
    """The features at the scale of a model's training; unchanged for a training-free model.

    Args:
        features: The unscaled features.
        manifest: Manifest of the weights; None: training-free.
    """
    if manifest is None:
        return features
    return Standardised(features, read_manifest(manifest, "training")["mid_scales"])


def live_features(
    settings: ExtractedConfig,
    images: ImageSource,
    device: torch.device,
    diffusion_map: str | None = None,
    keep: bool = False,
) -> FeatureSource:
    """The features of images, computed when they are read.

    Args:
        settings: Settings of the features.
        images: The images.
        device: Where the backbone runs.
        diffusion_map: Manifest of the diffusion map; None: features are not diffused.
        keep: Whether features are kept for later reads, before diffusion.

    Raises:
        StoreError: The map does not exist.
    """
    # Imported here: these libraries take a second to load, and only live features need them.
    from umtfss.features.live import KeptFeatures, LiveFeatures

    live = LiveFeatures(live_extractor(settings, device), images, settings.long_side)
    features: FeatureSource = KeptFeatures(live) if keep else live
    if diffusion_map is None:
        return features
    from umtfss.features.diffusion import DiffusedFeatures, DiffusionMap  # loads faiss

    return DiffusedFeatures(features, DiffusionMap.load(diffusion_map))


def live_extractor(settings: ExtractedConfig, device: torch.device) -> "Extractor":
    """The backbone of live features."""
    from umtfss.backbones.build import build_live_extractor

    return build_live_extractor(settings).to(device)
