"""Files that a checkout may lack: a test without them is skipped, or fails where they must be."""

import os
from typing import NoReturn

import pytest

REQUIRED = "UMTFSS_REQUIRE_DATA"


def absent(message: str) -> NoReturn:
    """End a test whose files are not there: fail if `$UMTFSS_REQUIRE_DATA` is 1, skip if not."""
    if os.environ.get(REQUIRED) == "1":
        pytest.fail(f"{message}; {REQUIRED} is 1")
    pytest.skip(message)
