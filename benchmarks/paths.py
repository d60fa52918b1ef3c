"""The hot paths of the package and their plain alternatives, on simulated inputs.

Shapes: B batch, K shots, C channels, g g grid, P P image, H W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from umtfss.common.device import autocast
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.cached import CachedEpisodes, collate
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import GroundTruthMasks
from umtfss.evaluation.images import EpisodeImages
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.scores import ScoringOptions, evaluate
from umtfss.experiment.evaluation import RefineConfig
from umtfss.experiment.model import ModelConfig, PrototypeConfig
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.experiment.training import TrainingConfig
from umtfss.features.geometry import GridGeometry
from umtfss.features.store import (
    FeatureSpec,
    FeatureStore,
    ImageFeatures,
    digest_features,
    part_name,
    write_feature_manifest,
    write_part,
)
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model
from umtfss.models.layers import transduction
from umtfss.models.layers.transduction import LinearClassifier, Terms, TransductiveTask
from umtfss.pseudo_masks.superpixels import SuperpixelStore, write_superpixels
from umtfss.training.optimisers import build_optimisers
from umtfss.training.step import Objective

CLASS = 1
CLASSES = 40  # of the training tasks, for models that tell them apart


@dataclass(frozen=True)
class Setting:
    """The sizes of one experiment.

    Attributes:
        channels: Level -> C; the last one is the high feature, the others the mid feature.
        pixels: P, the side of the image that the backbone sees.
        stride: Distance of tokens, px.
        align: Whether the grid aligns corners.
        model: The model block.
        label_size: (H, W) of the test images.
        refine: Refinement of test scores.
    """

    channels: dict[str, int]
    pixels: int
    stride: int
    align: bool
    model: ModelConfig
    label_size: tuple[int, int] = (375, 500)
    refine: RefineConfig = field(default_factory=RefineConfig)

    @property
    def grid(self) -> int:
        """G."""
        return (self.pixels - self.align) // self.stride + self.align

    @property
    def mid(self) -> tuple[str, ...]:
        """Levels of the mid feature."""
        levels = tuple(self.channels)
        return levels[:-1] if len(levels) > 1 else levels

    @property
    def high(self) -> str:
        """Level of the high feature."""
        return tuple(self.channels)[-1]

    def learner(self, name: str = "umtfss") -> MetaLearner:
        """An untrained model, always the same."""
        torch.manual_seed(0)
        mid = [self.channels[level] for level in self.mid]
        model = build_model(name, self.model, mid, self.align)
        if model.reads_classes:
            model.tell_apart(CLASSES, are_clusters=True)
        return model


RESNET_CHANNELS = {"layer2": 512, "layer3": 1024, "layer4": 2048}
RESNET = Setting(RESNET_CHANNELS, 473, 8, True, ModelConfig())
VOC_BEST = Setting(  # as in experiments/voc_best.yaml
    {"diffused": 384},
    336,
    14,
    False,
    ModelConfig(
        width=128,
        dropout=0,
        mid_dropout=0,
        head_dropout=0,
        residual="centred",
        prior_scale=30,
        prototype=PrototypeConfig(self_support=True, margin=0.05),
    ),
    refine=RefineConfig(superpixels=0.5),
)
VOC_CPU = Setting(  # as in experiments/voc_cpu.yaml, where the high feature is block20, too
    {"block14": 120, "block20": 352, "high": 352},
    400,
    16,
    False,
    ModelConfig(width=128, dropout=0, mid_dropout=0, head_dropout=0),
)


class DiscImages:
    """Labelled images with a disc of foreground on a fifth of their area.

    Args:
        ids: Image ids.
        size: (H, W).
    """

    def __init__(self, ids: Sequence[str], size: tuple[int, int]) -> None:
        self.ids = tuple(ids)
        row, column = np.ogrid[: size[0], : size[1]]
        offset = ((row - size[0] / 2) ** 2 + (column - size[1] / 2) ** 2) * np.pi
        self._mask = (offset < 0.2 * size[0] * size[1]).astype(np.uint8) * CLASS
        self._image = np.zeros((*size, 3), dtype=np.uint8)

    def mask(self, qualified: str) -> np.ndarray:
        """The label map."""
        return self._mask

    def image(self, qualified: str) -> np.ndarray:
        """A black image."""
        return self._image


def write_features(
    folder: Path, setting: Setting, images: int, aspect: float = 1.0
) -> FeatureStore:
    """A feature cache on disk with random features, un-padded; `aspect` is height over width."""
    spec = FeatureSpec(
        "simulated",
        "none",
        setting.channels,
        setting.pixels,
        "fp32",
        setting.stride,
        setting.stride,
        setting.align,
    )
    random, ids = np.random.default_rng(0), [f"simulated/{place}" for place in range(images)]
    side, digests = setting.grid, {}
    rows = round(aspect * side)

    def features(image_id: str) -> ImageFeatures:
        levels = {
            level: random.standard_normal((rows, side, channels), np.float32).astype(np.float16)
            for level, channels in setting.channels.items()
        }
        digests[image_id] = digest_features(levels)
        return ImageFeatures(image_id, setting.label_size, levels)

    folder.mkdir(parents=True, exist_ok=True)
    write_part(folder / part_name(0), spec, "simulated", ids, map(features, ids))
    return FeatureStore([write_feature_manifest(folder, spec, digests, 1)])


def draw_episodes(ids: Sequence[str], count: int, shot: int) -> EpisodeList:
    """Random episodes of images that are not their own support."""
    random = np.random.default_rng(0)
    rows = np.array([random.permutation(len(ids))[: shot + 1] for _ in range(count)])
    return EpisodeList(ids, rows[:, 0], np.full(count, CLASS), rows[:, 1:], "benchmark")


class CachedRun:
    """Training steps and test episodes from cached features, by the package's code.

    Args:
        setting: Sizes.
        folder: Where the cache is written.
        images: Images in it, more than the shots.
        aspect: Height of an image over its width.
    """

    def __init__(self, setting: Setting, folder: Path, images: int, aspect: float = 1.0) -> None:
        self.setting, self.store = setting, write_features(folder, setting, images, aspect)
        self.labels = DiscImages(self.store.ids, setting.label_size)
        self._read_superpixels = None
        if setting.refine.superpixels:
            height, width = setting.label_size
            seen, path = photo()[:height, :width], folder / "superpixels.h5"
            write_superpixels(((one, seen) for one in self.store.ids), PseudoMasksConfig(), path)
            self._read_superpixels = SuperpixelStore([path]).read

    def train_step(self, learning: "Learning", batch_size: int, amp: str) -> None:
        """Read a batch of episodes, and take one step of both optimisers."""
        episodes = CachedEpisodes(
            draw_episodes(self.store.ids, batch_size, shot=1),
            self.store,
            self.setting.mid,
            self.setting.high,
            GroundTruthMasks(self.labels),
            target_side=self.setting.pixels,
        )
        learning.step(collate([episodes[row] for row in range(batch_size)]), amp)

    def test(self, model: MetaLearner, count: int, amp: str, shot: int = 1) -> EpisodeScores:
        """Test on `count` episodes; every image is read once."""
        return evaluate(
            model,
            draw_episodes(self.store.ids, count, shot),
            EpisodeImages(self.labels, self.store, read_superpixels=self._read_superpixels),
            ScoringOptions(
                self.setting.mid,
                self.setting.high,
                batch_size=min(count, 8),
                amp=amp,  # type: ignore[arg-type]  # one of the three
                refine=self.setting.refine,
            ),
            progress=False,
        )


class Learning:
    """A model and its optimisers.

    Args:
        model: The model.
    """

    def __init__(self, model: MetaLearner) -> None:
        self.model = model
        settings = TrainingConfig(steps=1)
        self.optimisers = build_optimisers(model, model.transformer_parameters(), settings)

    def step(self, batch: EpisodeBatch, amp: str = "off") -> None:
        """One step of the optimisers; the gradients are kept for comparisons."""
        self.model.train()
        for one in self.optimisers.values():
            one.zero_grad(set_to_none=True)
        device = batch.key.device
        Objective(self.model, lambda: autocast(device, amp))(batch)[0].backward()
        for one in self.optimisers.values():
            one.step()


def random_episodes(side: int, channels: Sequence[int], count: int) -> EpisodeBatch:
    """1-shot episodes of random features without padding; a quarter of the target is foreground.

    Args:
        side: g.
        channels: Channels of each level of the mid feature; the last is the high feature, too.
        count: B.
    """
    random = torch.Generator().manual_seed(0)
    grids = torch.randn(count, 2, side, side, sum(channels), generator=random).movedim(-1, 2)
    valid = torch.ones(count, side, side, dtype=torch.bool)
    mask, target = torch.zeros(count, 1, side, side), torch.zeros(count, 96, 96, dtype=torch.long)
    mask[..., : side // 2, : side // 2] = 1
    target[:, :48, :48] = 1
    return EpisodeBatch(
        query_mid=grids[:, 0],
        query_high=grids[:, 0, -channels[-1] :],
        query_valid=valid,
        support_mid=grids[:, 1:],
        support_high=grids[:, 1:, -channels[-1] :],
        support_valid=valid[:, None],
        support_mask=mask,
        key=torch.arange(count),
        target=target,
        side=side,
        support_target=target[:, None],
        query_classes=target,
        class_index=torch.full((count,), CLASS),
    )


def transductive_task(side: int, channels: int) -> TransductiveTask:
    """The random tokens of a 1-shot episode; a fifth of the support is foreground."""
    random = torch.Generator().manual_seed(0)
    tokens = torch.randn(2, side * side, channels, generator=random)
    label = torch.zeros(side * side)
    label[: side * side // 5] = 1
    query, support = F.normalize(tokens, dim=2)
    return TransductiveTask(query, support, label, 1)


def fit_by_autograd(task: TransductiveTask) -> LinearClassifier:
    """`transduction.fit`, with the gradient of `transduction.loss` by torch."""
    start = transduction.initial_classifier(task)
    part = start.scores(task.query).sigmoid().mean()
    terms = Terms(part, 1 / task.shots, 1 / task.shots)
    weight, bias = start.weight.requires_grad_(), start.bias.requires_grad_()
    optimiser = torch.optim.SGD([weight, bias], transduction.RATE)
    found = LinearClassifier(weight, bias)
    for step in range(1, transduction.STEPS + 1):
        optimiser.zero_grad()
        transduction.loss(task, found, terms).backward()
        optimiser.step()
        if step == transduction.ESTIMATED_AFTER:
            part = found.scores(task.query).sigmoid().mean().detach()
            terms = Terms(part, terms.kl + 1, terms.entropy)
    return found


class SimulatedTokens:
    """A feature store that simulates the tokens of an image when they are read, and holds none.

    Args:
        images: Number of images.
        tokens: Tokens of each.
        channels: C.
    """

    def __init__(self, images: int, tokens: int, channels: int) -> None:
        self.ids = [str(place) for place in range(images)]
        self.tokens = tokens
        self.geometry = GridGeometry({"level": channels}, tokens, 1, 1, align_corners=False)

    @cached_property
    def _means(self) -> np.ndarray:
        return np.random.default_rng(0).standard_normal(
            (64, self.geometry.channels["level"]), np.float32
        )

    def grid(self, image_id: str) -> tuple[int, int]:
        """(1, tokens)."""
        return 1, self.tokens

    def read(self, image_id: str, level: str) -> np.ndarray:
        """(1, tokens, C) float16 around one of 64 means each."""
        random = np.random.default_rng(int(image_id))
        noise = random.standard_normal((self.tokens, self.geometry.channels[level]), np.float32)
        return (self._means[random.integers(64, size=self.tokens)] + noise).astype(np.float16)[None]


def photo() -> np.ndarray:
    """A photograph from scikit-image, (375, 500, 3) uint8."""
    from skimage import data  # the checks of a GPU do without

    return np.ascontiguousarray(data.astronaut()[:375, :500])


def labels_of_upsampled_features(
    tokens: np.ndarray, grid: tuple[int, int], centroids: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """Pixel labels the plain way: the features are upsampled, then every pixel is assigned.

    Args:
        tokens: (h * w, C) float32.
        grid: (h, w).
        centroids: (N, C) float32.
        size: (H, W).
    """
    maps = torch.from_numpy(tokens).T.reshape(1, -1, *grid)
    pixels = F.interpolate(maps, size, mode="bilinear")[0].flatten(1).T
    centres = torch.from_numpy(centroids)
    scores = 2 * pixels @ centres.T - centres.square().sum(1)
    return scores.argmax(1).numpy().reshape(size)


def vote_by_loop(labels: np.ndarray, superpixels: np.ndarray) -> np.ndarray:
    """The majority label of every superpixel, one after another."""
    voted = labels.copy()
    for place in range(superpixels.max() + 1):
        inside = superpixels == place
        voted[inside] = np.bincount(labels[inside]).argmax()
    return voted
