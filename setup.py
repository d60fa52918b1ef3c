"""Puts the workflow, which lies beside the package, into a wheel. The rest is in pyproject.toml."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

WORKFLOW = (
    *("Snakefile", "config.yaml", "docs", "envs", "experiments", "profiles", "rules"),
    "workflow_scripts",
)


class BuildWithWorkflow(build_py):
    """Copies the workflow to `umtfss/workflow`, where `umtfss/common/files.py` finds it."""

    def run(self) -> None:
        """Build the package, then add the workflow; an editable install reads it in place."""
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "umtfss" / "workflow"
        shutil.rmtree(target, ignore_errors=True)  # what an earlier build has left
        target.mkdir(parents=True)
        for name in WORKFLOW:
            if Path(name).is_dir():
                shutil.copytree(name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(name, target / name)


setup(cmdclass={"build_py": BuildWithWorkflow})
