"""The plain run, which speeds are compared with. It stays as it is.

The backbone recomputes every image, and the model has torch's own layers. Nothing of the package's
live path is imported.

Shapes: B batch, C channels, g g grid, N = g * g tokens, P P image, T points per head.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet50

from benchmarks.paths import CLASS, DiscImages, Learning, Setting
from umtfss.common.onednn import OneDnnLinear, OneDnnPointwise
from umtfss.episodes.batch import EpisodeBatch
from umtfss.evaluation.miou import EpisodeScores, SegmentationScore
from umtfss.experiment.backbones import IMAGENET_MEAN, IMAGENET_STD
from umtfss.models.base import MetaLearner
from umtfss.models.catrans import Affinity, Tokens
from umtfss.models.layers.deformable_attention import DeformableAttention


class PlainDeformableAttention(DeformableAttention):
    """Deformable attention by `grid_sample`, the samples of every head and point written out."""

    def forward(self, x: Tensor, position: Tensor, valid: Tensor) -> Tensor:
        """(B, N, d) attended tokens."""
        batch, height, width = valid.shape
        offsets = self.offsets(x + position).view(batch, -1, self.heads, 2, self.points)
        weights = self.weights(x + position).view(batch, -1, self.heads, self.points).softmax(-1)
        value = self.value(x) * valid.flatten(1)[..., None]
        maps = value.transpose(1, 2).reshape(batch * self.heads, -1, height, width)
        token = torch.arange(height * width, device=x.device)
        place = torch.stack([token % width, token // width], -1)[:, None, :, None]
        size = torch.tensor([width, height], device=x.device)[:, None]
        at = ((2 * (place + offsets) + 1) / size - 1).permute(0, 2, 1, 4, 3).flatten(0, 1)
        sampled = F.grid_sample(maps, at, align_corners=False)  # (B heads, d / heads, N, T)
        sampled = sampled * weights.transpose(1, 2).flatten(0, 1)[:, None]
        return self.output(sampled.sum(-1).view(batch, -1, height * width).transpose(1, 2))


class PlainAffinity(Affinity):
    """The affinities of all pairs of tokens, written out and summed by cells."""

    def forward(self, rows: Tokens, columns: Tokens) -> Tensor:
        """(B, N, F) affinities."""
        row, column = self.row(rows.features), self.column(columns.features)
        scores = row @ column.transpose(1, 2) / row.shape[2] ** 0.5
        affinity = scores.masked_fill(~columns.keep[:, None], -torch.inf).softmax(2)
        found: Tensor = affinity @ columns.cells * columns.cells.shape[2]
        return found


PLAIN: dict[type, type] = {
    Affinity: PlainAffinity,
    OneDnnLinear: nn.Linear,
    OneDnnPointwise: nn.Conv2d,
    DeformableAttention: PlainDeformableAttention,
}


def plain_layers(model: MetaLearner) -> MetaLearner:
    """The model with torch's own layers in place of the package's, with the same weights."""
    for module in list(model.modules()):
        module.__class__ = PLAIN.get(type(module), type(module))
    return model


class PlainBackbone(nn.Module):
    """A dilated ResNet-50 of torchvision, in evaluation mode, with random weights.

    BatchNorm stays a layer of its own, and every call takes one image.
    """

    def __init__(self) -> None:
        super().__init__()
        network = resnet50(replace_stride_with_dilation=[False, True, True])
        self.network = network.to(memory_format=torch.channels_last).eval()
        self.mean: Tensor
        self.std: Tensor
        for name, value in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(value).view(3, 1, 1))

    @torch.no_grad()
    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Level -> (1, C, g, g) of an image (3, P, P) in [0, 1]."""
        net, levels = self.network, {}
        x = ((image - self.mean) / self.std)[None]
        x = net.maxpool(net.relu(net.bn1(net.conv1(x))))
        for name in ("layer1", "layer2", "layer3", "layer4"):
            levels[name] = x = getattr(net, name)(x)
        return levels


class PlainRun:
    """Training steps and test episodes that recompute the frozen backbone every time.

    One forward pass of the backbone per image, one of the model per episode, a loop over both.

    Args:
        setting: Sizes, with the levels of a dilated ResNet-50; its weights are random.
        device: Where the networks run.
        shots: K.
    """

    def __init__(
        self, setting: Setting, device: torch.device | str = "cpu", shots: int = 1
    ) -> None:
        self.setting, self.device = setting, torch.device(device)
        torch.manual_seed(0)
        self.backbone = PlainBackbone().to(device)
        self.images = torch.rand(1 + shots, 3, setting.pixels, setting.pixels).to(device)
        self.label = DiscImages((), setting.label_size).mask("")

    def episode(self) -> EpisodeBatch:
        """An episode whose features have just been computed."""
        setting, side = self.setting, self.setting.grid
        levels = [self.backbone(image) for image in self.images]  # query, then supports
        mid = [torch.cat([found[name] for name in setting.mid], 1) for found in levels]
        high = [found[setting.high] for found in levels]
        label = torch.from_numpy(self.label)[None, None].float().to(self.device)
        target = F.interpolate(label, (setting.pixels, setting.pixels))[:, 0].long()
        valid = torch.ones(1, side, side, dtype=torch.bool, device=self.device)
        shots = len(self.images) - 1
        return EpisodeBatch(
            query_mid=mid[0],
            query_high=high[0],
            query_valid=valid,
            support_mid=torch.stack(mid[1:], 1),
            support_high=torch.stack(high[1:], 1),
            support_valid=valid[:, None].expand(-1, shots, -1, -1),
            support_mask=F.adaptive_avg_pool2d(label, side).expand(-1, shots, -1, -1),
            key=torch.zeros(1, dtype=torch.int64, device=self.device),
            target=target,
        )

    def train_step(self, learning: Learning) -> None:
        """A step on one episode."""
        learning.step(self.episode())

    @torch.no_grad()
    def test(self, model: MetaLearner) -> EpisodeScores:
        """One test episode."""
        logits = model.eval()(replace(self.episode(), target=None))
        upsampled = F.interpolate(
            logits, self.label.shape, mode="bilinear", align_corners=self.setting.align
        )
        score = SegmentationScore([CLASS])
        score.update(upsampled[0].argmax(0).cpu().numpy() == 1, self.label, CLASS)
        return score.scores
