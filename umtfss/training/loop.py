"""The training loop: it reads top to bottom.

Shapes: B batch, h w grid of the logits, S S target. Step s trains on the episodes at s * B to
(s + 1) * B - 1 of the list, so an interrupted training goes on exactly where it was.

Dropout draws from torch's generator, which every step seeds from (seed, step, process): a
checkpoint needs no generator state, and loader processes change nothing. On a CPU the weights are
the same to the bit for one installation, one number of threads and one number of processes,
interrupted or not. On a GPU some backward passes, that of bilinear upsampling for one, add in no
fixed order, so two trainings agree up to rounding.
"""

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from umtfss.common.errors import TrainingError
from umtfss.common.manifests import package_versions, write_manifest
from umtfss.common.randomness import seed64
from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.training import TrainingConfig
from umtfss.models.base import MetaLearner
from umtfss.training import checkpoint, distributed
from umtfss.training.collapse import COLLAPSED_IOU, TaskIoU
from umtfss.training.curve import Curve, draw_curve
from umtfss.training.optimisers import build_optimisers, set_main_rate
from umtfss.training.report import Report
from umtfss.training.schedule import main_rate, total_steps
from umtfss.training.signals import leave_signals_to_parent, stop_request

AMP_DTYPES = {"off": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
COLLAPSED = (
    "step %d of %d: the IoU on the training's own tasks is below %g over the last tenth of the "
    "steps; if it stays so, look at the rates, the number of steps and features.model.mid_std"
)

logger = logging.getLogger("umtfss")


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


def train(
    model: MetaLearner,
    episodes: Dataset[Any],
    folder: Path,
    *,
    settings: TrainingConfig,
    identity: str,
    seed: int,
    device: torch.device,
    images_per_epoch: int,
    collate: Callable[[Any], Any],
    featuriser: Callable[[Any], EpisodeBatch] | None = None,
    made_with: Mapping[str, Any] | None = None,
    mid_scales: Mapping[str, float] | None = None,
) -> None:
    """Train a meta-learner and leave weights, manifest, log.csv and curve.png in `folder`.

    Run again after an interruption, it goes on from the last checkpoint; run again after its end,
    it does nothing. It belongs to the process's main thread, whose signals it handles: after
    SIGTERM or SIGINT it saves and exits with 128 + the signal's number.

    Args:
        model: The meta-learner, initialised by the caller.
        episodes: At least steps * batch_size episodes; position decides the step.
        folder: The run's folder.
        settings: The stage's settings.
        identity: Digest of what decides the result (settings, code, episodes); a checkpoint of
            another identity is set aside.
        seed: Keys the dropout.
        device: Where to train, this process's own (`distributed.process_group`).
        images_per_epoch: Images of the pool, which give an epoch its length.
        collate: Turns a list of episodes into an `EpisodeBatch`, or into the dataclass of tensors
            that `featuriser` takes.
        featuriser: Turns what `collate` gives, on the device, into an `EpisodeBatch`.
        made_with: Settings to note in the manifest; none: those of the stage.
        mid_scales: Level -> number that the episodes' mid features are multiplied by, to note in
            the manifest for the tests.

    Raises:
        TrainingError: The settings do not fit the device or the episodes, or the loss diverged.
    """
    is_first = distributed.rank() == 0
    if distributed.from_first(checkpoint.is_finished(folder, identity)):
        logger.info("%s holds this training already", folder)
        return
    steps = total_steps(settings, images_per_epoch)
    _check(settings, device, steps, len(episodes))  # type: ignore[arg-type]  # map-style, has one

    def autocast() -> torch.autocast:
        dtype = AMP_DTYPES[settings.amp]
        return torch.autocast(device.type, dtype=dtype, enabled=settings.amp != "off")

    model.to(device).train()
    optimisers = build_optimisers(model, model.transformer_parameters(), settings)
    scaler = torch.amp.GradScaler(device.type, enabled=settings.amp == "fp16")
    average = None
    if settings.ema is not None and is_first:
        average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(settings.ema))
    curve, task_iou = Curve(folder / "log.csv", settings.log_every), TaskIoU(steps)
    checkpoint_path = folder / checkpoint.CHECKPOINT
    start = 0

    def save(step: int) -> None:
        checkpoint.check_finite(model, step)
        checkpoint.save_checkpoint(
            checkpoint_path,
            identity,
            {
                "step": step,
                "model": model.state_dict(),
                "average": average and average.state_dict(),
                "optimisers": {name: one.state_dict() for name, one in optimisers.items()},
                "scaler": scaler.state_dict(),
                "lines": curve.lines,
                "window": curve.window,
                "tenths": [task_iou.sums, task_iou.counts],
            },
        )

    saved = checkpoint.load_checkpoint(checkpoint_path, identity) if is_first else None
    saved = distributed.from_first(saved)
    if saved is not None:
        start = curve.step = saved["step"]
        model.load_state_dict(saved["model"])
        if average is not None:
            average.load_state_dict(saved["average"])
        for name, one in optimisers.items():
            one.load_state_dict(saved["optimisers"][name])
        scaler.load_state_dict(saved["scaler"])
        curve.lines, curve.window = saved["lines"], saved["window"]
        task_iou.sums, task_iou.counts = saved["tenths"]
        logger.info("going on after step %d of %d", start, steps)
    if is_first:
        folder.mkdir(parents=True, exist_ok=True)
        curve.start()
        logger.info(
            "training on %s: %d steps of %d episodes, %d process(es)",
            device,
            steps,
            settings.batch_size,
            distributed.world_size(),
        )

    objective = distributed.wrap(Objective(model, autocast))
    batches = distributed.batch_slices(start, steps, settings.batch_size)
    loader = DataLoader(
        episodes,
        batch_sampler=batches,  # type: ignore[arg-type]  # a range is as good as a list
        collate_fn=collate,
        num_workers=settings.workers,
        worker_init_fn=leave_signals_to_parent,
        pin_memory=device.type == "cuda",
    )
    bar = tqdm(
        total=steps, initial=start, desc="training", unit="step", disable=None if is_first else True
    )
    report = Report(settings.batch_size)
    saved_at = time.monotonic()

    with _reproducible(device), logging_redirect_tqdm([logger]), bar, stop_request() as stop:
        for step, loaded in zip(range(start, steps), loader, strict=True):
            report.loaded()
            torch.manual_seed(seed64("dropout", seed, step, distributed.rank()))
            if featuriser is None:
                batch = loaded.to(device)
            else:
                tensors = {k: v.to(device, non_blocking=True) for k, v in vars(loaded).items()}
                with torch.no_grad(), autocast():
                    batch = featuriser(replace(loaded, **tensors))

            rate = main_rate(step, settings, images_per_epoch)
            set_main_rate(optimisers, rate)
            loss, logits = objective(batch)
            scaler.scale(loss).backward()
            iou = foreground_iou(logits, batch.target)
            asked = iou.new_full((), stop.number > 0)
            mean_loss, mean_iou, stopping = distributed.mean(
                torch.stack([loss.detach(), iou, asked])
            )
            if not isfinite(mean_loss):
                raise TrainingError(
                    f"the loss of step {step + 1} of {steps} is not finite; nothing was saved",
                    found=f"loss {mean_loss}, rate {rate:.3g}",
                    fix=checkpoint.DIVERGED,
                )

            overflowed = False
            if settings.clip_norm is not None:
                for one in optimisers.values():
                    scaler.unscale_(one)
                overflowed = not _clip(model, settings.clip_norm) and scaler.is_enabled()
            for one in optimisers.values():
                if not overflowed:
                    scaler.step(one)
                one.zero_grad(set_to_none=True)
            scaler.update()
            if average is not None:
                average.update_parameters(model)

            if is_first:
                curve.add(mean_loss, mean_iou, rate)
                if task_iou.add(step, mean_iou):
                    logger.warning(COLLAPSED, step + 1, steps, COLLAPSED_IOU)
                bar.set_postfix(loss=f"{mean_loss:.3f}", iou=f"{mean_iou:.3f}", refresh=False)
                bar.update()
                report.stepped(step + 1, steps, mean_loss, mean_iou)
                minutes = (time.monotonic() - saved_at) / 60
                if stopping or minutes >= settings.checkpoint_minutes:
                    save(step + 1)
                    saved_at = time.monotonic()
            if stopping and step + 1 < steps:
                stopped_by = signal.Signals(stop.number or signal.SIGTERM)
                logger.warning(
                    "stopped by %s after step %d of %d, which is saved: run again to go on",
                    stopped_by.name,
                    step + 1,
                    steps,
                )
                sys.exit(128 + stopped_by)

    if is_first:
        trained = model if average is None else average.module
        checkpoint.check_finite(trained, steps)
        curve.finish(main_rate(steps - 1, settings, images_per_epoch))
        draw_curve(curve.path, folder / "curve.png")
        digest = checkpoint.save_weights(folder / checkpoint.WEIGHTS, trained)
        final_loss, final_iou = curve.latest()
        write_manifest(
            folder / checkpoint.MANIFEST,
            "training",
            digest,
            identity=identity,
            seed=seed,
            steps=steps,
            images_per_epoch=images_per_epoch,
            final_loss=final_loss,
            final_iou=final_iou,
            collapsed=task_iou.collapsed,
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            mid_scales=mid_scales or {},
            settings=made_with or settings.model_dump(exclude={"workers", "checkpoint_minutes"}),
            device=device.type,
            processes=distributed.world_size(),
            versions=package_versions("umtfss", "torch", "numpy"),
        )
        checkpoint_path.unlink(missing_ok=True)
        logger.info(
            "trained %d steps: loss %.4f, training-task IoU %.4f", steps, final_loss, final_iou
        )


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
    predicted = (logits[:, 1] > logits[:, 0]) & (label != 255)
    true = label == 1
    intersection = (predicted & true).sum((1, 2))
    union = (predicted | true).sum((1, 2))
    return torch.where(union > 0, intersection / union.clamp(min=1), 1.0).mean()


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


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Leave torch's generators and switches as they were, and be deterministic on a CPU.

    Not on a GPU, where it would cost time, and operations without an ordered backward pass would
    be refused.
    """
    before = torch.are_deterministic_algorithms_enabled()
    switches: Any = torch.utils.deterministic  # torch does not declare its one attribute
    fill = switches.fill_uninitialized_memory
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.use_deterministic_algorithms(device.type == "cpu" or before)
        switches.fill_uninitialized_memory = False  # it writes to every new tensor, for debugging
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(before)
            switches.fill_uninitialized_memory = fill


def _check(settings: TrainingConfig, device: torch.device, steps: int, episodes: int) -> None:
    if settings.amp == "fp16" and device.type == "cpu":
        raise TrainingError(
            "fp16 needs a GPU",
            found="training on the CPU",
            fix="set training.<pool>.amp to off or bf16",
        )
    needed = steps * settings.batch_size
    if episodes < needed:
        raise TrainingError(
            "there are too few training episodes",
            expected=f"{steps} steps of {settings.batch_size}: {needed} episodes",
            found=episodes,
            fix="draw them again (snakemake --cores all all_episodes)",
        )
