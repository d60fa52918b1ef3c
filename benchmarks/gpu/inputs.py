"""Made-up inputs: episodes that can be learned, noise as images, a random backbone.

Shapes: B batch, K shots, C channels, D channels of the high feature, g g grid, S S target.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from umtfss.backbones.extractor import Extractor
from umtfss.backbones.resnet import LAYERS, ResNet, freeze
from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model
from umtfss.models.layers.deformable_attention import DeformableAttention

CLASSES = 3
MID = (8, 8, 8)  # channels of the levels of drawn episodes


def episodes(rows: Sequence[int], shots: int = 2, side: int = 12) -> EpisodeBatch:
    """Episodes of random features with a random rectangle that one direction marks.

    An episode depends on its row alone. Every field of a batch is filled, for all losses.

    Args:
        rows: B numbers of episodes.
        shots: K.
        side: g; the target has four times this side.
    """
    drawn = [_episode(row, shots, side) for row in rows]
    images, masks = (torch.stack(part) for part in zip(*drawn, strict=True))
    valid = torch.ones_like(masks, dtype=torch.bool)
    valid[:, :, -1] = False  # a row of padding
    target = masks.long().masked_fill(~valid, 255)
    target = target.repeat_interleave(4, 2).repeat_interleave(4, 3)
    pixels = masks.to(torch.uint8).masked_fill(~valid, 255)
    classes = torch.arange(len(rows)) % CLASSES + 1
    seen = target[:, 0]
    return EpisodeBatch(
        query_mid=images[:, 0],
        query_high=images[:, 0, -MID[-1] :],
        query_valid=valid[:, 0],
        support_mid=images[:, 1:],
        support_high=images[:, 1:, -MID[-1] :],
        support_valid=valid[:, 1:],
        support_mask=(masks * valid)[:, 1:],
        key=torch.tensor(rows) * 1_000_003 + 17,
        target=seen,
        support_pixels=pixels[:, 1:, None].repeat(1, 1, 2, 1, 1),
        support_target=target[:, 1:],
        query_classes=torch.where(seen == 1, classes[:, None, None], seen),
        class_index=classes,
    )


def _episode(row: int, shots: int, side: int) -> tuple[Tensor, Tensor]:
    """The images (1 + K, C, g, g) and masks (1 + K, g, g) of an episode."""
    random = torch.Generator().manual_seed(row)
    images = torch.randn(1 + shots, sum(MID), side, side, generator=random) * 0.5
    masks = torch.zeros(1 + shots, side, side)
    for mask in masks:
        top, left = torch.randint(side // 2, (2,), generator=random).tolist()
        mask[top : top + side // 3, left : left + side // 3] = 1
    direction = torch.randn(sum(MID), 1, 1, generator=random)
    return images + direction * masks[:, None], masks


class DrawnEpisodes(Dataset[int]):
    """Rows of episodes for a DataLoader; `episodes` collates them.

    Args:
        count: Number of episodes.
        stop_at: Row at which `stop` is called first; None: never.
        stop: Called with no argument.
    """

    def __init__(self, count: int, stop_at: int | None = None, stop: Any = None) -> None:
        self.count, self.stop_at, self.stop = count, stop_at, stop

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> int:
        if row == self.stop_at:
            self.stop()
        return row % 40


def one_shot(rows: Sequence[int]) -> EpisodeBatch:
    """1-shot episodes, the collate function of a training."""
    return episodes(rows, shots=1)


def learner(name: str, dropout: bool, **keys: Any) -> MetaLearner:
    """A small model with random weights, none of which is zero.

    Args:
        name: Name of the meta-learner.
        dropout: Whether training drops.
        **keys: Keys of the model block.
    """
    small = {"width": 32, "heads": 4, "k_fg": 6, "k_bg": 12, "cycle_tokens": 20}
    off = {} if dropout else {"dropout": 0, "mid_dropout": 0, "head_dropout": 0}
    torch.manual_seed(0)
    model = build_model(name, ModelConfig().changed({**small, **off, **keys}), MID)
    if model.reads_classes:
        model.tell_apart(CLASSES, are_clusters=False)
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    for module in model.modules():
        if isinstance(module, DeformableAttention):  # gradients jump at whole offsets
            nn.init.normal_(module.offsets.bias, std=2)
    return model


def random_network(levels: Sequence[str], dilated: bool) -> ResNet:
    """A ResNet-50 with random weights whose BatchNorms have seen noise, so no level overflows."""
    torch.manual_seed(0)
    network = ResNet(tuple(levels), LAYERS[-1], dilated)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 97, 97))
    return network.eval()


def random_extractor(levels: Sequence[str], dilated: bool = True) -> Extractor:
    """An extractor of a random ResNet-50; not dilated, it is the paper's for clustering."""
    spec = backbone_spec("resnet50" if dilated else "resnet50_moco_v2")
    network = random_network(levels, spec.stride == 8)
    freeze(network)
    return Extractor(spec, tuple(levels), network, "random")


class NoiseImages:
    """Images of noise with a disc of class 1 on a fifth of their area.

    Args:
        count: Number of images.
        size: (H, W), px.
    """

    name = "noise"

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        self.ids = [f"noise/{number}" for number in range(count)]
        self.size = size
        row, column = np.ogrid[: size[0], : size[1]]
        inside = ((row - size[0] / 2) ** 2 + (column - size[1] / 2) ** 2) * np.pi
        self._mask = (inside < 0.2 * size[0] * size[1]).astype(np.uint8)

    def image(self, image_id: str, /) -> np.ndarray:
        """The image, (H, W, 3) uint8; the id may be qualified or not."""
        random = np.random.default_rng(int(image_id.rpartition("/")[2]))
        small = random.integers(256, size=(self.size[0] // 8, self.size[1] // 8, 3), dtype=np.uint8)
        rows, columns = (
            np.arange(n) * m // n for n, m in zip(self.size, small.shape, strict=False)
        )
        return small[rows[:, None], columns]

    def mask(self, qualified: str) -> np.ndarray:
        """The class of every pixel, (H, W) uint8."""
        return self._mask


def write_random_weights(path: Path) -> None:
    """A file of weights of a random dilated ResNet-50, in torchvision's names."""
    from safetensors.torch import save_file

    state = random_network(LAYERS, dilated=True).network.state_dict()
    save_file({name: value.contiguous() for name, value in state.items()}, path)
