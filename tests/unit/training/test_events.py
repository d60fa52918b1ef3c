"""Training curves for TensorBoard, read by TensorBoard itself."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from umtfss.common.errors import StoreError
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan
from umtfss.training.curve import HEADER
from umtfss.training.events import write_curve, write_events

LINES = "10,0.75,0.125,0.01\n20,0.5,0.25,0.005\n"


def scalars(folder) -> pd.DataFrame:
    """What TensorBoard shows of a folder: a row a step, a column a scalar."""
    read = EventAccumulator(str(folder)).Reload()
    columns = {
        name: {one.step: make_ndarray(one.tensor_proto).item() for one in read.Tensors(name)}
        for name in read.Tags()["tensors"]
    }
    return pd.DataFrame(columns)


def test_tensorboard_reads_every_line(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text(f"{HEADER}\n{LINES}")
    write_curve(log, tmp_path / "run")
    expected = pd.read_csv(log, index_col="step")
    found = scalars(tmp_path / "run")
    assert found.index.tolist() == [10, 20]
    np.testing.assert_allclose(found[expected.columns], expected, rtol=1e-6)


def test_a_training_that_runs_is_read_up_to_its_last_whole_line(tmp_path):
    log = tmp_path / "log.csv"
    log.write_text(f"{HEADER}\n{LINES}30,0.2")
    write_curve(log, tmp_path / "run")
    assert scalars(tmp_path / "run").index.tolist() == [10, 20]
    log.write_text(f"{HEADER}\n{LINES}30,0.25,0.5,0.001\n")
    write_curve(log, tmp_path / "run")
    assert scalars(tmp_path / "run")["iou"].to_dict() == {10: 0.125, 20: 0.25, 30: 0.5}
    assert len(list((tmp_path / "run").iterdir())) == 1


def test_every_training_that_has_begun_has_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    plan = Plan(load_experiment("demo"))
    with pytest.raises(StoreError, match="no training of experiment demo has begun"):
        write_events(plan, Path("runs"))
    run = plan.runs.trained_runs[1]
    log = Path(plan.paths.training_log(run))
    log.parent.mkdir(parents=True)
    log.write_text(f"{HEADER}\n{LINES}")
    assert write_events(plan, Path("runs")) == [Path("runs", run.path)]
    assert scalars(f"runs/{run.path}")["loss"].tolist() == [0.75, 0.5]
