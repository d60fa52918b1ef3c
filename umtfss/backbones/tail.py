"""The last blocks of a ViT, apart from the rest of it, to be trained."""

from torch import nn

from umtfss.backbones.extractor import build_extractor
from umtfss.backbones.facts import tail_of
from umtfss.backbones.vit import ViT
from umtfss.features.settings import FeaturesConfig


def build_tail(features: FeaturesConfig) -> nn.ModuleList:
    """The blocks that `features.tuned_blocks` names, with their pretrained weights.

    Args:
        features: The features block of an experiment.

    Raises:
        ConfigError: The model's level is made of no ViT, or of one with fewer blocks.
        WeightsError: The weights are missing, altered or of another network.
    """
    tail = tail_of(features.model.backbone, features.tuned_level, features.tuned_blocks)
    network = build_extractor(tail.backbone, [f"block{tail.last}"], features.weights).network
    assert isinstance(network, ViT)
    return nn.ModuleList(network.network.blocks[tail.first : tail.last + 1]).requires_grad_(True)
