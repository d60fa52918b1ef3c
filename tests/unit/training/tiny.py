"""A training that takes seconds: a small learner, drawn episodes. Also runs as a script."""

import argparse
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.training import TrainingConfig
from umtfss.models.base import MetaLearner
from umtfss.training import distributed
from umtfss.training.loop import train

GRID, SIDE, CHANNELS = 6, 24, 8


class TinyLearner(MetaLearner):
    """Query features modulated by the support prototype; has dropout and a `transformer`."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.project = nn.Conv2d(CHANNELS, 16, 1)
        self.transformer = nn.Sequential(nn.Linear(16, 16), nn.LayerNorm(16), nn.Dropout(dropout))
        self.head = nn.Conv2d(16, 2, 1)

    def forward(self, batch: EpisodeBatch) -> Tensor:
        mask = batch.support_mask[:, 0, None]
        weight = mask.sum((2, 3), keepdim=True).clamp(min=1)
        prototype = (batch.support_mid[:, 0] * mask).sum((2, 3), keepdim=True) / weight
        tokens = self.project(batch.query_mid * prototype).relu()
        tokens = self.transformer(tokens.movedim(1, -1)).movedim(-1, 1)
        return self.head(tokens)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = nn.functional.interpolate(logits, size=target.shape[-2:], mode="bilinear")
        return nn.functional.cross_entropy(logits, target, ignore_index=255)

    def transformer_parameters(self) -> Iterator[nn.Parameter]:
        return self.transformer.parameters()


class TinyEpisodes(Dataset[dict[str, Tensor]]):
    """Episode i depends on i alone; `before` is called with i first."""

    def __init__(self, count: int, before: Callable[[int], None] | None = None) -> None:
        self.count, self.before = count, before

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if self.before is not None:
            self.before(index)
        draw = torch.Generator().manual_seed(index)
        direction = torch.randn(CHANNELS, 1, 1, generator=draw)
        masks = (torch.rand(2, GRID, GRID, generator=draw) > 0.5).float()
        noise = torch.randn(2, CHANNELS, GRID, GRID, generator=draw) * 0.3
        features = noise + masks[:, None] * direction
        target = masks[0].repeat_interleave(SIDE // GRID, 0).repeat_interleave(SIDE // GRID, 1)
        target = target.long()
        target[-1] = 255
        return {"query": features[0], "support": features[1], "mask": masks[1], "target": target}


def collate(items: list[dict[str, Tensor]]) -> EpisodeBatch:
    query, support, mask, target = (
        torch.stack([item[name] for item in items]) for name in items[0]
    )
    return EpisodeBatch(
        query_mid=query,
        query_high=query,
        query_valid=torch.ones(len(items), GRID, GRID, dtype=torch.bool),
        support_mid=support[:, None],
        support_high=support[:, None],
        support_valid=torch.ones(len(items), 1, GRID, GRID, dtype=torch.bool),
        support_mask=mask[:, None],
        key=torch.arange(len(items)),
        target=target,
    )


def run(
    folder: Path,
    before: Callable[[int], None] | None = None,
    *,
    dropout: float = 0.3,
    identity: str = "one",
    seed: int = 7,
    model: MetaLearner | None = None,
    episodes: int | None = None,
    device: str = "cpu",
    featuriser: Callable[[Any], EpisodeBatch] | None = None,
    collate: Callable[[Any], Any] = collate,
    **settings: Any,
) -> MetaLearner:
    """Train a tiny learner in `folder`; returns it."""
    config = TrainingConfig.model_validate(
        {"steps": 40, "batch_size": 4, "sgd_lr": 0.01, "adamw_lr": 1e-3, "log_every": 3, **settings}
    )
    torch.manual_seed(0)
    model = TinyLearner(dropout) if model is None else model
    count = config.steps * config.batch_size if episodes is None else episodes
    with distributed.process_group(device) as own_device:
        train(
            model,
            TinyEpisodes(count, before),
            folder,
            settings=config,
            identity=identity,
            seed=seed,
            device=own_device,
            images_per_epoch=40,
            collate=collate,
            featuriser=featuriser,
        )
    return model


def signal_at(step: float, number: int, batch_size: int = 4) -> Callable[[int], None]:
    """Send this process a signal when the first episode of a step is loaded."""

    def before(index: int) -> None:
        if index == step * batch_size:
            os.kill(os.getpid(), number)

    return before


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("settings", type=json.loads)
    parser.add_argument("--kill-at", type=int)
    parser.add_argument("--stop-at", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    before = None
    if arguments.kill_at is not None:
        before = signal_at(arguments.kill_at, signal.SIGKILL)
    if arguments.stop_at is not None and os.environ["RANK"] == "1":  # the second half of a batch
        before = signal_at(arguments.stop_at + 0.5, signal.SIGTERM)
    run(arguments.folder, before, **arguments.settings)
