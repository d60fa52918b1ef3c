"""The files of a training: a checkpoint while it runs, weights at its end.

Both files are written under a temporary name and renamed, so a killed process leaves the last
complete file.
"""

import logging
import pickle  # nosec B403 # for the name of an error
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from umtfss.common.errors import StoreError, TrainingError, WeightsError
from umtfss.common.files import atomic_path
from umtfss.common.manifests import check_files, read_manifest

CHECKPOINT = "checkpoint.pt"
WEIGHTS = "weights.safetensors"
MANIFEST = "manifest.json"
FORMAT = "umtfss-checkpoint-1"

logger = logging.getLogger(__name__)


def save_checkpoint(path: Path, identity: str, state: Mapping[str, Any]) -> None:
    """Write the state of a training: tensors, numbers, texts, and lists and dicts of these."""
    with atomic_path(path) as temporary:
        torch.save({"format": FORMAT, "identity": identity, **state}, temporary)


def load_checkpoint(path: Path, identity: str) -> dict[str, Any] | None:
    """The state in a checkpoint, on the CPU; None if the training starts anew.

    A file that cannot be read, or that another training wrote, is renamed, never used and never
    overwritten; the log says so.

    Args:
        path: The checkpoint.
        identity: Digest of everything that decides the training's result.
    """
    if not path.is_file():
        return None
    state = _read(path)
    if state is None:
        _set_aside(path, ".corrupt", "cannot be read")
        return None
    if state["identity"] != identity:
        _set_aside(path, ".other", "belongs to other settings, code or episodes")
        return None
    return state


def _read(path: Path) -> dict[str, Any] | None:
    try:
        with ZipFile(path) as archive:
            whole = archive.testzip() is None  # torch itself does not look at the checksums
        state = torch.load(path, map_location="cpu", weights_only=True) if whole else None
    except (BadZipFile, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError):
        return None
    return state if isinstance(state, dict) and state.get("format") == FORMAT else None


def _set_aside(path: Path, suffix: str, problem: str) -> None:
    aside = path.with_name(path.name + suffix)
    path.replace(aside)
    logger.warning("%s %s: training starts anew; it is kept as %s", path, problem, aside.name)


def check_finite(model: nn.Module, step: int) -> None:
    """Check that all weights are finite, before they are saved.

    Raises:
        TrainingError: A weight is infinite or not a number.
    """
    bad = [
        name
        for name, value in model.state_dict().items()
        if value.is_floating_point() and not bool(torch.isfinite(value).all())
    ]
    if bad:
        raise TrainingError(
            f"after step {step}, {len(bad)} weight tensors are not finite; nothing was saved",
            found=", ".join(bad[:3]),
            fix=DIVERGED,
        )


DIVERGED = (
    "lower training.<pool>.sgd_lr, lr_multiplier or adamw_lr, set clip_norm (e.g. 1.0), or use "
    "amp: off; then run again, which starts anew"
)


def save_weights(path: Path, model: nn.Module) -> None:
    """Write the weights as safetensors; equal weights give equal bytes."""
    tensors = {name: value.cpu().contiguous() for name, value in model.state_dict().items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary)


def load_weights(model: nn.Module, folder: Path) -> None:
    """Load the weights of a finished training into a model.

    Raises:
        StoreError: The training has not finished, or its files are damaged or another run's.
        WeightsError: The weights belong to another model.
    """
    path, manifest = folder / WEIGHTS, folder / MANIFEST
    check_files(manifest, read_manifest(manifest, "training"), [WEIGHTS])
    try:
        model.load_state_dict(load_file(path))
    except RuntimeError as error:
        raise WeightsError(
            f"{path} does not fit the model {type(model).__name__}: {error}",
            fix="use the model settings that it was trained with",
        ) from error


def is_finished(folder: Path, identity: str) -> bool:
    """Whether the training with this identity has finished in the folder, with intact files."""
    try:
        facts = read_manifest(folder / MANIFEST, "training")
        check_files(folder / MANIFEST, facts)
    except StoreError:
        return False
    return bool(facts["identity"] == identity)
