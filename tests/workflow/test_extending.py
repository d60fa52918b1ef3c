"""docs/extending.md, followed to the letter in a copy of the project."""

import csv
import json
import re

import pytest

from umtfss.common.files import PACKAGE_ROOT

pytestmark = pytest.mark.slow

PAGE = PACKAGE_ROOT / "docs/extending.md"


def test_the_page_adds_a_model_that_is_trained_and_tested(finished):
    text = PAGE.read_text()
    file, line = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    (name,) = re.findall(r"^`(umtfss/models/\w+\.py)`:$", text, re.MULTILINE)
    path = finished.root / name
    path.write_text(file)
    tiny = "experiments/tiny.yaml"
    asked = "  table1: {dataset: shapes, pool: shapes, models: [umtfss]}"
    wanted = asked.replace("[umtfss]", "[relation, umtfss]")
    assert wanted in text
    with (
        finished.edited("umtfss/experiment/models.py", "MODELS = {\n", "MODELS = {\n" + line),
        finished.edited(tiny, asked, wanted),
    ):
        jobs = finished.planned("--config", "tables=table1", "--", "all_tables")
        assert jobs["train_model"] == jobs["evaluate_run"] == 3  # two folds, and without labels
        finished.snakemake("--config", "tables=table1", "--", "all_tables")
        rows = list(csv.DictReader((finished.root / "results/tiny/tables/table1.csv").open()))
        measured = {row["column"]: float(row["value"]) for row in rows if row["row"] == "unsup"}
        assert set(measured) == {"Relation", "UMTFSS"}
        assert all(0 <= value <= 100 for value in measured.values())
        tested = finished.root / "results/tiny/evaluation/shapes/relation/unsup-all/seed0"
        scores = json.loads((tested / "shapes-1shot.json").read_text())
        assert len(scores["folds"]["0"]["seeds"]["0"]["union"]) == 10
    path.unlink()
