"""ResNet-50, cut after the deepest level (arXiv:1512.03385).

Shapes: B batch, C channels, H W pixels, h w grid.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import resnet50

from umtfss.backbones.fused import fuse_blocks
from umtfss.backbones.weights import State, tensors
from umtfss.backbones.winograd import use_winograd
from umtfss.common.errors import WeightsError
from umtfss.common.onednn import accelerate

LAYERS = ("layer1", "layer2", "layer3", "layer4")
MOCO_PREFIX = "module.encoder_q."


class ResNet(nn.Module):
    """Outputs of chosen layers.

    Args:
        levels: "layer1" .. "layer4".
        deepest: The last layer kept.
        dilated: Whether the stride is 8: layer3 has dilation 2, layer4 dilation 4.
    """

    def __init__(self, levels: Sequence[str], deepest: str, dilated: bool) -> None:
        super().__init__()
        self.levels = tuple(levels)
        self.network: Any = resnet50(replace_stride_with_dilation=[False, dilated, dilated])
        self.network.fc = nn.Identity()
        self.kept = LAYERS[: LAYERS.index(deepest) + 1]
        for name in LAYERS[len(self.kept) :]:
            setattr(self.network, name, nn.Identity())

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Level -> (B, C, h, w) of normalised images (B, 3, H, W)."""
        net, out = self.network, {}
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        for name in self.kept:
            x = getattr(net, name)(x)
            if name in self.levels:
                out[name] = x
        return out


def fold_norms(network: nn.Module) -> None:
    """Fold every BatchNorm into the convolution before it; features stay, up to rounding.

    A frozen BatchNorm is a scale and a shift of each channel. As a layer of its own it reads and
    writes every map once more.

    Args:
        network: A `ResNet` with its final weights; changed in place, to evaluation mode.
    """
    network.eval()
    for parent in network.modules():
        for (first, layer), (second, norm) in pairwise(list(parent.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(parent, first, fuse_conv_bn_eval(layer, norm))
                setattr(parent, second, nn.Identity())


def freeze(network: ResNet) -> None:
    """Make a network as fast as its frozen weights allow; features stay, up to rounding.

    Args:
        network: The network with its final weights; changed in place, to evaluation mode.
    """
    fold_norms(network)
    accelerate(network)
    use_winograd(network)
    fuse_blocks(network)


def rename_torchvision(content: Mapping[str, object]) -> State:
    """The weights of a plain ResNet-50 checkpoint (torchvision, DINO) without the head."""
    return {k: v for k, v in tensors(content).items() if not k.startswith("fc.")}


def rename_moco(content: Mapping[str, object]) -> State:
    """The query encoder of a MoCo-v2 checkpoint (arXiv:2003.04297) without the projection head.

    Raises:
        WeightsError: The file is no MoCo checkpoint.
    """
    state = content.get("state_dict")
    if not isinstance(state, Mapping) or not any(k.startswith(MOCO_PREFIX) for k in state):
        raise WeightsError(
            "the file is no MoCo checkpoint",
            expected=f"a key state_dict with names that begin with {MOCO_PREFIX}",
            found=list(content)[:4],
            fix="correct features.NAME.weights.resnet50_moco_v2.source",
        )
    return {k: v for k, v in tensors(state, MOCO_PREFIX).items() if not k.startswith("fc.")}
