"""Golden numbers: what the released models compute on small made-up inputs."""

import os
from pathlib import Path

import numpy as np

from tests.shared_files import absent

TESTS = Path(__file__).resolve().parent
ELSEWHERE = TESTS.parent.parent / "shared" / "golden"
COMMITTED = TESTS / "golden"
REDUCED = ("umtfss", "cyctr", "pfenet")  # of these, tests/golden has a part


SHARED = ("inputs/query_layer4", "inputs/support_layer4")  # by the reduced files


def golden(name: str, reduced: bool = False) -> dict[str, np.ndarray]:
    """The arrays of `golden_<name>.npz` by key, e.g. "split/mask".

    The file is looked for in the folder that UMTFSS_GOLDEN names, then in ../shared/golden beside
    the project, then in tests/golden. Where no folder has the file, see `absent`.

    Args:
        name: "masksplit", "miou", "umtfss", "cyctr" or "pfenet".
        reduced: Whether the file of tests/golden is meant, which lacks the largest arrays.
    """
    named = os.environ.get("UMTFSS_GOLDEN")
    folders = [*([Path(named)] if named else []), ELSEWHERE, COMMITTED]
    if name in REDUCED:
        folders = [COMMITTED] if reduced else folders[:-1]
    for folder in folders:
        path = folder / f"golden_{name}.npz"
        if path.is_file():
            with np.load(path) as file:
                found = dict(file)
            if reduced:
                with np.load(folder / "golden_umtfss.npz") as file:
                    found |= {key: file[key].astype(np.float32) / 4 for key in SHARED}
            return found
    looked = ", ".join(map(str, folders))
    absent(f"no golden_{name}.npz in {looked}; set UMTFSS_GOLDEN to the folder that has it")
