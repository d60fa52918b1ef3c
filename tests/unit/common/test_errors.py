"""What an error says."""

import pytest

from umtfss.common import errors
from umtfss.common.errors import ConfigError, UmtfssError


def test_an_error_says_what_is_wrong_expected_found_and_to_do():
    error = ConfigError("a.b: out of range", expected="a number > 0", found=0, fix="raise it")
    assert str(error).splitlines() == [
        "a.b: out of range",
        "  expected: a number > 0",
        "  found:    0",
        "  to do:    raise it",
    ]
    assert (error.expected, error.found, error.fix) == ("a number > 0", 0, "raise it")


def test_what_is_not_known_is_left_out():
    assert str(ConfigError("a.b: unknown key")) == "a.b: unknown key"


@pytest.mark.parametrize("name", [name for name in vars(errors) if name.endswith("Error")])
def test_every_error_is_one_that_a_user_can_mend(name):
    assert issubclass(getattr(errors, name), UmtfssError)
