"""A fitted segmenter on a backbone that sees colours."""

import pytest

from tests.unit.predict.drawn import BLUE, colour_backbone, support
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.predict import segmenter
from umtfss.predict.segmenter import Segmenter

MATCHER = RunSpec("prototype")


@pytest.fixture
def plan(monkeypatch) -> Plan:
    """The demo, whose backbone sees colours alone."""
    monkeypatch.setattr(segmenter, "live_extractor", lambda *_: colour_backbone())
    return Plan(load_experiment("demo"))


@pytest.fixture
def matcher(plan) -> Segmenter:
    """The training-free matcher, not yet fitted."""
    return Segmenter.of_run(plan, MATCHER)


@pytest.fixture
def two(matcher, tmp_path) -> Segmenter:
    """The matcher fitted to a blue and a red object."""
    shown = [support(tmp_path / "s", "red", of="red")]
    shown += [support(tmp_path / "s", "blue", BLUE, "blue")]
    return matcher.fit(*zip(*shown, strict=True))
