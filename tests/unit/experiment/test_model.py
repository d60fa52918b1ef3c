"""The block `model`: keys that models share, and a sub-block of each model's own."""

from typing import Any

import pytest
from pydantic import ValidationError

from umtfss.experiment.load import MOVED
from umtfss.experiment.model import UMTFSS_PRESETS, ModelConfig, sub_blocks
from umtfss.experiment.models import MODELS

OTHER: dict[str, Any] = {
    "umtfss": {"k_fg": 7},
    "cyctr": {"cycle_tokens": 7},
    "pfenet": {"pyramid_scales": [1.0]},
    "bam": {"dilations": [3]},
    "prototype": {"margin": 0.7},
}


def test_every_sub_block_is_a_model_s() -> None:
    assert set(sub_blocks()) <= set(MODELS)
    assert set(sub_blocks()) == set(OTHER)


def test_a_key_has_one_place() -> None:
    keys = [key for kind in sub_blocks().values() for key in kind.model_fields]
    shared = set(ModelConfig.model_fields) - set(sub_blocks())
    assert len(keys) == len(set(keys))
    assert not shared & set(keys)
    for block, moved in MOVED.items():
        assert set(moved.split()) <= set(sub_blocks()[block].model_fields)


@pytest.mark.parametrize("model", ["umtfss", "cyctr", "pfenet", "masksplit", "bam"])
@pytest.mark.parametrize("residual", ["none", "centred"])
def test_a_model_reads_the_shared_keys_and_its_own(model: str, residual: Any) -> None:
    block = ModelConfig(residual=residual)
    for name, keys in OTHER.items():
        changed = ModelConfig.model_validate({"residual": residual, name: keys})
        read = name == model or (name == "prototype" and residual != "none")
        assert (changed.of_model(model) != block.of_model(model)) == read
    assert block.changed({"width": 64}).of_model(model) != block.of_model(model)


def test_the_matcher_reads_its_sub_block_alone() -> None:
    block = ModelConfig.model_validate({"width": 64, "preset": "release", **OTHER})
    read = block.of_model("prototype")
    assert read == ModelConfig.model_validate({"prototype": OTHER["prototype"]})


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("preset", UMTFSS_PRESETS)
def test_what_a_model_reads_survives_plain_values(model: str, preset: Any) -> None:
    read = ModelConfig.model_validate({"preset": preset, **OTHER}).of_model(model)
    assert ModelConfig.model_validate(read.model_dump(mode="json")) == read


def test_keys_of_sub_blocks_are_named_alone_in_changes() -> None:
    block = ModelConfig(width=64)
    changed = block.changed({"k_fg": 3, "cycle_tokens": 5, "heads": 4})
    assert (changed.value("k_fg"), changed.umtfss.k_bg) == (3, block.umtfss.k_bg)
    assert (changed.cyctr.cycle_tokens, changed.value("heads"), changed.width) == (5, 4, 64)
    with pytest.raises(ValidationError, match="k_fgg"):
        block.changed({"k_fgg": 3})
    with pytest.raises(ValidationError, match="k_fg"):
        block.changed({"k_fg": 0})


def test_a_preset_reaches_sub_blocks_and_what_is_given_wins() -> None:
    release = ModelConfig.model_validate({"preset": "release", "umtfss": {"k_fg": 7}})
    for key, value in UMTFSS_PRESETS["release"].items():
        assert release.value(key) == (7 if key == "k_fg" else value)
    again = ModelConfig.model_validate({"umtfss": {"k_fg": 7}}).changed({"preset": "release"})
    assert again.umtfss.k_fg == UMTFSS_PRESETS["release"]["k_fg"]
