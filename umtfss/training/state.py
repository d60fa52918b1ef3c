"""The state of a training: everything that a step changes and a checkpoint holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.amp import GradScaler
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from umtfss.experiment.training import TrainingConfig
from umtfss.models.base import MetaLearner
from umtfss.training import checkpoint, distributed
from umtfss.training.collapse import TaskIoU
from umtfss.training.curve import Curve
from umtfss.training.optimisers import build_optimisers


@dataclass
class TrainingState:
    """The state of a training.

    Attributes:
        model: The meta-learner, on its device.
        optimisers: Name -> optimiser.
        scaler: Scales the loss in fp16; has no effect in other precisions.
        average: The moving average of the weights, in process 0 alone; None: no average.
        curve: Loss and IoU of the steps so far.
        task_iou: The IoU in each tenth of the training, which shows a collapse.
        steps: Number of steps of the whole training.
        step: Number of steps so far.
    """

    model: MetaLearner
    optimisers: dict[str, Optimizer]
    scaler: GradScaler
    average: AveragedModel | None
    curve: Curve
    task_iou: TaskIoU
    steps: int
    step: int = 0

    @classmethod
    def new(
        cls,
        model: MetaLearner,
        settings: TrainingConfig,
        steps: int,
        device: torch.device,
        log: Path,
    ) -> "TrainingState":
        """The state before the first step; the model is moved to the device."""
        model.to(device).train()
        average = None
        if settings.ema is not None and distributed.rank() == 0:
            average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
        return cls(
            model,
            build_optimisers(model, model.transformer_parameters(), settings),
            GradScaler(device.type, enabled=settings.amp == "fp16"),
            average,
            Curve(log, settings.log_every),
            TaskIoU(steps),
            steps,
        )

    @property
    def trained(self) -> torch.nn.Module:
        """The model whose weights the training writes: the average, if there is one."""
        return self.model if self.average is None else self.average.module

    def save(self, path: Path, identity: str) -> None:
        """Write a checkpoint.

        Raises:
            TrainingError: A weight is not finite; the last checkpoint stays.
        """
        checkpoint.check_finite(self.model, self.step)
        checkpoint.save_checkpoint(path, identity, self._contents())

    def load(self, path: Path, identity: str) -> None:
        """Load the last checkpoint of the same training in every process, if there is one."""
        is_first = distributed.rank() == 0
        saved = checkpoint.load_checkpoint(path, identity) if is_first else None
        saved = distributed.from_first(saved)
        if saved is not None:
            self._take(saved)

    def _contents(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "model": self.model.state_dict(),
            "average": self.average and self.average.state_dict(),
            "optimisers": {name: one.state_dict() for name, one in self.optimisers.items()},
            "scaler": self.scaler.state_dict(),
            "lines": self.curve.lines,
            "window": self.curve.window,
            "tenths": [self.task_iou.sums, self.task_iou.counts],
        }

    def _take(self, saved: dict[str, Any]) -> None:
        self.step = self.curve.step = saved["step"]
        self.model.load_state_dict(saved["model"])
        if self.average is not None:
            self.average.load_state_dict(saved["average"])
        for name, one in self.optimisers.items():
            one.load_state_dict(saved["optimisers"][name])
        self.scaler.load_state_dict(saved["scaler"])
        self.curve.lines, self.curve.window = saved["lines"], saved["window"]
        self.task_iou.sums, self.task_iou.counts = saved["tenths"]
