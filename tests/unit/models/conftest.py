"""Small random batches of episodes."""

from collections.abc import Callable

import pytest
import torch

from umtfss.episodes.batch import EpisodeBatch

MakeBatch = Callable[..., EpisodeBatch]


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
        )

    return make
