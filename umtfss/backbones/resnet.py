"""ResNet-50, cut after the deepest level (arXiv:1512.03385).

Shapes: B batch, C channels, H W pixels, h w grid.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import resnet50

from umtfss.backbones.boxes import Box
from umtfss.backbones.fused import FusedBottleneck, fuse_blocks
from umtfss.backbones.weights import State, tensors
from umtfss.backbones.winograd import is_plain_fp32, use_winograd
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

    def forward(self, images: Tensor, read: Tensor | None = None) -> dict[str, Tensor]:
        """Level -> (B, C, h, w).

        Args:
            images: (B, 3, H, W), normalised.
            read: (B, h, w) bool, tokens at which the deepest layer is read; values at others have
                no meaning. None: all.
        """
        net, out = self.network, {}
        x = net.maxpool(net.relu(net.bn1(net.conv1(images))))
        for name in self.kept:
            layer = getattr(net, name)
            if name == self.kept[-1] and read is not None and _knows_boxes(layer, x):
                x = layer_in_boxes(list(layer), x, read)
            else:
                x = layer(x)
            if name in self.levels:
                out[name] = x
        return out


def layer_in_boxes(layer: Sequence[FusedBottleneck], x: Tensor, read: Tensor) -> Tensor:
    """A layer at the smallest box of each image that holds all tokens to read, elsewhere 0.

    Values in the box are those of the whole layer up to rounding.

    Args:
        layer: Blocks of stride 1.
        x: (B, C, h, w), the layer's input.
        read: (B, h, w) bool.

    Returns:
        (B, D, h, w).
    """
    channels, size = layer[-1].conv3.out_channels, x.shape[2:]
    found = x.new_empty(len(x), *size, channels).permute(0, 3, 1, 2)
    for tokens, image, result in zip(read, x.split(1), found.split(1), strict=True):
        box = Box.around(tokens)
        if box != (0, size[0], 0, size[1]):
            result.zero_()
        if box is not None:
            box.of(result).copy_(_layer_in_box(layer, image, box))
    return found


def _layer_in_box(layer: Sequence[FusedBottleneck], x: Tensor, box: Box) -> Tensor:
    """A layer at a box, (1, D, rows, columns), of a (1, C, h, w) map."""
    boxes = [box]  # from the output back to the input, each with the tokens that the next reads
    for block in reversed(layer):
        boxes.append(boxes[-1].grown(block.conv2.dilation[0], (x.shape[2], x.shape[3])))
    outer = boxes.pop()
    x = outer.of(x)
    for block in layer:
        box = boxes.pop()
        x, outer = block.inside(x, box.margin_in(outer)), box
    return x


def _knows_boxes(layer: Iterable[nn.Module], x: Tensor) -> bool:
    """Whether `layer_in_boxes` computes the layer."""
    return is_plain_fp32(x) and all(
        type(block) is FusedBottleneck and block.conv2.stride == (1, 1) for block in layer
    )


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
