"""ONNX files of backbone and head, run by onnxruntime."""

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor

from tests.unit.predict.drawn import colour_backbone
from umtfss.common.errors import ConfigError
from umtfss.common.randomness import seed64
from umtfss.episodes.batch import EpisodeBatch
from umtfss.models.build import build_model
from umtfss.models.prototype import PrototypeMatcher
from umtfss.models.umtfss import UMTFSS
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.predict import onnx_files
from umtfss.predict.model_file import ModelFile
from umtfss.predict.onnx_files import export_onnx
from umtfss.predict.recipe import Recipe

SCALES = {"block14": 0.5, "block20": 2.0}
SIZE, SHOTS = (120, 200), 2


def model_file(plan: Plan, run: RunSpec) -> ModelFile:
    """A run's model with random weights, small."""
    recipe = Recipe.of_run(plan, run, SCALES)
    recipe = replace(recipe, settings=recipe.settings.model_copy(update={"width": 16, "layers": 1}))
    torch.manual_seed(0)
    model = build_model(recipe.model, recipe.settings, recipe.features.mid_channels)
    return ModelFile(recipe, model.state_dict(), "", None, {})


def run_onnx(path, **inputs: Tensor) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.numpy() for name, value in inputs.items()})


@pytest.fixture
def colours(plan, monkeypatch):
    monkeypatch.setattr(onnx_files, "live_extractor", lambda *_: colour_backbone())
    return plan


@pytest.mark.parametrize("trained", [False, True], ids=["matcher", "umtfss"])
def test_onnxruntime_computes_what_torch_does(colours, tmp_path, trained):
    run = colours.runs.main_run if trained else RunSpec("prototype")
    file = model_file(colours, run)
    model = file.build().eval()
    assert isinstance(model, UMTFSS) == trained
    backbone, head = export_onnx(file, tmp_path / "m.safetensors", SIZE, SHOTS)
    assert [one.name for one in (backbone, head)] == ["m-backbone.onnx", "m-head.onnx"]

    extractor, read = colour_backbone(), file.recipe.features
    height, width = extractor.resized(*SIZE, file.recipe.extracted.long_side)
    photos = torch.rand(SHOTS + 1, 3, height, width, generator=torch.Generator().manual_seed(7))
    found = extractor(photos)
    mids = torch.cat([found[level] * SCALES[level] for level in read.mid], 1)
    highs = found[read.high] * SCALES.get(read.high, 1)
    mid, high = run_onnx(backbone, photo=photos[:1])
    np.testing.assert_allclose(mid, mids[:1], atol=1e-5)
    np.testing.assert_allclose(high, highs[:1], atol=1e-5)

    mask = torch.zeros(1, SHOTS, *mids.shape[2:])
    mask[..., 2:5, 3:9], mask[..., 5, 3:9] = 1, 0.4
    shown = {
        "query_mid": mids[:1],
        "query_high": highs[:1],
        "support_mid": mids[None, 1:],
        "support_high": highs[None, 1:],
        "support_mask": mask,
    }
    (logits,) = run_onnx(head, **shown)
    valid = torch.ones_like(mask, dtype=torch.bool)
    key = torch.tensor([seed64("model", "predict", 0, 0)])
    batch = EpisodeBatch(**shown, query_valid=valid[:, 0], support_valid=valid, key=key)
    with torch.inference_mode():
        expected = model(batch).numpy()
        other = model(replace(batch, support_mask=1 - mask)).numpy()
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
    assert np.abs(other - expected).max() > 0.01 * np.abs(expected).max()


def test_what_cannot_be_exported_is_named(colours, tmp_path, monkeypatch, capsys):
    class Branching(PrototypeMatcher):
        def forward(self, batch: EpisodeBatch) -> Tensor:
            return super().forward(batch) * (2 if batch.support_mask.sum() > 3 else 1)

    file = model_file(colours, RunSpec("prototype"))
    monkeypatch.setattr(ModelFile, "build", lambda self: Branching(self.recipe.settings))
    written = export_onnx(file, tmp_path / "m.safetensors", SIZE, 1)
    assert next(written).name == "m-backbone.onnx"
    with pytest.raises(ConfigError, match="the model prototype cannot be written as ONNX"):
        next(written)
    assert [one.name for one in tmp_path.iterdir()] == ["m-backbone.onnx"]
    assert "def forward" not in capsys.readouterr().err  # torch prints the graph so far


def test_a_file_that_computes_something_else_is_not_written(colours, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_files, "TOLERANCE", 0)
    file = model_file(colours, RunSpec("prototype"))
    with pytest.raises(ConfigError, match="computes something else as ONNX"):
        list(export_onnx(file, tmp_path / "m.safetensors", SIZE, 1))
    assert "head" not in "".join(one.name for one in tmp_path.iterdir())


def test_diffused_features_are_refused(colours, tmp_path):
    file = replace(model_file(colours, RunSpec("prototype")), diffusion="a map")
    with pytest.raises(ConfigError, match="diffused features cannot be written"):
        list(export_onnx(file, tmp_path / "m.safetensors", SIZE, 1))
