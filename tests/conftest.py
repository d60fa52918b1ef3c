"""Fixtures that every test folder shares."""

import os
from pathlib import Path

import pytest

from tests.shared_files import absent

# Two test processes on two cores: more threads only wait for each other. Commands inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def native_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the CPU compute in bf16, slowly where the processor lacks it."""
    monkeypatch.setattr("umtfss.common.device.processor_has_bf16", lambda: True)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder of real data sets; see `absent` where there is none."""
    root = Path(os.environ.get("UMTFSS_DATA_ROOT", ROOT.parent / "shared" / "data"))
    if not (root / "voc2012").is_dir():
        absent(f"no real images at {root}; set UMTFSS_DATA_ROOT")
    return root
