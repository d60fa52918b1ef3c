"""How fast a machine is said to be."""

import pytest

from umtfss.common.errors import ConfigError
from umtfss.plan.rates import Rates, cpu_rates, gpu_rates, matmul_rate

TABLE = """part,what,value,unit,goal,verdict,note
machine,card,Card X,,,,
time shares,training step,40.0,TFLOP/s,,,
"""


def test_the_rate_is_that_of_a_computer():
    assert 0.1 < matmul_rate(0.05) < 1e6


def test_an_arrow_reaches_a_part_of_the_rate_of_a_core(monkeypatch):
    monkeypatch.setattr("umtfss.plan.rates.matmul_rate", lambda: 100.0)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    rates = cpu_rates()
    assert rates.workers == 3
    assert rates.seconds("features", 180.0) == pytest.approx(2.0)  # 0.9 of the rate
    assert rates.seconds("training", 180.0) == pytest.approx(3.0)


def test_workers_share_the_seconds_and_the_starts_of_jobs():
    assert Rates("x", {}, 2).hours(jobs=10, seconds=7140.0) == pytest.approx(1.0)  # 6 s a start


def test_a_gpu_works_at_the_rate_of_its_training_step(tmp_path):
    path = tmp_path / "gpu.csv"
    path.write_text(TABLE)
    rates = gpu_rates(path)
    assert (rates.of, rates.workers) == ("one Card X", 1)
    for arrow in ("features", "training", "evaluation"):
        assert rates.seconds(arrow, 40_000.0) == pytest.approx(1.0)


def test_a_table_without_the_rate_is_refused(tmp_path):
    path = tmp_path / "gpu.csv"
    for content in (None, "part,what,value\nsteps,batch 4,3\n", "nothing"):
        if content is not None:
            path.write_text(content)
        with pytest.raises(ConfigError, match=r"tells no rate of a GPU(?s:.*)benchmarks\.gpu"):
            gpu_rates(path)
