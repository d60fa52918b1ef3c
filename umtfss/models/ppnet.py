"""PPNet: part-aware prototypes, refined by regions of unlabelled images (arXiv:2007.06309).

Shapes: B batch, K shots, C channels of the mid feature, d model width, h w feature grid, P parts of
a class, R regions of the bank.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner
from umtfss.models.layers.cross_entropy import cross_entropy_loss
from umtfss.models.layers.parts import parts
from umtfss.models.layers.position_encoding import repeat_edge, valid_extent
from umtfss.models.layers.resample import MaskedScale

PARTS = 5  # of foreground, and of background
GLOBAL = 0.8  # weight of the mean token that is added to every part
TEMPERATURE = 20.0  # factor of cosines
BANK = 1024  # regions, about 16 images of 24 x 24 tokens
REGION = 3  # side of a region, tokens; about 80 superpixels of an image in the published system
CHOSEN, LEAST = 30, 0.5  # regions that refine a class: the most similar ones, above this cosine
ATTENDED = 0.2  # weight of the regions in a refined prototype


class PPNet(MetaLearner):
    """The nearest of several prototypes of background and of foreground.

    A class's prototypes are k-means centres of its support tokens, each with the mean token added.
    Regions that are similar to the mean token refine them. In training, the query's predicted mask
    also segments the supports.

    Four things differ from the published system:

    * Regions are squares of tokens of the last training images, kept in a bank, chosen by
      similarity alone. The release draws "unlabelled" images of the episode's own class.
    * A learned linear map of the frozen mid feature takes the place of the tuned layers 3 and 4.
    * The random maps of the release's graph, which are never trained, and its semantic branch are
      left out.
    * A class without similar regions keeps its prototypes; the release mixes in zeros.

    Args:
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature; C is their sum.
    """

    reads_support_target = True
    reads_high_background = False
    bank: Tensor  # (R, C) buffer, mid feature of regions
    filled: Tensor  # () int64 buffer, number of regions that were ever written

    def __init__(self, settings: ModelConfig, mid_channels: Sequence[int]) -> None:
        super().__init__()
        channels = sum(mid_channels)
        self.project = nn.Conv2d(channels, settings.width, 1, bias=False)
        self.register_buffer("bank", torch.zeros(BANK, channels))
        self.register_buffer("filled", torch.tensor(0))

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest logits."""
        query, support = self._projected(batch)
        return repeat_edge(self._scores(batch, query, support), batch.query_valid, batch.side)

    def outputs(self, batch: EpisodeBatch) -> tuple[Tensor, ...]:
        """(B, 2, h, w) logits of the query and (B * K, 2, h, w) logits of the supports."""
        query, support = self._projected(batch)
        logits = self._scores(batch, query, support)
        back = self._back(batch, query, support, logits)
        if self.training:
            self._remember(batch)
        return (
            repeat_edge(logits, batch.query_valid, batch.side),
            repeat_edge(back, batch.support_valid.flatten(0, 1), batch.side),
        )

    def total_loss(self, outputs: tuple[Tensor, ...], batch: EpisodeBatch) -> Tensor:
        """The cross-entropies of the query and of the supports, a scalar."""
        assert batch.target is not None
        assert batch.support_target is not None
        back = self.loss(outputs[1], batch.support_target.flatten(0, 1))
        return self.loss(outputs[0], batch.target) + back

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The cross-entropy of the logits, upsampled to the target.

        Args:
            logits: (B, 2, h, w).
            target: (B, S, S) int64 in {0, 1, 255}.
        """
        return cross_entropy_loss(logits, target, self.align_corners)

    def _projected(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Query (B, h, w, d) and supports (B, K, h, w, d) in float32."""
        query = self.project(batch.query_mid).float().movedim(1, -1)
        support = self.project(batch.support_mid.flatten(0, 1)).float().movedim(1, -1)
        return query, support.unflatten(0, (len(batch), -1))

    def _scores(self, batch: EpisodeBatch, query: Tensor, support: Tensor) -> Tensor:
        """The logits of the query, (B, 2, h, w)."""
        with torch.autocast(query.device.type, enabled=False):
            regions = self._regions()
            found = []
            for row, valid in enumerate(batch.support_valid):
                tokens, part = support[row][valid], batch.support_mask[row][valid].float()
                found.append(scores(query[row], tokens, part, regions))
            return torch.stack(found)

    def _back(self, batch: EpisodeBatch, query: Tensor, support: Tensor, logits: Tensor) -> Tensor:
        """The logits of the supports by the query's prediction, (B * K, 2, h, w).

        Logits of an episode without predicted foreground are 0 and have no gradient.
        """
        nothing = torch.zeros_like(logits)
        with torch.autocast(query.device.type, enabled=False):
            regions = self._regions()
            found = []
            for row, valid in enumerate(batch.query_valid):
                part = (logits[row, 1] > logits[row, 0])[valid].float()
                for image in support[row]:
                    if part.any():
                        found.append(scores(image, query[row][valid], part, regions))
                    else:
                        found.append(nothing[row])
            return torch.stack(found)

    def _regions(self) -> Tensor:
        """The projected regions of the bank, (R, d) float32; none before a training."""
        used = self.bank[: int(self.filled.clamp(max=BANK))].clone()  # `_remember` writes there
        return used @ self.project.weight[..., 0, 0].float().T

    @torch.no_grad()
    def _remember(self, batch: EpisodeBatch) -> None:
        """Write the regions of the queries over the oldest ones of the bank."""
        grid = batch.query_mid.float().movedim(1, -1)
        size = (grid.shape[1], grid.shape[2])
        scale = MaskedScale(*valid_extent(batch.query_valid), size, 1 / REGION)
        new = scale.pool(grid)[scale.inside[..., 0]][-BANK:]
        place = (self.filled + torch.arange(len(new), device=new.device)) % BANK
        self.bank[place] = new.to(self.bank.dtype)
        self.filled += len(new)


def scores(image: Tensor, tokens: Tensor, part: Tensor, regions: Tensor) -> Tensor:
    """The logits of an image: the largest cosine to a prototype of each class, (2, h, w).

    Args:
        image: (h, w, d) tokens to segment.
        tokens: (N, d) tokens with known labels.
        part: (N,) foreground part of each of these.
        regions: (R, d), R may be 0.
    """
    classes = []
    for weight in (1 - part, part):
        own = prototypes(tokens, weight, regions)
        cosine = F.normalize(image, dim=2) @ F.normalize(own, dim=1).T
        classes.append(TEMPERATURE * cosine.amax(2))
    return torch.stack(classes)


def prototypes(tokens: Tensor, weight: Tensor, regions: Tensor) -> Tensor:
    """The prototypes of a class, (P, d): parts with the mean token, refined by similar regions.

    Args:
        tokens: (N, d).
        weight: (N,) part of each token that belongs to the class.
        regions: (R, d), R may be 0.
    """
    mean = (weight @ tokens / weight.sum().clamp(min=1e-6))[None]
    own = parts(tokens[weight > 0.5], PARTS)
    found = own + GLOBAL * mean if len(own) else mean
    similar = similar_regions(mean[0], regions)
    if not len(similar):
        return found
    unit = F.normalize(similar, dim=1)
    attention = (TEMPERATURE * F.normalize(found, dim=1) @ unit.T).softmax(1)
    return (1 - ATTENDED) * found + ATTENDED * attention @ similar


def similar_regions(mean: Tensor, regions: Tensor) -> Tensor:
    """The regions most similar to a class's mean token, above the least cosine, (at most 30, d).

    Args:
        mean: (d,).
        regions: (R, d).
    """
    with torch.no_grad():
        cosine = F.normalize(regions, dim=1) @ F.normalize(mean, dim=0)
        best, index = cosine.topk(min(CHOSEN, len(regions)))
        index = index[best > LEAST]
    return regions[index]
