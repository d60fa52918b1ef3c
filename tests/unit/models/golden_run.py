"""Runs a model on the weights, inputs and draws of a golden file, and records what it computes.

Nothing here computes a part of a model. What modules return is recorded by forward hooks, what
functions of the models return by wrapping them.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.model import ModelConfig
from umtfss.features.geometry import mask_to_grid, sampled_mask, token_pixels
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model

Arrays = dict[str, np.ndarray]

BRANCHES = {
    r"(query|support)_projection": r"branches.\1_mid.0",
    r"(query|support)_merge": r"branches.\1_merge",
    r"self_attention_(\d)\.(offsets|weights|value|output)": r"query_self.\1.attention.\2",
    r"self_attention_(\d)\.norm": r"query_self.\1.attention_norm",
    r"self_attention_(\d)\.ffn_(expand|reduce)": r"query_self.\1.ffn.\2",
    r"self_attention_(\d)\.ffn_norm": r"query_self.\1.ffn_norm",
    r"cross_attention_(\d)\.(query|key|value|output)": r"cross.\1.attention.\2",
    r"cross_attention_(\d)\.norm": r"cross.\1.attention_norm",
    r"cross_attention_(\d)\.ffn_(expand|reduce)": r"cross.\1.ffn.\2",
    r"cross_attention_(\d)\.ffn_norm": r"cross.\1.ffn_norm",
    r"classifier\.hidden": "head.0",
    r"classifier\.output": "head.3",
}
NAMES: dict[str, dict[str, str]] = {
    "umtfss": BRANCHES,
    "cyctr": {
        **BRANCHES,
        r"level_vector": "level",
        r"fusion\.reduce": "reduce",
        r"fusion\.(first|second)": r"refine.\1",
        r"auxiliary\.query_projection": "back_projection",
        r"auxiliary\.merge": "back_merge",
        r"auxiliary\.(first|second)": r"back_refine.\1",
        r"auxiliary\.classifier\.hidden": "back_head.0",
        r"auxiliary\.classifier\.output": "back_head.3",
    },
    "pfenet": {
        r"(query|support)_projection": r"\1_mid.0",
        r"scale_(\d)\.merge": r"merge.\1",
        r"scale_1\.from_finer": "between.0",
        r"scale_2\.from_finer": "between.1",
        r"scale_3\.from_finer": "between.2",
        r"scale_(\d)\.refine_(first|second)": r"refine.\1.\2",
        r"scale_(\d)\.classifier\.hidden": r"inner.\1.0",
        r"scale_(\d)\.classifier\.output": r"inner.\1.3",
        r"join": "join",
        r"last_(first|second)": r"last.\1",
        r"classifier\.hidden": "head.0",
        r"classifier\.output": "head.3",
    },
}
MID = {
    "umtfss": ("layer2", "layer3"),
    "cyctr": ("layer2", "layer3"),
    "pfenet": ("layer3", "layer2"),
}


def our_name(model: str, golden_name: str) -> str:
    """Where the model keeps a golden weight."""
    stem, _, kind = golden_name.rpartition(".")
    if golden_name == "level_vector":
        return "level"
    for pattern, ours in NAMES[model].items():
        if re.fullmatch(pattern, stem):
            return f"{re.sub(pattern, ours, stem)}.{kind}"
    raise KeyError(golden_name)


def as_ours(golden_name: str, value: np.ndarray, points: int) -> Tensor:
    """A golden weight or gradient in the order in which the model keeps it.

    Offsets are (head, point, axis) in the files and (head, axis, point) in the model.
    """
    tensor = torch.from_numpy(value)
    if ".offsets." in golden_name:
        tensor = tensor.unflatten(0, (-1, points, 2)).transpose(1, 2).flatten(0, 2)
    return tensor


def golden_model(name: str, file: Arrays, **keys: Any) -> MetaLearner:
    """The model with the file's sizes and weights, every weight used.

    Every parameter is set, but for those of a reduced file that nothing compared depends on.
    """
    weights = {k.removeprefix("weights/"): v for k, v in file.items() if k.startswith("weights/")}
    width, channels = weights["query_projection.weight"].shape[:2]
    points = int(file.get("settings/points", np.array(9)))
    sizes: dict[str, Any] = {"width": width, "mid_dropout": 0, "head_dropout": 0, "dropout": 0}
    for ours, theirs in (("heads", "heads"), ("layers", "layers"), ("k_fg", "k_fg")):
        if f"settings/{theirs}" in file:
            sizes[ours] = int(file[f"settings/{theirs}"])
    settings = ModelConfig().changed(
        {
            "preset": "release",
            "attention_dropout": 0,
            "deformable_points": points,
            **sizes,
            **keys,
        }
    )
    model = build_model(name, settings, [channels], align_corners=True)
    own = dict(model.named_parameters())
    used = set()
    with torch.no_grad():
        for golden_name, value in weights.items():
            ours = our_name(name, golden_name)
            own[ours].copy_(as_ours(golden_name, value, points).view_as(own[ours]))
            used.add(ours)
    assert used == set(own) or "settings/reduced" in file
    return model


def golden_batch(name: str, file: Arrays) -> EpisodeBatch:
    """The file's inputs as the pipeline would make them of its features and labels."""
    inputs = {k.removeprefix("inputs/"): v for k, v in file.items() if k.startswith("inputs/")}
    levels = MID[name] if "query_layer2" in inputs else ("mid",)
    query_mid, support_mid = (
        torch.from_numpy(np.concatenate([inputs[f"{role}_{level}"] for level in levels], -3))
        for role in ("query", "support")
    )
    grid = query_mid.shape[-2], query_mid.shape[-1]
    side = inputs["query_label"].shape[-1]
    rows = token_pixels(grid[0], side, True)[1]
    padding = inputs.get("query_padding", np.zeros_like(inputs["query_label"]))
    masks = [[mask_to_grid(one, grid, True) for one in shots] for shots in inputs["support_label"]]
    pixels = [[sampled_mask(one, grid, True) for one in shots] for shots in inputs["support_label"]]
    batch = len(query_mid)
    return EpisodeBatch(
        query_mid=query_mid,
        query_high=torch.from_numpy(inputs["query_layer4"]),
        query_valid=torch.from_numpy(padding[:, rows[:, None], rows] != 255),
        support_mid=support_mid,
        support_high=torch.from_numpy(inputs["support_layer4"]),
        support_valid=torch.from_numpy(np.stack([[m[1] for m in shots] for shots in masks])),
        support_mask=torch.from_numpy(np.stack([[m[0] for m in shots] for shots in masks])),
        key=torch.arange(batch),
        target=torch.from_numpy(inputs["query_label"]).long(),
        support_pixels=torch.from_numpy(np.stack([np.stack(shots) for shots in pixels])),
        support_target=torch.from_numpy(inputs["support_label"]).long(),
    )


class Recorder:
    """Collects what named modules and functions return, call after call.

    Attributes:
        of: Name -> results in the order of the calls.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.of: dict[str, list[Any]] = {}
        self.monkeypatch = monkeypatch

    def module(self, name: str, module: nn.Module) -> None:
        """Record a module's outputs, and its inputs under `<name>.input`."""

        def keep(_: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self.of.setdefault(name, []).append(output)
            self.of.setdefault(f"{name}.input", []).append(inputs)

        module.register_forward_hook(keep)

    def function(self, name: str, owner: Any) -> None:
        """Record what a function or method returns."""
        original = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            result = original(*args, **kwargs)
            self.of.setdefault(name, []).append(result)
            return result

        self.monkeypatch.setattr(owner, name, wrapped)

    def probabilities(self, owner: Any) -> None:
        """Record the softmax of each attention, averaged over the heads.

        The attention itself is asked for it: with the unit matrix as value it returns its weights.
        """
        original = owner.scaled_dot_product_attention

        def wrapped(query: Tensor, key: Tensor, value: Tensor, *args: Any, **kwargs: Any) -> Tensor:
            unit = torch.eye(key.shape[2]).expand(*key.shape[:2], -1, -1)
            weights = original(query, key, unit, *args, **kwargs)
            self.of.setdefault("probability", []).append(weights.mean(1))
            return original(query, key, value, *args, **kwargs)

        self.monkeypatch.setattr(owner, "scaled_dot_product_attention", wrapped)


@contextmanager
def drawn(patch: pytest.MonkeyPatch, owner: Any, name: str, give: Callable[..., Any]) -> Iterator:
    """Replace a function that draws by one that gives what a file says."""
    with patch.context() as inner:
        inner.setattr(owner, name, give)
        yield


def to_map(tokens: Tensor, grid: int) -> Tensor:
    """(B, d, G, G) of (B, N, d) tokens."""
    return tokens.transpose(1, 2).unflatten(2, (grid, grid))


class Comparison:
    """Compares arrays with a file's, and remembers which have been.

    Args:
        file: The file's arrays.
        tolerance: Of floats, as a part of the array's largest value.
    """

    def __init__(self, file: Arrays, tolerance: float = 1e-5) -> None:
        self.file, self.tolerance = file, tolerance
        self.compared: dict[str, float] = {}

    def equal(self, key: str, found: Any) -> None:
        """Check one array; one that the file lacks is passed over, as a reduced file lacks some."""
        if key not in self.file:
            return
        expected = self.file[key]
        if isinstance(found, Tensor):
            found = found.detach().numpy()
        found = np.asarray(found).reshape(expected.shape)
        if expected.dtype.kind == "f":
            difference = float(np.abs(found - expected).max())
            self.compared[key] = difference / float(np.abs(expected).max())
            assert self.compared[key] <= self.tolerance, f"{key}: {self.compared[key]:.1e}"
        else:
            self.compared[key] = float(np.count_nonzero(found != expected))
            assert self.compared[key] == 0, key

    def print(self) -> None:
        """Print every array compared with its difference; `pytest -s` shows it."""
        for key, difference in self.compared.items():
            kind = "of the largest value" if self.file[key].dtype.kind == "f" else "unequal"
            print(f"{key:<70} {difference:.1e} {kind}")

    def nothing_left(self, *but: str) -> None:
        """Every result and gradient of the file has been compared, but for those that match."""
        kinds = ("results/", "gradients/")
        left = {key for key in self.file if key.startswith(kinds)} - set(self.compared)
        left = {key for key in left if not any(re.match(pattern, key) for pattern in but)}
        assert not left
