"""The models against what the public releases compute: every array, losses and gradients.

The files say in plain words what each array is; `tests/golden_files.py` says where they are looked
for. The reduced files are committed and lack the largest arrays.
"""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import umtfss.models.cyctr as cyctr_module
import umtfss.models.layers.prototype_attention as attention_module
from tests.golden_files import golden
from tests.unit.models.golden_check import check_cyctr, check_pfenet, check_umtfss, cyctr_order
from tests.unit.models.golden_run import (
    Arrays,
    Comparison,
    Recorder,
    drawn,
    golden_batch,
    golden_model,
)


@pytest.fixture(params=["whole", "reduced"])
def load(request: pytest.FixtureRequest) -> Callable[[str], Arrays]:
    """Loads a golden file; `golden` skips the test where there is none."""
    return lambda name: golden(name, reduced=request.param == "reduced")


Load = Callable[[str], Arrays]


def test_umtfss(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    check_umtfss(load("umtfss"), monkeypatch)


def test_cyctr(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    check_cyctr(load("cyctr"), monkeypatch)


def test_pfenet(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    check_pfenet(load("pfenet"), monkeypatch)


def test_cyctr_draws_anew_for_each_layer_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokens of `released_training`; what it computes of them has the release's flags."""
    file = golden("cyctr")
    setting = {k.removeprefix("settings/"): int(v) for k, v in file.items() if "settings/" in k}
    elements, layers = range(setting["batch"]), iter((0, 1))
    model = golden_model("cyctr", file, cycle_spared=0).train()
    record = Recorder(monkeypatch)
    record.function("sample_tokens", cyctr_module)
    sample = cyctr_module.sample_tokens

    def sampled(
        sets: Tensor, _: Tensor, counts: tuple[Tensor, Tensor]
    ) -> attention_module.TokenSample:
        layer = next(layers)
        scale = float(file[f"draws/training.layer{layer}.scale"])
        # the count of the file's settings at the file's scale, rounded down as the model does it
        assert counts[0].tolist() == counts[1].tolist()
        wanted = [
            torch.full_like(counts[0], int(scale * setting[name]))
            for name in ("tokens_fg", "tokens_bg")
        ]
        order = cyctr_order(file, f"released_training.layer{layer}", elements)
        return sample(sets, order, (wanted[0], wanted[1]))

    with drawn(monkeypatch, cyctr_module, "sample_tokens", sampled):
        model.outputs(golden_batch("cyctr", file))
    compare = Comparison(file)
    assert len(record.of["sample_tokens"]) == 2
    for layer, drawn_tokens in enumerate(record.of["sample_tokens"]):
        for b in elements:
            key = f"results/released_training.layer{layer}.element{b}.tokens"
            compare.equal(key, drawn_tokens.index[b])
    assert len(compare.compared) == 4
