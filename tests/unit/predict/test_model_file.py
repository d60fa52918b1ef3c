"""A segmenter in one file."""

import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from umtfss.common.errors import StoreError, WeightsError
from umtfss.experiment.features import DiffusionConfig
from umtfss.features.diffusion import DiffusionMap
from umtfss.models.build import build_model
from umtfss.predict.model_file import ModelFile, read_model
from umtfss.predict.recipe import Recipe


@pytest.fixture
def file(plan) -> ModelFile:
    recipe = Recipe.of_run(plan, plan.runs.main_run, {"block14": 0.5, "block20": 0.25})
    model = build_model(recipe.model, recipe.settings, recipe.features.mid_channels)
    random = np.random.default_rng(0)
    segments = random.normal(size=(9, 4)).astype(np.float16).astype(np.float32)
    arrays = [random.normal(size=(9, 2)), random.normal(size=(4, 1)), random.normal(size=(3, 4))]
    diffusion = DiffusionMap(
        ("p/a", "p/b"), "block20", DiffusionConfig(channels=2), segments,
        np.arange(9), *(array.astype(np.float32) for array in arrays),
    )  # fmt: skip
    return ModelFile(recipe, model.state_dict(), "digest", diffusion, {"run": "x", "tested": [1]})


def test_all_of_it_comes_back(file, tmp_path):
    file.save(tmp_path / "deep/m.safetensors")
    again = read_model(tmp_path / "deep/m.safetensors")
    assert (again.recipe, again.backbone, again.provenance) == (
        file.recipe, "digest", {"run": "x", "tested": [1]},
    )  # fmt: skip
    assert again.weights.keys() == file.weights.keys()
    for name, value in again.build().state_dict().items():
        torch.testing.assert_close(value, file.weights[name], rtol=0, atol=0)
    one, other = file.diffusion, again.diffusion
    assert (one.ids, one.level, one.settings) == (other.ids, other.level, other.settings)
    for name in ("segments", "image", "coordinates", "axes", "cells"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype


def test_equal_models_give_equal_bytes_and_the_umask_decides_who_reads(file, tmp_path):
    mask = os.umask(0o027)
    try:
        file.save(tmp_path / "a")
    finally:
        os.umask(mask)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o640
    read_model(tmp_path / "a").save(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_other_files_are_refused(file, tmp_path):
    path = tmp_path / "m.safetensors"
    with pytest.raises(StoreError, match=r"m\.safetensors is no model file(?s:.*)nothing there"):
        read_model(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(StoreError, match="another file"):
        read_model(path)
    file.save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(StoreError, match="another file"):
        read_model(path)


def test_weights_of_another_model_are_refused(file):
    weights = {name: value for name, value in list(file.weights.items())[1:]}
    with pytest.raises(WeightsError, match="do not fit the model umtfss"):
        ModelFile(file.recipe, weights, "", None, {}).build()
