"""A batch of episodes as tensors, the input of every meta-learner.

Shapes: B batch, K shots, C channels, h w feature grid, g g square grid, S S target grid. Features
are un-padded on disk. A batch pads them at the right and at the bottom to one grid, and marks the
padding.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from umtfss.data.images import IGNORE

_GRIDS = (
    *("query_mid", "query_high", "query_valid"),
    *("support_mid", "support_high", "support_valid", "support_mask"),
)


@dataclass(frozen=True)
class EpisodeBatch:
    """B episodes of K shots.

    Attributes:
        query_mid: (B, C, h, w) float, mid feature of the query. Its levels lie one after another,
            the earliest first; a model is built with the channels of each.
        query_high: (B, D, h, w) float, high feature of the query.
        query_valid: (B, h, w) bool, False on padding.
        support_mid: (B, K, C, h, w) float.
        support_high: (B, K, D, h, w) float.
        support_valid: (B, K, h, w) bool, False on padding and on label 255.
        support_mask: (B, K, h, w) float in [0, 1], foreground part of a token; 0 where not valid.
        key: (B,) int64, the episode's key for random choices inside a model.
        target: (B, S, S) int64 in {0, 1, 255}, query mask for the loss; None at test.
        side: g, if the target shows a square grid that contains the h w grid; the logits then have
            shape g g. None: the logits have shape h w.
        support_pixels: (B, K, 2, h, w) uint8 in {0, 1, 255}, the labels of two single pixels of
            each token, at its centre and at its top left corner; 255 on padding. Only models that
            read masks by single pixels (`token_masks: sampled`) need these labels.
        support_target: (B, K, S, S) int64 in {0, 1, 255}, the supports' masks for an auxiliary
            loss; None at test and for models without an auxiliary loss.
        query_classes: (B, S, S) int64, class map of the query: 0 background, then the classes of
            the training tasks from 1 on, 255 ignored; None at test and for models without a base
            head.
        class_index: (B,) int64, the episode's class: its number in `query_classes`, else its id;
            None at test.
    """

    query_mid: Tensor
    query_high: Tensor
    query_valid: Tensor
    support_mid: Tensor
    support_high: Tensor
    support_valid: Tensor
    support_mask: Tensor
    key: Tensor
    target: Tensor | None = None
    side: int | None = None
    support_pixels: Tensor | None = None
    support_target: Tensor | None = None
    query_classes: Tensor | None = None
    class_index: Tensor | None = None

    def squared(self) -> "EpisodeBatch":
        """The batch padded to the square grid g g if `side` is given, else unchanged."""
        if self.side is None:
            return self

        def padded(value: Tensor, fill: float = 0) -> Tensor:
            assert self.side is not None
            height, width = value.shape[-2:]
            return F.pad(value, (0, self.side - width, 0, self.side - height), value=fill)

        grids: dict[str, Any] = {name: padded(getattr(self, name)) for name in _GRIDS}
        if self.support_pixels is not None:
            grids["support_pixels"] = padded(self.support_pixels, IGNORE)
        return replace(self, **grids)

    def to(self, device: torch.device | str) -> "EpisodeBatch":
        """The batch on `device`."""
        return self._map(lambda value: value.to(device, non_blocking=True))

    def pin_memory(self) -> "EpisodeBatch":
        """The batch in page-locked memory, for asynchronous copies; the DataLoader calls this."""
        return self._map(Tensor.pin_memory)

    def _map(self, change: Callable[[Tensor], Tensor]) -> "EpisodeBatch":
        changed: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name, value in changed.items():
            changed[name] = change(value) if isinstance(value, Tensor) else value
        return EpisodeBatch(**changed)

    def __len__(self) -> int:
        return len(self.key)
