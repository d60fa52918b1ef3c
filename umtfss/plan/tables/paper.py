"""The numbers that the paper prints."""

from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from umtfss.experiment.schema import Experiment


@cache
def paper_numbers() -> dict[str, Any]:
    """The numbers printed in the paper's Tables 1-6, in percent."""
    return yaml.safe_load((files("umtfss.plan.tables") / "paper.yaml").read_text())


def paper_benchmark(experiment: Experiment, dataset: str) -> str:
    """The paper's benchmark that the numbers of a data set are compared with."""
    return "coco" if experiment.datasets[dataset].kind == "coco" else "pascal"
