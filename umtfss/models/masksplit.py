"""MaskSplit's network: prototype and cosine, then a small decoder (arXiv:2110.12207).

`umtfss/episodes/mask_split.py` makes MaskSplit's tasks, two halves of one image's salient region.

Shapes: B batch, K shots, C channels of the mid feature, d model width, h w feature grid,
N = h * w.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.blocks import projection, to_tokens
from umtfss.models.layers.cross_entropy import cross_entropy_loss
from umtfss.models.layers.guidance import pooling_mask, support_vectors
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.models.residual import MatcherResidual


class MaskSplit(MetaLearner):
    """A decoder of the query, the support's prototype and the cosine of the two.

    Query and support share one projection, because their cosine would be meaningless otherwise. A
    second cosine map compares the high features, without learned parameters.

    The network differs from the paper's network. The paper projects three levels of a ResNet by 3x3
    convolutions with group normalisation, whose statistics would include padding, and decodes to
    the image's size in steps. This network has the same inputs as every model here, one projected
    mid feature and the high feature, decodes on the token grid, and is upsampled bilinearly in the
    loss. The pixel cross-entropy follows the paper. Prototypes of K shots are averaged.

    The two views of an image differ from the released code's views. The release crops 0.5 to 1.2 of
    the area, squashes the crop to 400 px, mirrors the border and blurs by 3 to 7 px. Live features
    here are of images at a scale of 1 to 1.41, of the same aspect, blurred by 5 px; pixels outside
    the image are ignored. Cached features are only flipped.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature; C is their sum.
    """

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__()
        self.settings = settings
        width = settings.width
        self.mid = projection(sum(mid_channels), width, settings.mid_dropout)
        self.first = nn.Conv2d(2 * width + 2, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, 2, 1)
        self.dropout = nn.Dropout2d(settings.head_dropout)
        self.residual = MatcherResidual(settings)
        self.reads_high_background = self.residual.matcher is not None

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest logits."""
        valid = batch.query_valid
        height, width = valid.shape[-2:]
        query = to_tokens(self.mid(batch.query_mid))
        support = to_tokens(self.mid(batch.support_mid.flatten(0, 1)))
        weight = pooling_mask(batch, self.settings)
        prototype = support_vectors(support, weight).mean(1)
        with torch.no_grad():
            high = support_vectors(to_tokens(batch.support_high.flatten(0, 1)), weight).mean(1)
            high_cosine = cosine(to_tokens(batch.query_high), high)
        expanded = prototype[:, None].expand_as(query)
        maps = (query, expanded, cosine(query, prototype), high_cosine)
        dtype = query.dtype
        grid = torch.cat([one.to(dtype) for one in maps], 2).unflatten(1, (height, width))

        inside = valid[:, None]
        hidden = (grid * valid[..., None]).permute(0, 3, 1, 2)
        for layer in (self.first, self.second):
            hidden = self.dropout(layer(hidden).relu()) * inside
        return repeat_edge(self.residual(self.last(hidden), batch), valid, batch.side)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy of the logits, upsampled to the target; label 255 is ignored.

        Args:
            logits: (B, 2, h, w).
            target: (B, S, S) int64 in {0, 1, 255}.
        """
        return cross_entropy_loss(logits, target, self.align_corners)


def cosine(tokens: Tensor, vector: Tensor) -> Tensor:
    """The cosine of each token to its image's vector, (B, N, 1); 0 if token or vector is 0.

    Args:
        tokens: (B, N, d).
        vector: (B, d).
    """
    tokens, vector = F.normalize(tokens.float(), dim=2), F.normalize(vector.float(), dim=1)
    return (tokens * vector[:, None]).sum(2, keepdim=True)
