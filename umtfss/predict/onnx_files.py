"""Backbone and meta-learner as ONNX files, each compared with torch by onnxruntime.

Sizes are fixed, because photos of one camera have one size. The backbone takes a photo as
`prepare_image` resizes it. The meta-learner takes what the backbone gives for a query and for K
supports. No score is refined, and the logits have the size of the grid.

Shapes: K shots, C channels of the mid feature, D of the high feature, H' W' resized pixels, h w
grid.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from umtfss.backbones.extractor import Extractor
from umtfss.common.errors import ConfigError
from umtfss.common.files import atomic_path
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.cached import episode_key
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.trained import live_extractor
from umtfss.experiment.features import ModelFeatures
from umtfss.models.base import MetaLearner
from umtfss.predict.model_file import ModelFile
from umtfss.predict.segmenter import EPISODES

TOLERANCE = 1e-4  # of the largest value
INSTEAD = "use the model file, with `Segmenter.load` or `umtfss predict --model`"


class BackboneOfPhoto(nn.Module):
    """The features of a photo that a meta-learner reads, at the scale of its training.

    Args:
        extractor: The backbone.
        features: The levels.
        scales: Level -> factor; other levels stay.
    """

    def __init__(
        self, extractor: Extractor, features: ModelFeatures, scales: Mapping[str, float]
    ) -> None:
        super().__init__()
        self.extractor, self.features, self.scales = extractor, features, scales

    def forward(self, photo: Tensor) -> tuple[Tensor, Tensor]:
        """(1, C, h, w) mid feature and (1, D, h, w) high feature of a (1, 3, H', W') photo."""
        found = self.extractor(photo)
        scaled = {level: found[level] * self.scales.get(level, 1.0) for level in found}
        mid = torch.cat([scaled[level] for level in self.features.mid], 1)
        return mid, scaled[self.features.high]


class HeadOfPhoto(nn.Module):
    """A meta-learner on one query whose photos fill the grid.

    Args:
        model: The meta-learner.
    """

    def __init__(self, model: MetaLearner) -> None:
        super().__init__()
        self.model = model
        one = np.zeros(1, int)
        key = episode_key(EpisodeList([""], one, one, one[None], EPISODES), 0, seed=0)
        self.register_buffer("key", torch.tensor([key]))

    def forward(
        self,
        query_mid: Tensor,
        query_high: Tensor,
        support_mid: Tensor,
        support_high: Tensor,
        support_mask: Tensor,
    ) -> Tensor:
        """(1, 2, h, w) logits, background then foreground; inputs as in `EpisodeBatch`."""
        valid = torch.ones_like(support_mask, dtype=torch.bool)
        shown = (support_mid, support_high, valid, support_mask)
        logits: Tensor = self.model(
            EpisodeBatch(query_mid, query_high, valid[:, 0], *shown, self.get_buffer("key"))
        )
        return logits


def export_onnx(file: ModelFile, path: Path, size: tuple[int, int], shots: int) -> Iterator[Path]:
    """Write `NAME-backbone.onnx` and `NAME-head.onnx` beside a model file, and yield each.

    Args:
        file: Content of the model file.
        path: The model file.
        size: Height and width of the photos, px.
        shots: Supports of the head.

    Raises:
        ConfigError: Features are diffused, or the backbone or the meta-learner cannot be exported;
            files before it stay.
    """
    recipe = file.recipe
    if file.diffusion is not None:
        raise ConfigError(
            "diffused features cannot be written as ONNX: they depend on other photos",
            fix="export a run on features that are not diffused",
        )
    extractor = live_extractor(recipe.extracted, torch.device("cpu"))
    extractor.precision = None
    height, width = extractor.resized(*size, recipe.extracted.long_side)
    photo = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    backbone = BackboneOfPhoto(extractor, recipe.features, recipe.mid_scales).eval()
    mid, high = _write(
        backbone, {"photo": photo}, ("mid", "high"), path.with_name(f"{path.stem}-backbone.onnx"),
        f"backbone {extractor.name}",
    )  # fmt: skip
    yield path.with_name(f"{path.stem}-backbone.onnx")

    mask = torch.zeros(1, shots, *mid.shape[2:])
    mask[..., mid.shape[2] // 4 : mid.shape[2] // 2 + 1, : mid.shape[3] // 2 + 1] = 1
    inputs = {
        "query_mid": mid.flip(3),
        "query_high": high.flip(3),
        "support_mid": mid[:, None].repeat(1, shots, 1, 1, 1),
        "support_high": high[:, None].repeat(1, shots, 1, 1, 1),
        "support_mask": mask,
    }
    head = path.with_name(f"{path.stem}-head.onnx")
    _write(HeadOfPhoto(file.build()).eval(), inputs, ("logits",), head, f"model {recipe.model}")
    yield head


@torch.no_grad()
def _write(
    module: nn.Module, inputs: Mapping[str, Tensor], outputs: Sequence[str], path: Path, what: str
) -> tuple[Tensor, ...]:
    """Write a module as ONNX if onnxruntime computes what torch does; return torch's results.

    Raises:
        ConfigError: The module cannot be exported, or its results differ.
    """
    import onnxruntime  # an extra has these two
    import onnxscript  # noqa: F401

    found = module(*inputs.values())
    expected = found if isinstance(found, tuple) else (found,)
    try:
        with warnings.catch_warnings(), redirect_stderr(StringIO()):  # where it prints its graph
            warnings.simplefilter("ignore")  # of torch's exporter about itself
            program = torch.onnx.export(
                module,
                tuple(inputs.values()),
                input_names=list(inputs),
                output_names=list(outputs),
                custom_translation_table=_translations(),
                dynamo=True,
                verbose=False,
            )
            assert program is not None
            content = program.model_proto.SerializeToString()
            session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
            results = session.run(None, {name: one.numpy() for name, one in inputs.items()})
    except Exception as error:  # tracing, translation and onnxruntime have kinds of their own
        raise ConfigError(
            f"the {what} cannot be written as ONNX",
            found=str(error.__cause__ or error).strip().partition("\n")[0],
            fix=INSTEAD,
        ) from error
    for name, one, other in zip(outputs, expected, results, strict=True):
        difference = float(np.abs(one.numpy() - other).max() / np.abs(one.numpy()).max())
        if not difference < TOLERANCE:
            raise ConfigError(
                f"the {what} computes something else as ONNX",
                expected=f"{name} as torch computes it, to {TOLERANCE} of the largest value",
                found=f"a difference of {difference:.2g}",
                fix=INSTEAD,
            )
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)
    return expected


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    """Operators of torch -> their ONNX, where onnxscript has none, or one that fails."""
    from onnxscript import opset18

    op: Any = opset18  # its types refuse constants as shapes and axes

    def stable_sort(x: Any, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
        """TopK puts the first of equal elements first."""
        count = op.Gather(op.Shape(x), op.Constant(value_ints=[dim]))
        return op.TopK(x, count, axis=dim, largest=int(descending), sorted=1)

    def sum_of_equal_bags(table: Any, index: Any, starts: Any, *options: Any) -> Any:
        """Weighted sums of as many rows in each bag."""
        weight = options[3]
        rows = op.Mul(op.Gather(table, index), op.Unsqueeze(weight, op.Constant(value_ints=[1])))
        rest = op.Constant(value_ints=[-1])
        bags = op.Reshape(rows, op.Concat(op.Shape(starts), rest, op.Shape(table, start=1), axis=0))
        total = op.ReduceSum(bags, op.Constant(value_ints=[1]), keepdims=0)
        return total, starts, starts, starts

    aten = torch.ops.aten
    return {aten.sort.stable: stable_sort, aten.embedding_bag.padding_idx: sum_of_equal_bags}
