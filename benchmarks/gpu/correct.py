"""The checks: a device computes what the CPU computes, again and again, alone or with others."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from benchmarks.gpu.inputs import episodes, learner
from benchmarks.gpu.report import FAILED, MISSING, OK, Row, Setup, check
from benchmarks.gpu.training import train_drawn
from umtfss.common.device import MIXED_DTYPES, autocast
from umtfss.common.files import PACKAGE_ROOT
from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.models import MODELS, TRAINING_FREE
from umtfss.experiment.training import TrainingConfig
from umtfss.models.base import MetaLearner
from umtfss.training.checkpoint import WEIGHTS
from umtfss.training.state import TrainingState
from umtfss.training.step import Objective, train_step

ERROR = 1e-4  # most error of fp32, over the largest value of an array
SMALL_GRADIENT = 1e-3  # gradients below this part of the largest are compared with this part
AMP_STEPS = 50
MOST_IOU = 0.2  # points


def trained_models(setup: Setup) -> list[str]:
    """The meta-learners that train; of tiny sizes, UMTFSS alone."""
    return ["umtfss"] if setup.small else [name for name in MODELS if name not in TRAINING_FREE]


@contextmanager
def full_fp32() -> Iterator[None]:
    """Matrix products and convolutions in fp32, without TF32."""
    switches: Sequence[Any] = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [one.allow_tf32 for one in switches]
    for one in switches:
        one.allow_tf32 = False
    try:
        yield
    finally:
        for one, value in zip(switches, before, strict=True):
            one.allow_tf32 = value


def largest_error(found: Tensor, expected: Tensor, least: float = 0.0) -> float:
    """The largest difference over the largest expected value, or over `least` if this is larger.

    NaN if a value is not finite; infinity if the shapes differ.
    """
    if found.shape != expected.shape:
        return float("inf")
    found, expected = found.detach().cpu().double(), expected.detach().cpu().double()
    scale = max(float(expected.abs().max()), least)
    difference = float((found - expected).abs().max())
    return difference / scale if scale else difference


def computed(model: MetaLearner, batch: EpisodeBatch) -> dict[str, list[Tensor]]:
    """The outputs, the loss and the gradients of a batch, on the CPU."""
    model.zero_grad(set_to_none=True)
    outputs = model.outputs(batch)
    loss = model.total_loss(tuple(one.float() for one in outputs), batch)
    gradients = []
    if loss.requires_grad:
        loss.backward()
        gradients = [p.grad.cpu() for p in model.parameters() if p.grad is not None]
    return {
        "logits": [one.detach().cpu() for one in outputs],
        "loss": [loss.detach().cpu()],
        "gradients": gradients,
    }


def models(setup: Setup) -> Iterator[Row]:
    """Every model in fp32 on the device against the CPU."""
    batch = episodes(range(3))
    for name in MODELS:
        model = learner(name, dropout=False).eval()
        expected = computed(model, batch)
        with full_fp32():
            found = computed(deepcopy(model).to(setup.device), batch.to(setup.device))
        for kind, values in expected.items():
            if not values:
                continue
            least = SMALL_GRADIENT * max(float(one.abs().max()) for one in values)
            errors = [
                largest_error(one, other, least)
                for one, other in zip(found[kind], values, strict=True)
            ]
            yield check(f"{name}: {kind} against the CPU", max(errors), ERROR)


def mixed(setup: Setup) -> Iterator[Row]:
    """Training steps in mixed precision: finite losses that fall."""
    device = torch.device(setup.device)
    steps = 12 if setup.small else AMP_STEPS
    precisions = ("bf16",) if device.type == "cpu" else ("fp16", "bf16")
    batch = episodes(range(4)).to(device)
    for name in trained_models(setup):
        for amp in precisions:
            settings = TrainingConfig.model_validate(
                {"steps": steps, "amp": amp, "optimiser": "adamw", "adamw_lr": 2e-3}
            )
            model = learner(name, dropout=True)
            state = TrainingState.new(model, settings, steps, device, setup.folder / "log.csv")
            losses = step_losses(state, batch, amp)
            first, last = (sum(part) / len(part) for part in (losses[:5], losses[-5:]))
            falls = all(map(is_finite, losses)) and last < first
            note = f"from {first:.4f} to {last:.4f}, means of five"
            verdict = OK if falls else FAILED
            yield Row(f"{name}: {steps} steps in {amp}", last / first, "", "< 1", verdict, note)


def is_finite(value: float) -> bool:
    """Whether a number is neither infinite nor NaN."""
    return abs(value) < float("inf")


def step_losses(state: TrainingState, batch: EpisodeBatch, amp: str) -> list[float]:
    """The losses of steps on one batch, as many as the state plans."""
    kind, dtype = batch.key.device.type, MIXED_DTYPES[amp]  # even where a CPU emulates bf16
    objective = Objective(state.model, lambda: torch.autocast(kind, dtype))
    losses = []
    for step in range(state.steps):
        torch.manual_seed(step)
        result = train_step(state, objective, batch, rate=1e-3, clip_norm=1.0, asked_to_stop=False)
        losses.append(float(result[0]))
    return losses


@contextmanager
def deterministic() -> Iterator[None]:
    """Torch refuses what is not deterministic."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


def repeated(setup: Setup) -> Iterator[Row]:
    """Two trainings, and one that was stopped and resumed, have equal weights to the byte."""
    with deterministic():
        whole = [train_drawn(setup.folder / name, setup.device) for name in ("one", "two")]
        yield equal_bytes("two deterministic trainings", whole)
        stopped = setup.folder / "stopped"
        try:
            train_drawn(stopped, setup.device, stop_at=33)
            yield Row("stopped by SIGTERM", "it ran to its end", verdict=FAILED)
        except SystemExit as end:
            verdict = OK if end.code == 128 + signal.SIGTERM else FAILED
            yield Row("stopped by SIGTERM", f"exit {end.code}", verdict=verdict)
        yield equal_bytes("resumed training", [whole[0], train_drawn(stopped, setup.device)])


def equal_bytes(what: str, folders: Sequence[Path]) -> Row:
    """Whether the weights of trainings are equal to the byte."""
    different = len({(folder / WEIGHTS).read_bytes() for folder in folders}) - 1
    return Row(what, different, "files differ", "0", FAILED if different else OK)


def distributed(setup: Setup) -> Iterator[Row]:
    """Torchrun with one process against none, and with two against one of twice the batch."""
    device = torch.device(setup.device)
    with full_fp32():
        alone = train_drawn(setup.folder / "alone", setup.device, dropout=False)
    yield weights_agree("torchrun, 1 process", launch(setup, 1, setup.device), alone)
    several = setup.device if torch.cuda.device_count() > 1 else "cpu"
    where = "gloo on the CPU" if several == "cpu" else "NCCL"
    if several != setup.device:
        alone = train_drawn(setup.folder / "alone-cpu", several, dropout=False)
    two = launch(setup, 2, several)
    yield weights_agree(f"torchrun, 2 processes ({where})", two, alone)

    batch = episodes(range(4)).to(device)
    plain = Objective(learner("umtfss", dropout=False).to(device), lambda: autocast(device, "off"))
    plain(batch)[0].backward()
    backend = "nccl" if device.type == "cuda" else "gloo"
    meeting = f"file://{setup.folder / 'meeting'}"
    dist.init_process_group(backend, init_method=meeting, rank=0, world_size=1)
    try:
        copied = deepcopy(plain)
        copied.zero_grad(set_to_none=True)
        wrapped = DistributedDataParallel(copied, find_unused_parameters=True)
        wrapped(batch)[0].backward()
        pairs = zip(copied.parameters(), plain.parameters(), strict=True)
        errors = [
            largest_error(one.grad, other.grad, 1e-6)
            for one, other in pairs
            if one.grad is not None and other.grad is not None
        ]
        yield check(f"gradients of one {backend} process against none", max(errors), ERROR)
    finally:
        dist.destroy_process_group()


def launch(setup: Setup, processes: int, device: str) -> Path:
    """Train by torchrun, and return the folder."""
    folder = setup.folder / f"by{processes}"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", str(processes), "-m", "benchmarks.gpu.training"]
    subprocess.run(
        [*command, str(folder), device], check=True, cwd=PACKAGE_ROOT, env=environment(device)
    )
    return folder


def environment(device: str) -> dict[str, str]:
    """The environment of a process that uses a device; one on the CPU sees no GPU."""
    hidden = {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    quiet = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    return {**os.environ, "PYTHONPATH": str(PACKAGE_ROOT), **quiet, **hidden}


def weights_agree(what: str, folder: Path, other: Path) -> Row:
    """The largest error of the weights of two trainings."""
    from safetensors.torch import load_file

    found, expected = (load_file(one / WEIGHTS) for one in (folder, other))
    errors = [largest_error(found[name], value, 1e-2) for name, value in expected.items()]
    return check(f"{what}: weights", max(errors), 1e-3, note="over the largest weight of a tensor")


def jobs(setup: Setup) -> Iterator[Row]:
    """The training and evaluation jobs of a tiny experiment: the device's IoU is the CPU's."""
    found = {}
    for name, device in (("cpu", "cpu"), ("device", setup.device)):
        command = [sys.executable, "-m", "benchmarks.gpu.jobs", str(setup.folder / name)]
        if name == "device":
            command += ["--weights", str(setup.folder / "cpu")]
        done = subprocess.run(
            command,
            check=True,
            cwd=PACKAGE_ROOT,
            env=environment(device),
            stdout=subprocess.PIPE,
            text=True,
        )
        found[name] = json.loads(done.stdout.splitlines()[-1])
    yield from compare_jobs(found["cpu"], found["device"])


def compare_jobs(cpu: Mapping[str, float], device: Mapping[str, float]) -> Iterator[Row]:
    """The differences of the device's IoU and the CPU's, points."""
    for name, value in device.items():
        expected = cpu[name.removesuffix(", weights of the CPU")]
        row = check(f"IoU of {name}", abs(value - expected), MOST_IOU, f"CPU {expected:.2f}")
        yield replace(row, unit="points")


def optional_packages(setup: Setup) -> Iterator[Row]:
    """A ViT of timm and k-means of faiss, where these packages are installed."""
    try:
        from umtfss.backbones.vit import ViT

        network = ViT(("block1",), 2).eval()
    except ImportError:
        yield Row("timm", "not installed", verdict=MISSING)
    else:
        images = torch.rand(1, 3, 56, 56)
        with torch.no_grad(), full_fp32():
            expected = network(images)["block1"]
            found = network.to(setup.device)(images.to(setup.device))["block1"]
        yield check("timm: ViT against the CPU", largest_error(found, expected), ERROR)
    try:
        import faiss
    except ImportError:
        yield Row("faiss", "not installed", verdict=MISSING)
    else:
        gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
        yield Row("faiss", f"{faiss.__version__}, {gpus} GPUs", verdict=OK)
