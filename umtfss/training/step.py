"""One step of a training: from a batch to changed weights.

Shapes: B batch, h w grid of the logits, S S target.
"""

from collections.abc import Callable, Sequence
from math import isfinite
from typing import NamedTuple

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


class StepResult(NamedTuple):
    """The result of a step, equal in every process.

    Attributes:
        loss: Loss, mean over the processes.
        iou: Foreground IoU of the batch's episodes, mean over the processes.
        stopping: Part of the processes that were asked to stop.
    """

    loss: float
    iou: float
    stopping: float


def train_step(
    state: TrainingState,
    objective: nn.Module,
    batch: EpisodeBatch,
    *,
    rate: float,
    clip_norm: float | None,
    asked_to_stop: bool,
) -> Tensor:
    """Take one step of all optimisers and of the weights' average.

    The host does not wait for a GPU, except in fp16, whose scaler asks for overflows.

    Args:
        state: The state, which the step changes.
        objective: An `Objective` of the state's model, wrapped for several processes.
        batch: This process's part of the batch, on the device.
        rate: Learning rate of the main optimiser.
        clip_norm: Largest norm of all gradients together; None: no clipping.
        asked_to_stop: Whether this process was asked to stop.

    Returns:
        (3,) float on the device, for `read_results`.
    """
    # 1. Forward and backward pass.
    set_main_rate(state.optimisers, rate)
    loss, logits = objective(batch)
    state.scaler.scale(loss).backward()

    # 2. Average loss, IoU and requests to stop over the processes.
    iou = foreground_iou(logits, batch.target)
    own = torch.stack([loss.detach(), iou, iou.new_full((), asked_to_stop)])
    result = distributed.mean(own)

    # 3. Change the weights.
    _optimise(state, clip_norm)
    if state.average is not None:
        state.average.update_parameters(state.model)
    state.step += 1
    return result


def read_results(results: Sequence[Tensor], state: TrainingState, rate: float) -> list[StepResult]:
    """The results of the latest steps; waits for the device once.

    Args:
        results: What `train_step` returned, of consecutive steps up to the state's.
        state: The state.
        rate: The latest learning rate, for the message.

    Raises:
        TrainingError: A loss is not finite.
    """
    found = [StepResult(*values) for values in torch.stack(list(results)).tolist()]
    for number, result in enumerate(found, state.step + 1 - len(found)):
        if not isfinite(result.loss):
            raise TrainingError(
                f"the loss of step {number} of {state.steps} is not finite; nothing was saved",
                found=f"loss {result.loss}, rate {rate:.3g}",
                fix=checkpoint.DIVERGED,
            )
    return found


def _optimise(state: TrainingState, clip_norm: float | None) -> None:
    """Step every optimiser, with clipping if `clip_norm` is given; fp16 skips overflows."""
    optimisers, scaler = state.optimisers.values(), state.scaler
    overflowed = False
    if clip_norm is not None:
        for one in optimisers:
            scaler.unscale_(one)
        overflowed = not _clip(state.model, clip_norm, scaler.is_enabled())
    for one in optimisers:
        if not overflowed:
            scaler.step(one)
        one.zero_grad(set_to_none=True)
    scaler.update()


def _clip(model: nn.Module, limit: float, may_overflow: bool) -> bool:
    """Clip all gradients together; if they overflowed, return False and change nothing.

    The scaler of fp16 skips the step of an optimiser whose gradients overflowed. Clipping by a norm
    that is not finite would turn the gradients of the other optimiser into NaN.

    Args:
        model: The model with its gradients.
        limit: Largest norm.
        may_overflow: Whether to look for overflows, for which the host waits.
    """
    parameters = [one for one in model.parameters() if one.grad is not None]
    norm = nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])
    if may_overflow and not torch.isfinite(norm):
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
