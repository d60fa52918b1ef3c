"""One step of a training: from a batch to changed weights.

Shapes: B batch, h w grid of the logits, S S target.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.common.errors import TrainingError
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.overlap import foreground_overlap
from umtfss.models.base import MetaLearner
from umtfss.training import checkpoint, distributed
from umtfss.training.optimisers import set_main_rate
from umtfss.training.state import TrainingState


class Objective(nn.Module):
    """Loss and logits in one forward pass, as averaging gradients over processes requires.

    Args:
        model: The meta-learner.
        autocast: Makes the context of the forward pass; the loss is computed outside, in float32.
    """

    def __init__(self, model: MetaLearner, autocast: Callable[[], torch.autocast]) -> None:
        super().__init__()
        self.model, self.autocast = model, autocast

    def forward(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the logits, (B, 2, h, w) float32.

        Raises:
            TrainingError: The logits do not fill the square grid of the target.
        """
        with self.autocast():
            outputs = self.model.outputs(batch)
        grid = tuple(outputs[0].shape[2:])
        if batch.side is not None and grid != (batch.side, batch.side):
            raise TrainingError(
                f"the logits of {type(self.model).__name__} do not fill the grid of the target",
                expected=(batch.side, batch.side),
                found=grid,
                fix="end its forward with repeat_edge(logits, batch.query_valid, batch.side)",
            )
        outputs = tuple(one.float() for one in outputs)
        return self.model.total_loss(outputs, batch), outputs[0]


@dataclass(frozen=True)
class StepResult:
    """The result of a step, equal in every process.

    Attributes:
        loss: Loss, mean over the processes.
        iou: Foreground IoU of the batch's episodes, mean over the processes.
        stopping: Whether a process was asked to stop.
    """

    loss: float
    iou: float
    stopping: bool


def train_step(
    state: TrainingState,
    objective: nn.Module,
    batch: EpisodeBatch,
    *,
    rate: float,
    clip_norm: float | None,
    asked_to_stop: bool,
) -> StepResult:
    """Take one step of all optimisers and of the weights' average.

    Args:
        state: The state, which the step changes.
        objective: An `Objective` of the state's model, wrapped for several processes.
        batch: This process's part of the batch, on the device.
        rate: Learning rate of the main optimiser.
        clip_norm: Largest norm of all gradients together; None: no clipping.
        asked_to_stop: Whether this process was asked to stop.

    Raises:
        TrainingError: The loss is not finite; no weight was changed.
    """
    # 1. Forward and backward pass.
    set_main_rate(state.optimisers, rate)
    loss, logits = objective(batch)
    state.scaler.scale(loss).backward()

    # 2. Average loss, IoU and requests to stop over the processes.
    iou = foreground_iou(logits, batch.target)
    own = torch.stack([loss.detach(), iou, iou.new_full((), asked_to_stop)])
    mean_loss, mean_iou, stopping = distributed.mean(own)
    if not isfinite(mean_loss):
        raise TrainingError(
            f"the loss of step {state.step + 1} of {state.steps} is not finite; nothing was saved",
            found=f"loss {mean_loss}, rate {rate:.3g}",
            fix=checkpoint.DIVERGED,
        )

    # 3. Change the weights.
    _optimise(state, clip_norm)
    if state.average is not None:
        state.average.update_parameters(state.model)
    state.step += 1
    return StepResult(mean_loss, mean_iou, stopping > 0)


def _optimise(state: TrainingState, clip_norm: float | None) -> None:
    """Step every optimiser, with clipping if `clip_norm` is given; fp16 skips overflows."""
    optimisers, scaler = state.optimisers.values(), state.scaler
    overflowed = False
    if clip_norm is not None:
        for one in optimisers:
            scaler.unscale_(one)
        overflowed = not _clip(state.model, clip_norm) and scaler.is_enabled()
    for one in optimisers:
        if not overflowed:
            scaler.step(one)
        one.zero_grad(set_to_none=True)
    scaler.update()


def _clip(model: nn.Module, limit: float) -> bool:
    """Clip all gradients together; if a gradient is not finite, return False and change nothing.

    The scaler of fp16 skips the step of an optimiser whose gradients overflowed. Clipping by a norm
    that is not finite would turn the gradients of the other optimiser into NaN.
    """
    parameters = [one for one in model.parameters() if one.grad is not None]
    norm = nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])
    if not torch.isfinite(norm):
        return False
    nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return True


def foreground_iou(logits: Tensor, target: Tensor | None) -> Tensor:
    """The mean foreground IoU of the episodes at the logits' resolution, a scalar; for the log.

    Label 255 is ignored. An episode without predicted and without true foreground counts 1.

    Args:
        logits: (B, 2, h, w).
        target: (B, S, S) in {0, 1, 255}, sampled at the nearest pixel.
    """
    assert target is not None
    size = logits.shape[-2:]
    label = F.interpolate(target[:, None].float(), size=size, mode="nearest-exact")[:, 0]
    intersection, union = foreground_overlap(logits[:, 1] > logits[:, 0], label)
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0).mean()
