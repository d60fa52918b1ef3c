"""The formulas that are made wrong on purpose are those of the package."""

import pytest

from tests.mutations import MUTATIONS
from umtfss.common.files import PACKAGE_ROOT


@pytest.mark.parametrize("source", sorted({one.source for one in MUTATIONS}))
def test_every_text_stands_once_in_its_file(source):
    text = (PACKAGE_ROOT / source).read_text()
    own = [one for one in MUTATIONS if one.source == source]
    assert [one.old for one in own if text.count(one.old) != 1] == []
    assert all((PACKAGE_ROOT / "tests/unit" / one.test).is_file() for one in own)
