"""umtfss.training.distributed."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from umtfss.common.errors import TrainingError
from umtfss.training import distributed


def test_one_process_is_its_own_group():
    with distributed.process_group("cpu") as device:
        assert device == torch.device("cpu")
        assert (distributed.rank(), distributed.world_size()) == (0, 1)
        assert distributed.mean(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]
        assert distributed.from_first("x") == "x"
    module = torch.nn.Linear(1, 1)
    assert distributed.wrap(module) is module


def test_slices_follow_the_step(monkeypatch):
    slices = distributed.batch_slices(2, 4, batch_size=4)
    assert slices == [range(8, 12), range(12, 16)]
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    monkeypatch.setattr(distributed, "rank", lambda: 1)
    assert distributed.batch_slices(2, 4, batch_size=4) == [range(10, 12), range(14, 16)]


def test_a_batch_that_does_not_divide_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 3)
    with pytest.raises(TrainingError, match="multiple of the 3 processes"):
        distributed.batch_slices(0, 1, batch_size=4)


def launch(tiny, folder, settings, *options):
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command += ["--nproc-per-node", "2", tiny.__file__, str(folder), json.dumps(settings)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        env=environment,
    )


def test_two_processes_train_like_one(tiny, tmp_path):
    settings = {"dropout": 0.0, "steps": 20}
    tiny.run(tmp_path / "one", **settings)
    done = launch(tiny, tmp_path / "two", settings)
    assert done.returncode == 0, done.stderr
    one, two = (load_file(tmp_path / name / "weights.safetensors") for name in ("one", "two"))
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-4, atol=1e-6)
    logs = [pd.read_csv(tmp_path / name / "log.csv") for name in ("one", "two")]
    pd.testing.assert_frame_equal(*logs, rtol=1e-4)
    assert json.loads((tmp_path / "two" / "manifest.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_and_they_go_on_together(tiny, tmp_path):
    settings = {"steps": 20}
    stopped = launch(tiny, tmp_path / "stopped", settings, "--stop-at", "7")
    assert stopped.returncode != 0
    state = torch.load(tmp_path / "stopped" / "checkpoint.pt", weights_only=True)
    assert state["step"] == 8
    for name in ("stopped", "whole"):
        done = launch(tiny, tmp_path / name, settings)
        assert done.returncode == 0, done.stderr
    for name in ("weights.safetensors", "log.csv", "manifest.json"):
        files = (tmp_path / folder / name for folder in ("stopped", "whole"))
        assert len({file.read_bytes() for file in files}) == 1, name
