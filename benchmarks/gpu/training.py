"""A training of seconds on drawn episodes; also torchrun's program."""

import argparse
import os
import signal
from functools import partial
from pathlib import Path

import torch

from benchmarks.gpu.inputs import DrawnEpisodes, learner, one_shot
from umtfss.experiment.training import TrainingConfig
from umtfss.training import distributed
from umtfss.training.loop import train

STEPS, BATCH = 12, 4


def train_drawn(
    folder: Path, device: str, *, dropout: bool = True, stop_at: int | None = None
) -> Path:
    """Train a small UMTFSS for `STEPS` steps, and return the folder.

    Args:
        folder: The run's folder; a stopped training goes on.
        device: The device of one process.
        dropout: Whether training drops; processes draw other dropout.
        stop_at: Episode at which the process asks itself to stop; None: never.

    Raises:
        SystemExit: The training was stopped.
    """
    stop = partial(os.kill, os.getpid(), signal.SIGTERM)
    settings = {"steps": STEPS, "batch_size": BATCH, "sgd_lr": 1e-3, "warmup_steps": 1}
    with distributed.process_group(device) as own:
        train(
            learner("umtfss", dropout),
            DrawnEpisodes(STEPS * BATCH, stop_at, stop),
            folder,
            settings=TrainingConfig.model_validate(settings),
            identity="drawn",
            seed=0,
            device=own,
            images_per_epoch=40,
            collate=one_shot,
        )
    return folder


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("device")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    train_drawn(arguments.folder, arguments.device, dropout=False)
