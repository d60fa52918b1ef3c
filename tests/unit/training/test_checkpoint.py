"""umtfss.training.checkpoint."""

import logging

import pytest
import torch
from torch import nn

from umtfss.common.errors import StoreError, TrainingError, WeightsError
from umtfss.common.manifests import write_manifest
from umtfss.training.checkpoint import (
    check_finite,
    is_finished,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pt"


def finished(folder, model, identity="one"):
    path = folder / "weights.safetensors"
    save_weights(path, model)
    write_manifest(folder / "manifest.json", "training", files=[path], identity=identity)


def test_a_checkpoint_comes_back(path):
    state = {"step": 3, "model": {"w": torch.arange(4.0)}, "lines": ["a"], "window": [(1.0, 2.0)]}
    save_checkpoint(path, "one", state)
    found = load_checkpoint(path, "one")
    assert found is not None
    assert torch.equal(found["model"]["w"], state["model"]["w"])
    assert (found["step"], found["lines"], found["window"]) == (3, ["a"], [(1.0, 2.0)])


def test_no_checkpoint_is_none(path):
    assert load_checkpoint(path, "one") is None


def test_another_identity_is_set_aside_with_a_warning(path, caplog):
    save_checkpoint(path, "one", {"step": 3})
    with caplog.at_level(logging.WARNING, "umtfss"):
        assert load_checkpoint(path, "two") is None
    assert "other settings, code or episodes" in caplog.text
    assert not path.exists()
    path.with_name("checkpoint.pt.other").rename(path)
    assert load_checkpoint(path, "one") is not None


@pytest.mark.parametrize("damage", ["empty", "cut", "noise", "flipped", "foreign"])
def test_an_unreadable_checkpoint_is_set_aside_with_a_warning(path, damage, caplog):
    save_checkpoint(path, "one", {"model": {"w": torch.randn(1000)}})
    whole = path.read_bytes()
    if damage == "foreign":
        torch.save([1, 2], path)
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
        path.write_bytes(
            {"empty": b"", "cut": whole[:middle], "noise": b"\x07" * 99, "flipped": flipped}[damage]
        )
    with caplog.at_level(logging.WARNING, "umtfss"):
        assert load_checkpoint(path, "one") is None
    assert "cannot be read: training starts anew" in caplog.text
    assert path.with_name("checkpoint.pt.corrupt").exists()


def test_code_in_a_checkpoint_is_not_run(path):
    torch.save({"format": "umtfss-checkpoint-1", "identity": "one", "model": nn.ReLU()}, path)
    assert load_checkpoint(path, "one") is None


def test_a_failed_save_leaves_the_last_good_checkpoint(path):
    save_checkpoint(path, "one", {"step": 1})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, "one", {"step": lambda: 2})
    found = load_checkpoint(path, "one")
    assert found is not None
    assert found["step"] == 1


def test_weights_that_are_not_finite_are_refused():
    model = nn.Linear(2, 2)
    check_finite(model, 1)
    model.weight.data[0, 0] = float("nan")
    with pytest.raises(TrainingError, match=r"after step 5, 1 weight tensors[^$]*weight"):
        check_finite(model, 5)


def test_equal_weights_give_equal_files(tmp_path):
    model = nn.Conv2d(3, 4, 1).to(memory_format=torch.channels_last)
    for name in ("a", "b"):
        save_weights(tmp_path / name, model)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    model.bias.data[0] += 1
    save_weights(tmp_path / "a", model)
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_weights_come_back(tmp_path):
    model, other = nn.Linear(3, 4), nn.Linear(3, 4)
    finished(tmp_path, model)
    load_weights(other, tmp_path)
    assert torch.equal(model.weight, other.weight)


def test_altered_weights_are_refused(tmp_path):
    finished(tmp_path, nn.Linear(3, 4))
    save_weights(tmp_path / "weights.safetensors", nn.Linear(3, 4))
    with pytest.raises(StoreError, match="is damaged or another file"):
        load_weights(nn.Linear(3, 4), tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    with pytest.raises(StoreError, match="no file"):
        load_weights(nn.Linear(3, 4), tmp_path)


def test_weights_of_another_model_are_refused(tmp_path):
    finished(tmp_path, nn.Linear(3, 4))
    with pytest.raises(WeightsError, match=r"does not fit the model Linear[^$]*size mismatch"):
        load_weights(nn.Linear(3, 5), tmp_path)


def test_an_unfinished_training_has_no_weights(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        load_weights(nn.Linear(3, 4), tmp_path)


def test_finished_means_this_training_with_its_weights(tmp_path):
    assert not is_finished(tmp_path, "one")
    finished(tmp_path, nn.Linear(3, 4))
    assert is_finished(tmp_path, "one")
    assert not is_finished(tmp_path, "two")
    (tmp_path / "weights.safetensors").write_bytes(b"")
    assert not is_finished(tmp_path, "one")
    finished(tmp_path, nn.Linear(3, 4))
    (tmp_path / "manifest.json").write_text("{")
    assert not is_finished(tmp_path, "one")
