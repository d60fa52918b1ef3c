"""umtfss.training.optimisers."""

import pytest
import torch
from torch import nn
from torch.optim import Adam

from umtfss.common.errors import TrainingError
from umtfss.experiment.training import TrainingConfig
from umtfss.training.optimisers import build_optimisers, set_main_rate

SETTINGS = TrainingConfig(steps=10, sgd_lr=0.01, lr_multiplier=15, momentum=0.8)


def ids(parameters):
    return {id(parameter) for parameter in parameters}


def test_every_trainable_parameter_has_one_optimiser(tiny):
    model = tiny.TinyLearner()
    model.head.bias.requires_grad = False
    optimisers = build_optimisers(model, model.transformer_parameters(), SETTINGS)
    sgd, adamw = (
        [p for group in optimisers[name].param_groups for p in group["params"]]
        for name in ("main", "transformer")
    )
    assert ids(adamw) == ids(model.transformer.parameters())
    assert ids(sgd) == ids([*model.project.parameters(), model.head.weight])


def test_adamw_decays_no_bias_and_no_norm_weight(tiny):
    model = tiny.TinyLearner()
    adamw = build_optimisers(model, model.transformer_parameters(), SETTINGS)["transformer"]
    decayed = {id(p): g["weight_decay"] for g in adamw.param_groups for p in g["params"]}
    linear, norm = model.transformer[0], model.transformer[1]
    assert decayed[id(linear.weight)] == SETTINGS.adamw_weight_decay
    assert {decayed[id(p)] for p in (linear.bias, norm.weight, norm.bias)} == {0.0}


def test_an_sgd_step_is_momentum_with_decay_in_the_gradient():
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimisers = build_optimisers(model, (), SETTINGS)
    weight, velocity = 2.0, 0.0
    for rate, slope in ((0.1, 3.0), (0.05, -1.0)):
        set_main_rate(optimisers, rate)
        model.weight.grad = torch.full((1, 1), slope)
        optimisers["main"].step()
        velocity = SETTINGS.momentum * velocity + slope + SETTINGS.sgd_weight_decay * weight
        weight -= rate * velocity
        assert model.weight.item() == pytest.approx(weight, rel=1e-6)


def test_the_adamw_rate_is_constant(tiny):
    model = tiny.TinyLearner()
    optimisers = build_optimisers(model, model.transformer_parameters(), SETTINGS)
    set_main_rate(optimisers, 0.123)
    assert {group["lr"] for group in optimisers["transformer"].param_groups} == {SETTINGS.adamw_lr}
    assert {group["lr"] for group in optimisers["main"].param_groups} == {0.123}


def test_an_optimiser_without_work_is_left_out():
    model = nn.Linear(2, 2)
    assert set(build_optimisers(model, (), SETTINGS)) == {"main"}
    only_attention = build_optimisers(model, model.parameters(), SETTINGS)
    assert set(only_attention) == {"transformer"}
    set_main_rate(only_attention, 0.1)


def test_a_model_without_parameters_cannot_be_trained():
    with pytest.raises(TrainingError, match="evaluate it without training"):
        build_optimisers(nn.Identity(), (), SETTINGS)


@pytest.mark.parametrize(("optimiser", "kind"), [("adamw", torch.optim.AdamW), ("adam", Adam)])
def test_one_optimiser_takes_every_parameter_at_the_main_rate(tiny, optimiser, kind):
    model = tiny.TinyLearner()
    settings = SETTINGS.model_copy(update={"optimiser": optimiser})
    optimisers = build_optimisers(model, model.transformer_parameters(), settings)
    assert set(optimisers) == {"main"}
    assert type(optimisers["main"]) is kind
    groups = optimisers["main"].param_groups
    assert ids(p for group in groups for p in group["params"]) == ids(model.parameters())
    assert {group["lr"] for group in groups} == {settings.adamw_lr}
    set_main_rate(optimisers, 0.123)
    assert {group["lr"] for group in groups} == {0.123}


def test_adam_decays_biases_too_and_in_the_gradient():
    model = nn.Linear(1, 1)
    settings = TrainingConfig(steps=1, optimiser="adam", adamw_weight_decay=0.5)
    nn.init.constant_(model.bias, 2.0)
    (adam,) = build_optimisers(model, (), settings).values()
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    adam.step()
    # L2 decay alone is the gradient, which Adam normalises: the first step is one rate long
    assert model.bias.item() == pytest.approx(2.0 - settings.adamw_lr, abs=1e-6)
