"""A session with a backbone that sees colours."""

import pytest

from tests.unit.predict.drawn import BLUE, photo
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.predict.serve.session import Session

SUPERPIXELS = PseudoMasksConfig(scale=100, min_size=50)
RED_BOX, BLUE_BOX = (20, 20, 100, 80), (100, 0, 180, 60)


@pytest.fixture
def drawn(tmp_path):
    """A folder of three photos of 200 x 120 px: a red box, another red box, a blue box."""
    folder = tmp_path / "drawn"
    photo(folder / "one.png", RED_BOX)
    photo(folder / "two.png", (60, 30, 160, 110))
    photo(folder / "blue.png", BLUE_BOX, colour=BLUE)
    return folder


@pytest.fixture
def session(tmp_path) -> Session:
    """A new session without photos."""
    return Session(tmp_path / "served", SUPERPIXELS)


@pytest.fixture
def filled(session, drawn) -> Session:
    """A session with three photos and the object `red`."""
    for name in ("one.png", "two.png", "blue.png"):
        session.add_file(drawn / name, name)
    session.add_object("red")
    return session
