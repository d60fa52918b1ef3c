"""From names to models."""

import pytest
from torch import nn

from umtfss.common.errors import ConfigError
from umtfss.common.onednn import OneDnnLinear, OneDnnPointwise
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.models import MODELS
from umtfss.models.build import build_model


@pytest.mark.parametrize(("name", "title"), MODELS.items())
def test_the_catalogue_names_what_is_built(name: str, title: str) -> None:
    model = build_model(name, ModelConfig(width=16, heads=4), [12], align_corners=True)
    assert type(model).__name__ == title
    assert model.align_corners


@pytest.mark.parametrize("name", ["protonet", "base", "residual", "layers"])
def test_what_is_no_meta_learner_is_explained(name: str) -> None:
    with pytest.raises(ConfigError, match=f"umtfss/models/{name}.py with one subclass"):
        build_model(name, ModelConfig(), [12])


def test_linear_layers_are_accelerated() -> None:
    model = build_model("umtfss", ModelConfig(width=16, heads=4), [12])
    kinds = {type(module) for module in model.modules()}
    assert {OneDnnLinear, OneDnnPointwise, nn.Conv2d} <= kinds
    assert nn.Linear not in kinds
