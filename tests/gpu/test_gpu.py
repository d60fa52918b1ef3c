"""The checks of a GPU: `pytest -m gpu`. Measurements are `python -m benchmarks.gpu`."""

import os
import sys

import pytest
import torch

from umtfss.common.files import PACKAGE_ROOT

sys.path.append(str(PACKAGE_ROOT))  # benchmarks/ is not part of the installed package

from benchmarks.gpu import correct
from benchmarks.gpu.report import BAD, Setup

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when CUDA starts

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA device"),
]


@pytest.mark.parametrize(
    "part",
    [
        correct.models,
        correct.mixed,
        correct.repeated,
        correct.jobs,
        correct.distributed,
        correct.optional_packages,
    ],
    ids=lambda part: part.__name__,
)
def test_a_gpu_computes_what_the_cpu_computes(part, tmp_path):
    rows = list(part(Setup("cuda", small=False, folder=tmp_path)))
    assert rows
    assert [row for row in rows if row.verdict in BAD] == []
