"""Backbones of the library timm by their names there: geometry and cost are measured.

The measured network lies on torch's meta device, which computes shapes and no numbers. torch and
timm are imported for such backbones alone.

Levels are timm's intermediate features by index, "level0" the shallowest.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import TYPE_CHECKING, Any

from umtfss.common.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor

LARGEST_STRIDE = 16  # px; coarser levels are interpolated
COUNTED_TOKENS = (32, 64)  # a side of the two images whose FLOP are counted: borders hardly count


@dataclass(frozen=True)
class Measured:
    """What is measured of a network; attributes as in `BackboneSpec`."""

    stride: int
    multiple: int
    align_corners: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: dict[str, int]
    pixel_flop: dict[str, float]
    token_flop: dict[str, float]
    official: str


def create_network(name: str) -> Any:
    """A network of timm without its head, with random weights.

    Args:
        name: "timm:" and the name.

    Raises:
        ConfigError: timm has no such network.
    """
    import timm

    own = name.partition(":")[2]
    try:
        network = _create(own)
    except RuntimeError as error:  # an unknown name, or an unknown tag behind the name's dot
        near = get_close_matches(own.split(".")[0], timm.list_models(), 3)
        raise ConfigError(
            f"timm {timm.__version__} has no network {own!r} ({error})",
            expected=f"a name of timm.list_models(), such as {', '.join(near) or 'resnet18'}",
            found=name,
            fix="correct `backbone:` in the features block",
        ) from error
    return network.eval()


def _create(name: str) -> Any:
    """The network; a transformer takes images of any size."""
    import timm

    try:
        return timm.create_model(name, num_classes=0, dynamic_img_size=True)
    except TypeError:
        return timm.create_model(name, num_classes=0)


def intermediates(network: Any, images: "Tensor", indices: list[int] | None) -> "list[Tensor]":
    """The intermediate features (B, C, h, w) of some indices, ascending; None: of all."""
    found: list[Tensor] = network.forward_intermediates(
        images, indices=indices, intermediates_only=True, stop_early=True
    )
    return found


@cache
def measured(name: str) -> Measured:
    """The geometry and the cost of a network of timm.

    Tokens lie on corners if a side of n strides and 1 px gives n + 1 tokens, as convolutions with
    symmetric padding do. Else tokens lie in patches.

    Raises:
        ConfigError: As in `create_network`, or the network takes images of one size alone.
    """
    import torch

    with torch.device("meta"):
        network = create_network(name)
    try:
        return _measured(network)
    except (AssertionError, AttributeError, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"timm's {name.partition(':')[2]} cannot be a backbone ({error})",
            expected="a network for images of any size, such as resnet18",
            fix="name another backbone",
        ) from error


def _measured(network: Any) -> Measured:
    config = network.pretrained_cfg
    side = config["input_size"][-1]
    shapes = _shapes(network, side)
    reductions = [round(side / height) for _, height in shapes]
    multiple = max(reductions)
    stride = max(one for one in reductions if one <= max(LARGEST_STRIDE, min(reductions)))
    odd = 2 * multiple + 1
    try:
        aligned = _shapes(network, odd)[-1][1] == -(-odd // reductions[-1])
    except (AssertionError, RuntimeError):  # a transformer refuses the side
        aligned = False
    sides = [count * multiple + int(aligned) for count in COUNTED_TOKENS]
    costs = [_cost(network, index, sides, stride) for index in range(len(shapes))]
    levels = [f"level{index}" for index in range(len(shapes))]
    return Measured(
        stride=stride,
        multiple=multiple,
        align_corners=aligned,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        channels={level: channels for level, (channels, _) in zip(levels, shapes, strict=True)},
        pixel_flop={level: pixel for level, (pixel, _) in zip(levels, costs, strict=True)},
        token_flop={level: token for level, (_, token) in zip(levels, costs, strict=True)},
        official=f"https://huggingface.co/{config.get('hf_hub_id') or 'timm'}",
    )


def _shapes(network: Any, side: int) -> list[tuple[int, int]]:
    """(C, h) of every level of a square image."""
    import torch

    found = intermediates(network, torch.zeros(1, 3, side, side, device="meta"), None)
    return [(one.shape[1], one.shape[2]) for one in found]


def _cost(network: Any, index: int, sides: list[int], stride: int) -> tuple[float, float]:
    """FLOP per pixel, and per squared number of tokens, up to a level: from two image sizes."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    rows = []
    for side in sides:
        with FlopCounterMode(display=False) as counter:
            intermediates(network, torch.zeros(1, 3, side, side, device="meta"), [index])
        rows.append((side**2, (side // stride) ** 4, counter.get_total_flops()))
    (pixels, squared, flop), (more_pixels, more_squared, more_flop) = rows
    rest = pixels * more_flop - more_pixels * flop
    token = max(rest / (pixels * more_squared - more_pixels * squared), 0.0)  # 0: convolutions
    return (more_flop - token * more_squared) / more_pixels, token
