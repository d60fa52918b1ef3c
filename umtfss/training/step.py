"""One step of a training: a batch in, weights changed.

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
    """Loss and logits in one forward, so that the gradients of several processes can be averaged.

    Args:
        model: The meta-learner.
        autocast: Makes the context of the forward pass; the loss is taken in float32 outside it.
    """

    def __init__(self, model: MetaLearner, autocast: Callable[[], torch.autocast]) -> None:
        super().__init__()
        self.model, self.autocast = model, autocast

    def forward(self, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """The loss, a scalar, and the logits, (B, 2, h, w) float32.

        Raises:
            TrainingError: The logits do not fill the square grid that the target shows.
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
    """What came of a step, the same in every process.

    Attributes:
        loss: Mean over the processes.
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
    """Take one step of all optimisers, and of the average of the weights.

    Args:
        state: Where the training stands; its step is counted on.
        objective: An `Objective` of the state's model, wrapped for several processes.
        batch: This process's part of the batch, on the device.
        rate: Of the main optimiser.
        clip_norm: Bound on the norm of all gradients; None: none.
        asked_to_stop: Whether this process was asked to.

    Raises:
        TrainingError: The loss is not finite; no weight was changed.
    """
    # 1. Forward and backward.
    set_main_rate(state.optimisers, rate)
    loss, logits = objective(batch)
    state.scaler.scale(loss).backward()

    # 2. What all processes agree on.
    iou = foreground_iou(logits, batch.target)
    own = torch.stack([loss.detach(), iou, iou.new_full((), asked_to_stop)])
    mean_loss, mean_iou, stopping = distributed.mean(own)
    if not isfinite(mean_loss):
        raise TrainingError(
            f"the loss of step {state.step + 1} of {state.steps} is not finite; nothing was saved",
            found=f"loss {mean_loss}, rate {rate:.3g}",
            fix=checkpoint.DIVERGED,
        )

    # 3. The weights.
    _optimise(state, clip_norm)
    if state.average is not None:
        state.average.update_parameters(state.model)
    state.step += 1
    return StepResult(mean_loss, mean_iou, stopping > 0)


def _optimise(state: TrainingState, clip_norm: float | None) -> None:
    """Step every optimiser, with clipped gradients if asked; fp16 skips what overflowed."""
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
    """Clip the gradients together; if one is not finite, leave all as they are and return False.

    The scaler of fp16 leaves out the step of an optimiser whose gradients overflowed when they
    were unscaled. Clipped by a norm that is not finite, the other's would be no numbers either.
    """
    parameters = [one for one in model.parameters() if one.grad is not None]
    norm = nn.utils.get_total_norm([one.grad for one in parameters if one.grad is not None])
    if not torch.isfinite(norm):
        return False
    nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return True


def foreground_iou(logits: Tensor, target: Tensor | None) -> Tensor:
    """The mean foreground IoU of the episodes at the logits' resolution, a scalar; for the log.

    Label 255 is ignored; an episode with no foreground, neither predicted nor true, counts 1.

    Args:
        logits: (B, 2, h, w).
        target: (B, S, S) in {0, 1, 255}, sampled at the nearest pixel.
    """
    assert target is not None
    size = logits.shape[-2:]
    label = F.interpolate(target[:, None].float(), size=size, mode="nearest-exact")[:, 0]
    intersection, union = foreground_overlap(logits[:, 1] > logits[:, 0], label)
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0).mean()
