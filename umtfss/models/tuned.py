"""A matcher whose backbone is trained a little: the last blocks of a ViT, on episodes.

Fine-tuning a small part of the backbone carries over to classes that no label was seen of, where a
head on frozen features does not (Sun et al., "Singular value fine-tuning", arXiv:2206.06122, tune
another part). Not in the paper; docs/method.md.

Shapes: B batch, K shots, D width of the ViT, M channels of the mid feature, C of the level, h w
feature grid, N = h * w.
"""

from collections.abc import Iterator
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.backbones.tail import build_tail
from umtfss.backbones.vit import level_tokens
from umtfss.config import ModelConfig
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.geometry import IGNORE
from umtfss.features.settings import FeaturesConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.models.prototype import PrototypeMatcher

SCALE = 10.0  # of cosines that are trained as logits


class TunedBackbone(MetaLearner):
    """Nearest of two prototypes, on features whose last ViT blocks are trained for it.

    It is trained on what its blocks read (the mid feature) and the frozen level that they lead to
    (the high feature). For a test `tokens` makes tuned features of the two, once for an image, puts
    diffused ones beside them, if there are any, and the prototype matcher takes these.

    Args:
        settings: The model block of an experiment, for `margin`.
        mid_channels: Not used.
        features: The features block, for the blocks to train; none: there are none yet.

    Raises:
        WeightsError: The backbone's weights are missing, altered or of another network.
    """

    def __init__(
        self,
        settings: ModelConfig,
        mid_channels: int = 0,
        features: FeaturesConfig | None = None,
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList() if features is None else build_tail(features)
        self.part = 1.0 if features is None else features.tuned_part
        # Self-support sorts the query's own tokens: it is left to the test.
        self.matcher = PrototypeMatcher(settings.model_copy(update={"self_support": False}))

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest one."""
        supports = (batch.support_mid, batch.support_high, batch.support_valid)
        support = self.tokens(*(one.flatten(0, 1) for one in supports))
        tuned = replace(
            batch,
            query_high=self.tokens(batch.query_mid, batch.query_high, batch.query_valid),
            support_high=support.unflatten(0, batch.support_valid.shape[:2]),
        )
        logits = SCALE * self.matcher.cosines(tuned)
        return repeat_edge(logits, batch.query_valid, batch.side)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy of the logits, upsampled to the target.

        Args:
            logits: (B, 2, h, w).
            target: (B, S, S) int64 in {0, 1, 255}.
        """
        size, align = target.shape[1:], self.align_corners
        logits = F.interpolate(logits, size, mode="bilinear", align_corners=align)
        return F.cross_entropy(logits, target, ignore_index=IGNORE)

    def tokens(self, mid: Tensor, high: Tensor, valid: Tensor | None = None) -> Tensor:
        """The tuned features, (B, M - D + C, h, w): unit vectors in two parts, if M > D.

        The blocks see patch tokens alone, without the class token. What they make of the stem
        takes the place of the frozen ViT's tokens in the level, and of the cosine of two images
        the level has the part `part`, what was diffused of it while frozen the rest.

        Args:
            mid: (B, M, h, w), the stem, tokens as the first of the blocks reads them, then
                diffused features, if there are any.
            high: (B, C, h, w), the frozen level; its first D channels are the ViT's.
            valid: (B, h, w) bool, tokens that the others may attend to; none: all.
        """
        width = self.blocks[0].get_parameter("norm1.weight").shape[0]
        stem, diffused = mid[:, :width], mid[:, width:]
        x = stem.flatten(2).transpose(1, 2)
        mask = None
        if valid is not None and not bool(valid.all()):
            seen = valid.flatten(1)
            mask = (seen | ~seen.any(1, keepdim=True))[:, None, None]  # softmax needs one at least
        for block in self.blocks:
            x = block(x, attn_mask=mask)
        own = F.normalize(level_tokens(x), dim=2).transpose(1, 2).view_as(stem)
        tuned = F.normalize(torch.cat([own, high[:, width:]], 1), dim=1)
        if diffused.shape[1] == 0:
            return tuned
        parts = (1 - self.part) ** 0.5 * F.normalize(diffused, dim=1), self.part**0.5 * tuned
        return torch.cat(parts, 1)

    def transformer_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters of the blocks."""
        return self.blocks.parameters()
