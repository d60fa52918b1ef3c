"""The training loop.

Shapes: B batch, h w grid of the logits, S S target. Step s trains on the episodes s * B to
(s + 1) * B - 1 of the list, so an interrupted training resumes exactly where it stopped.

Dropout draws from torch's generator, which every step seeds from (seed, step, process). So a
checkpoint needs no generator state, and loader processes have no effect. On a CPU the weights are
equal to the bit for one installation, one number of threads and one number of processes, whether
the training is interrupted or not. On a GPU some backward passes, such as that of bilinear
upsampling, sum in no fixed order, so two trainings agree up to rounding.
"""

import logging
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from umtfss.common.device import autocast
from umtfss.common.digests import digest_file
from umtfss.common.errors import TrainingError
from umtfss.common.manifests import package_versions, write_manifest
from umtfss.common.randomness import seed64
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.pairs import are_paired, with_pairs
from umtfss.experiment.training import TrainingConfig
from umtfss.models.base import MetaLearner
from umtfss.training import checkpoint, distributed
from umtfss.training.collapse import COLLAPSED_IOU
from umtfss.training.curve import draw_curve
from umtfss.training.report import Report
from umtfss.training.schedule import main_rate, total_steps
from umtfss.training.signals import leave_signals_to_parent, stop_request
from umtfss.training.state import TrainingState
from umtfss.training.step import Objective, StepResult, read_results, train_step

COLLAPSED = (
    "step %d of %d: the IoU on the training's own tasks is below %g over the last tenth of the "
    "steps; if it stays so, look at the rates, the number of steps and mid_std of the features"
)

logger = logging.getLogger(__name__)


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
    """Train a meta-learner and write weights, manifest, log.csv and curve.png to `folder`.

    An interrupted training resumes from the last checkpoint, and a finished training is left alone.
    The function must run in the process's main thread, whose signals it handles. After SIGTERM or
    SIGINT it saves a checkpoint and exits with 128 + the signal's number.

    Args:
        model: The meta-learner, initialised by the caller.
        episodes: At least steps * batch_size episodes; the position decides the step.
        folder: The run's folder.
        settings: The training's settings.
        identity: Digest of everything that decides the result (settings, code, episodes); a
            checkpoint of another identity is set aside.
        seed: Keys the dropout.
        device: Device of this process (`distributed.process_group`).
        images_per_epoch: Number of images of an epoch.
        collate: Makes an `EpisodeBatch` of a list of episodes, or the dataclass of tensors that
            `featuriser` takes.
        featuriser: Makes an `EpisodeBatch`, on the device, of the result of `collate`.
        made_with: Settings for the record in the manifest; None: `settings`.
        mid_scales: Level -> factor on the episodes' mid features; the manifest passes the factors
            on to tests.

    Raises:
        TrainingError: The settings do not fit the device or the episodes, or the loss diverged.
    """
    # 1. Stop early if the training is finished or impossible.
    is_first = distributed.rank() == 0
    if distributed.from_first(checkpoint.is_finished(folder, identity)):
        logger.info("%s holds this training already", folder)
        return
    steps = total_steps(settings, images_per_epoch)
    _check(settings, device, steps, len(episodes))  # type: ignore[arg-type]  # map-style, has one

    # 2. Make a new state, or load the last checkpoint.
    saved_to = folder / checkpoint.CHECKPOINT
    state = TrainingState.new(model, settings, steps, device, folder / "log.csv")
    state.load(saved_to, identity)
    _announce(state, settings, device, folder)

    # 3. Run the remaining steps.
    objective = distributed.wrap(Objective(model, lambda: autocast(device, settings.amp)))
    loader = _loader(episodes, collate, state, settings, device)
    quiet = None if is_first else True  # None: shown in terminals alone
    bar = tqdm(total=steps, initial=state.step, desc="training", unit="step", disable=quiet)
    report, saved_at = Report(settings.batch_size), time.monotonic()
    together = steps_together(device, settings.log_every)
    rates: list[float] = []
    waiting: list[Tensor] = []
    package = logging.getLogger("umtfss")  # its handlers write to the terminal
    with _reproducible(device), logging_redirect_tqdm([package]), bar, stop_request() as stop:
        for loaded in loader:
            # 4. Take a batch, compute live features, and pair queries.
            report.loaded()
            torch.manual_seed(seed64("dropout", seed, state.step, distributed.rank()))
            batch = _on_device(loaded, device, featuriser, settings.amp)
            pairs = settings.augment.pairs
            if pairs and are_paired(loaded.key, loaded.class_index, pairs):
                batch = with_pairs(batch, model.align_corners)

            # 5. Take a step.
            rates.append(main_rate(state.step, settings, images_per_epoch))
            waiting.append(
                train_step(
                    state,
                    objective,
                    batch,
                    rate=rates[-1],
                    clip_norm=settings.clip_norm,
                    asked_to_stop=stop.number > 0,
                )
            )
            report.stepped()
            if len(waiting) < together and state.step < steps:
                continue

            # 6. Log, and save a checkpoint every few minutes and before a stop.
            results = read_results(waiting, state, rates[-1])
            stopping = any(result.stopping for result in results)
            if is_first:
                _record(state, results, rates, bar, report)
                minutes = (time.monotonic() - saved_at) / 60
                if stopping or minutes >= settings.checkpoint_minutes:
                    state.save(saved_to, identity)
                    saved_at = time.monotonic()
            rates.clear()
            waiting.clear()
            if stopping and state.step < steps:
                _stop(state, signal.Signals(stop.number or signal.SIGTERM))

    # 7. Write the weights and their manifest.
    if is_first:
        last_rate = main_rate(steps - 1, settings, images_per_epoch)
        facts = {
            "identity": identity,
            "seed": seed,
            "steps": steps,
            "images_per_epoch": images_per_epoch,
            "mid_scales": mid_scales or {},
            "settings": made_with or settings.model_dump(exclude={"workers", "checkpoint_minutes"}),
            "device": device.type,
        }
        _finish(state, folder, last_rate, facts)
        saved_to.unlink(missing_ok=True)


def steps_together(device: torch.device, log_every: int) -> int:
    """The number of steps whose results are read together, so that the host runs ahead of a GPU."""
    return 1 if device.type == "cpu" else log_every


def _announce(
    state: TrainingState, settings: TrainingConfig, device: torch.device, folder: Path
) -> None:
    """Start the log, in process 0."""
    if state.step:
        logger.info("going on after step %d of %d", state.step, state.steps)
    if distributed.rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        state.curve.start()
        logger.info(
            "training on %s: %d steps of %d episodes, %d process(es)",
            device,
            state.steps,
            settings.batch_size,
            distributed.world_size(),
        )


def _loader(
    episodes: Dataset[Any],
    collate: Callable[[Any], Any],
    state: TrainingState,
    settings: TrainingConfig,
    device: torch.device,
) -> DataLoader[Any]:
    """The loader of this process's part of the remaining batches."""
    batches = distributed.batch_slices(state.step, state.steps, settings.batch_size)
    return DataLoader(
        episodes,
        batch_sampler=batches,  # type: ignore[arg-type]  # a range is as good as a list
        collate_fn=collate,
        num_workers=settings.workers,
        worker_init_fn=leave_signals_to_parent,
        pin_memory=device.type == "cuda",
    )


def _on_device(
    loaded: Any,
    device: torch.device,
    featuriser: Callable[[Any], EpisodeBatch] | None,
    amp: str,
) -> EpisodeBatch:
    """The loaded batch on the device, with live features computed."""
    if featuriser is None:
        batch: EpisodeBatch = loaded.to(device)
        return batch
    given = {k: v for k, v in vars(loaded).items() if v is not None}
    tensors = {k: v.to(device, non_blocking=True) for k, v in given.items()}
    with torch.no_grad(), autocast(device, amp):
        return featuriser(replace(loaded, **tensors))


def _record(
    state: TrainingState,
    results: Sequence[StepResult],
    rates: Sequence[float],
    bar: "tqdm[Any]",
    report: Report,
) -> None:
    """Add steps to the curve, the bar and the log; warn once if the training seems collapsed."""
    first = state.step - len(results)
    for step, (result, rate) in enumerate(zip(results, rates, strict=True), first):
        state.curve.add(result.loss, result.iou, rate)
        if state.task_iou.add(step, result.iou):
            logger.warning(COLLAPSED, step + 1, state.steps, COLLAPSED_IOU)
    latest = results[-1]
    bar.set_postfix(loss=f"{latest.loss:.3f}", iou=f"{latest.iou:.3f}", refresh=False)
    bar.update(len(results))
    report.log(state.step, state.steps, latest.loss, latest.iou)


def _stop(state: TrainingState, by: signal.Signals) -> None:
    """End the process with the exit status of a process that a signal ended."""
    logger.warning(
        "stopped by %s after step %d of %d, which is saved: run again to go on",
        by.name,
        state.step,
        state.steps,
    )
    sys.exit(128 + by)


def _finish(state: TrainingState, folder: Path, last_rate: float, facts: Mapping[str, Any]) -> None:
    """Write picture, weights and manifest.

    Raises:
        TrainingError: A weight is not finite.
    """
    checkpoint.check_finite(state.trained, state.steps)
    state.curve.finish(last_rate)
    picture, weights = folder / "curve.png", folder / checkpoint.WEIGHTS
    draw_curve(state.curve.path, picture)
    checkpoint.save_weights(weights, state.trained)
    loss, iou = state.curve.latest()
    write_manifest(
        folder / checkpoint.MANIFEST,
        "training",
        digest_file(weights),
        [weights, state.curve.path, picture],
        **facts,
        final_loss=loss,
        final_iou=iou,
        collapsed=state.task_iou.collapsed,
        parameters=sum(p.numel() for p in state.model.parameters() if p.requires_grad),
        processes=distributed.world_size(),
        versions=package_versions("umtfss", "torch", "numpy"),
    )
    logger.info("trained %d steps: loss %.4f, training-task IoU %.4f", state.steps, loss, iou)


@contextmanager
def _reproducible(device: torch.device) -> Iterator[None]:
    """Make torch deterministic on a CPU, and restore torch's generators and switches at the end.

    On a GPU torch stays as it is: determinism would cost time, and torch would refuse operations
    without a deterministic backward pass.
    """
    before = torch.are_deterministic_algorithms_enabled()
    switches: Any = torch.utils.deterministic  # torch does not declare its attribute
    fill = switches.fill_uninitialized_memory
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        torch.use_deterministic_algorithms(device.type == "cpu" or before)
        switches.fill_uninitialized_memory = False  # for debugging alone: fills every new tensor
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
