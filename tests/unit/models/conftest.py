"""Small random batches of episodes."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from umtfss.episodes.batch import EpisodeBatch

MakeBatch = Callable[..., EpisodeBatch]


@pytest.fixture(scope="session")
def with_noise() -> Callable[[EpisodeBatch], EpisodeBatch]:
    """Puts large random features where a batch is padding."""

    def change(batch: EpisodeBatch) -> EpisodeBatch:
        def noisy(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
            return torch.where(valid.unsqueeze(-3), values, torch.randn_like(values) * 50)

        return replace(
            batch,
            query_mid=noisy(batch.query_mid, batch.query_valid),
            query_high=noisy(batch.query_high, batch.query_valid),
            support_mid=noisy(batch.support_mid, batch.support_valid),
            support_high=noisy(batch.support_high, batch.support_valid),
        )

    return change


@pytest.fixture(scope="session")
def make_batch() -> MakeBatch:
    """A maker of batches: `shape` is the valid area, `grid` the padded one."""

    def make(
        batch: int = 3,
        shots: int = 1,
        shape: tuple[int, int] = (7, 9),
        grid: tuple[int, int] = (10, 10),
        channels: int = 12,
        high: int = 10,
        seed: int = 0,
    ) -> EpisodeBatch:
        random = torch.Generator().manual_seed(seed)
        height, width = shape

        def padded(*lead: int) -> torch.Tensor:
            full = torch.zeros(*lead, *grid)
            full[..., :height, :width] = torch.randn(*lead, *shape, generator=random)
            return full

        valid = torch.zeros(batch, *grid, dtype=torch.bool)
        valid[:, :height, :width] = True
        support_valid = valid[:, None].repeat(1, shots, 1, 1)
        mask = torch.zeros(batch, shots, *grid)
        for row in range(batch):
            mask[row, :, 1 : 3 + row % 3, 2:6] = 1
            mask[row, :, 1, 2:6] = 0.4
        target = torch.zeros(batch, 4 * grid[0], 4 * grid[1], dtype=torch.long)
        target[:, 8:16, 8:20] = 1
        target[:, 4 * height :] = 255
        target[:, :, 4 * width :] = 255
        pixels = (mask > 0.5).to(torch.uint8).masked_fill(~support_valid, 255)
        pixels = pixels[:, :, None].repeat(1, 1, 2, 1, 1)
        return EpisodeBatch(
            query_mid=padded(batch, channels),
            query_high=padded(batch, high),
            query_valid=valid,
            support_mid=padded(batch, shots, channels),
            support_high=padded(batch, shots, high),
            support_valid=support_valid,
            support_mask=mask * support_valid,
            key=torch.arange(batch) * 1_000_003 + 17,
            target=target,
            support_pixels=pixels,
            support_target=target[:, None].repeat(1, shots, 1, 1),
            query_classes=torch.where(target == 1, 2, target),
            class_index=torch.full((batch,), 2),
        )

    return make
