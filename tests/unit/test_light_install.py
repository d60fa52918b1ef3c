"""What works without the packages of the extras, as `pip install umtfss` leaves them out."""

import json
import os
import subprocess
import sys

from tests.unit.predict.drawn import photo, support
from tests.unit.test_project import EXTRAS, names
from umtfss.common.files import PACKAGE_ROOT

# Python imports these under another name.
MODULES = {"backports-tarfile": "backports", "faiss-cpu": "faiss", "faiss-gpu": "faiss"}
PREDICT = """
import json, sys
absent, arguments = json.loads(sys.argv[1])
sys.modules.update(dict.fromkeys(absent))  # an import of these fails
from tests.unit.predict.drawn import colour_backbone
from umtfss.cli import app
from umtfss.predict import segmenter
segmenter.live_extractor = lambda *_: colour_backbone()
app(arguments)
"""


def run_without_extras(folder, *arguments: str) -> subprocess.CompletedProcess[str]:
    listed = names(EXTRAS["pipeline"] + EXTRAS["cpu"] + EXTRAS["gpu"])
    absent = [MODULES.get(name, name.replace("-", "_")) for name in listed]
    assert {"faiss", "snakemake", "pandas"} <= {*absent}
    command = [sys.executable, "-c", PREDICT, json.dumps([absent, arguments])]
    path = {"PYTHONPATH": str(PACKAGE_ROOT), "COLUMNS": "200"}
    return subprocess.run(
        command, cwd=folder, env=os.environ | path, capture_output=True, text=True, timeout=300
    )


def test_photos_are_segmented(tmp_path):
    support(tmp_path / "supports/red", "a")
    photo(tmp_path / "q.png", (0, 0, 60, 60))
    chosen = ("--experiment", "demo", "--run", "prototype", "--min-score", "-1")
    done = run_without_extras(tmp_path, "predict", *chosen, "--supports", "supports", "q.png")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "predictions/q.png").is_file()


def test_a_command_of_the_pipeline_names_the_package_and_the_extra(tmp_path):
    done = run_without_extras(
        tmp_path, "show", "--experiment", "demo", "--fold", "0", "--episode", "0"
    )
    assert done.returncode == 1
    assert "is not installed" in done.stderr
    assert "pip install 'umtfss[pipeline,cpu]'" in done.stderr
