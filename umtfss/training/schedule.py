"""The length of a training and the rate of each step, without torch, so that the plan can use it.

Legend: E steps of an epoch, T steps of the training, W steps of warm-up.
"""

from math import ceil, cos, pi

from umtfss.common.errors import TrainingError
from umtfss.experiment.training import TrainingConfig


def total_steps(settings: TrainingConfig, images_per_epoch: int) -> int:
    """T, the number of optimiser steps of a training, which reads T * batch_size episodes."""
    return settings.length.total_steps(images_per_epoch)


def warmup_steps(settings: TrainingConfig, images_per_epoch: int) -> int:
    """W, the number of warm-up steps: `warmup_steps`, else an epoch, at most half of the training.

    Raises:
        TrainingError: `warmup_steps` leaves no step at the full rate.
    """
    total = total_steps(settings, images_per_epoch)
    if settings.warmup_steps is None:
        return min(ceil(images_per_epoch / settings.batch_size), total // 2)
    if settings.warmup_steps >= total:
        raise TrainingError(
            "the warm-up is as long as the training",
            expected=f"training.<pool>.warmup_steps below the {total} steps of the training",
            found=settings.warmup_steps,
            fix="lower warmup_steps, or leave it out to warm up over the first epoch",
        )
    return settings.warmup_steps


def peak_rate(settings: TrainingConfig) -> float:
    """The learning rate of the main optimiser before warm-up and decay."""
    if settings.optimiser == "sgd_adamw":
        return settings.sgd_lr * settings.lr_multiplier
    return settings.adamw_lr


def main_rate(step: int, settings: TrainingConfig, images_per_epoch: int) -> float:
    """The learning rate of the main optimiser at a step, from 0.

    The rate is `peak_rate * decay * min(1, (step + 1) / W)` with t = step / T and the decay

    * `poly`: (1 - t) ** poly_power,
    * `cosine`: (1 + cos(pi t)) / 2 (arXiv:1608.03983, without restarts),
    * `constant`: 1.

    The decay runs over all steps including the warm-up, so the rate has no jump.
    """
    total = total_steps(settings, images_per_epoch)
    warmup = warmup_steps(settings, images_per_epoch)
    done = step / total
    decay = {
        "poly": (1 - done) ** settings.poly_power,
        "cosine": (1 + cos(pi * done)) / 2,
        "constant": 1.0,
    }[settings.decay]
    warm = min(1.0, (step + 1) / warmup) if warmup else 1.0
    return peak_rate(settings) * decay * warm
