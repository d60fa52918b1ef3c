"""Label propagation over the unlabelled pool: no training, but not from one support alone.

A support and a query of one class often look unlike; images of the pool lie between them. The
support's mask spreads over the pool's graph (Zhou et al., NeurIPS 2003), and the query reads off
where it arrived, as a point that the graph does not hold (Delalleau et al., AISTATS 2005).

Shapes: B batch, K shots, C channels of the high feature, h w feature grid, N = h * w tokens,
n segments of the pool, G groups of support tokens of one kind.
"""

import warnings

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.clustering.pool_graph import PoolGraph
from umtfss.config import ModelConfig, PropagationConfig
from umtfss.episodes.batch import EpisodeBatch
from umtfss.linear import linear
from umtfss.models.base import MetaLearner
from umtfss.models.layers.position_encoding import repeat_edge
from umtfss.models.layers.prototype_attention import prototypes, split_support, token_priority

TINY = 1e-9  # nothing arrived


class LabelPropagation(MetaLearner):
    """Odds that foreground rather than background arrives at a query token.

    The support's foreground and background tokens are grouped as for prototype attention. Every
    group is a source at the pool segments that are most like it; both kinds weigh the same. What
    has spread is read by each query token at the segments most like it. A direct path from support
    to query is left out: it is the training-free floor's, and takes more than it gives
    (docs/accuracy_log.md). No parameters; not in the paper.

    Args:
        settings: The model block of an experiment, for the grouping.
        mid_channels: Not used.
    """

    def __init__(self, settings: ModelConfig, mid_channels: int = 0) -> None:
        super().__init__()
        self.settings, self.propagation = settings, PropagationConfig()
        self.segments: Tensor | None
        self.links: Tensor | None
        for name in ("segments", "links"):
            self.register_buffer(name, None, persistent=False)

    def load_pool(self, graph: PoolGraph, settings: PropagationConfig) -> None:
        """Take the graph of an unlabelled pool, which must hold no tested image.

        Args:
            graph: Built with the same settings.
            settings: How labels spread.
        """
        self.propagation = settings
        self.segments = torch.from_numpy(graph.segments)
        links = graph.links
        start, column, value = map(torch.from_numpy, (links.indptr, links.indices, links.data))
        with warnings.catch_warnings():
            # torch calls sparse CSR a beta feature; the product is tested
            warnings.simplefilter("ignore", UserWarning)
            self.links = torch.sparse_csr_tensor(start, column, value, links.shape)

    @torch.no_grad()
    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) half log odds, background then foreground; padding repeats the nearest one.

        Raises:
            RuntimeError: No pool was loaded.
        """
        if self.segments is None or self.links is None:
            raise RuntimeError("load_pool must give the pool's graph before a prediction")
        with torch.autocast(batch.query_high.device.type, enabled=False):  # the graph is float32
            half = self._half_odds(batch)
        return repeat_edge(torch.stack([-half, half], 1), batch.query_valid, batch.side)

    def _half_odds(self, batch: EpisodeBatch) -> Tensor:
        """(B, h, w) half the log odds of foreground, less the threshold."""
        assert self.segments is not None
        assert self.links is not None
        settings = self.propagation
        sources = self._sources(batch).flatten(0, 1).T.contiguous()  # (n, 2 B)
        arrived = sources
        for _ in range(settings.steps):
            arrived = settings.alpha * (self.links @ arrived) + sources
        arrived = arrived.T.unflatten(0, (-1, 2))  # (B, 2, n)

        query = F.normalize(batch.query_high.float(), dim=1).flatten(2).transpose(1, 2)
        odds = []
        # One query at a time: its N n cosines take some 100 MB for a pool of 3,000 images.
        for tokens, found in zip(query, arrived, strict=True):
            weight, index = self._nearest(tokens)
            foreground, background = (found[:, index] * weight).sum(2) + TINY
            odds.append((foreground / background).log() - settings.threshold)
        return torch.stack(odds).view(batch.query_valid.shape) / 2

    def _sources(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, n) where foreground and background start, each from groups of equal weight."""
        assert self.segments is not None
        settings, groups = self.settings, self.propagation.groups
        tokens = F.normalize(batch.support_high.float(), dim=2).permute(0, 1, 3, 4, 2).flatten(1, 3)
        pooled, used = prototypes(
            tokens,
            split_support(batch.support_mask, batch.support_valid),
            batch.key,
            token_priority(batch.key, batch.support_mask.shape[1:]),
            (groups, groups),
            settings.hash_bits,
            settings.hamming_iterations,
            "mean",
        )
        weight, index = self._nearest(pooled)
        kinds = used.unflatten(1, (2, groups)).to(weight.dtype)
        share = kinds / kinds.sum(2, keepdim=True)
        weight = weight.unflatten(1, (2, groups)) * share[..., None]
        sources = weight.new_zeros(len(batch), 2, len(self.segments))
        return sources.scatter_add_(
            2, index.unflatten(1, (2, groups)).flatten(2), weight.flatten(2)
        )

    def _nearest(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Weights and indices of the pool segments most like each vector, (..., neighbours).

        Args:
            vectors: (..., C), unit vectors.
        """
        assert self.segments is not None
        settings = self.propagation
        cosine, index = linear(vectors, self.segments).topk(settings.neighbours, dim=-1)
        return torch.exp((cosine - 1) / settings.temperature), index
