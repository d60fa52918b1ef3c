"""HDF5 files that are not what they should be are refused with the command that makes them."""

from pathlib import Path

import h5py
import pytest

from umtfss.common.digests import digest_file
from umtfss.common.errors import StoreError
from umtfss.common.files import PACKAGE_ROOT
from umtfss.common.hdf5 import FileKind

CENTRES = FileKind("centres", 2, "a file of cluster centres")


def written(path: Path, kind: FileKind = CENTRES) -> Path:
    """A file of a kind that holds the data set `centres`."""
    with kind.create(path) as file:
        file["centres"] = [1.0, 2.0]
    return path


def test_a_marked_file_is_read(tmp_path):
    with CENTRES.open(written(tmp_path / "a.h5")) as file:
        assert list(file["centres"]) == [1.0, 2.0]


def test_no_file_is_locked_as_shared_file_systems_often_have_no_locks(tmp_path):
    with CENTRES.create(tmp_path / "a.h5") as new:
        assert new.id.get_access_plist().get_file_locking()[0] == 0
    with CENTRES.open(tmp_path / "a.h5") as old:
        assert old.id.get_access_plist().get_file_locking()[0] == 0


def test_no_other_module_opens_hdf5_files():
    sources = {path: path.read_text() for path in (PACKAGE_ROOT / "umtfss").rglob("*.py")}
    assert [path.name for path, text in sources.items() if "h5py.File(" in text] == ["hdf5.py"]


def test_a_file_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), CENTRES.create(tmp_path / "a.h5"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "other",
    [
        FileKind("episodes", 2, "a file of episodes"),
        FileKind("centres", 1, "a file of cluster centres"),
    ],
)
def test_another_format_or_version_is_refused(tmp_path, other):
    path = written(tmp_path / "a.h5", other)
    with pytest.raises(StoreError, match="is not a file of cluster centres") as caught:
        CENTRES.open(path)
    assert caught.value.expected == ("centres", 2)
    assert caught.value.found == (other.format, other.version)
    with h5py.File(path, "a"):  # it was closed
        pass


def test_a_missing_file_and_one_that_is_no_hdf5_are_explained(tmp_path):
    with pytest.raises(StoreError, match=r"none\.h5 does not exist") as caught:
        CENTRES.open(tmp_path / "none.h5")
    assert caught.value.expected == "a file of cluster centres"
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(StoreError, match=r"text\.h5 is not an HDF5 file") as caught:
        CENTRES.open(tmp_path / "text.h5")
    assert caught.value.fix.startswith("delete it")


@pytest.mark.parametrize(("what", "named"), [("", CENTRES.holds), ("image 7", "image 7")])
def test_what_is_lost_within_a_file_is_named(tmp_path, what, named):
    path = written(tmp_path / "a.h5")
    with (
        CENTRES.open(path) as file,
        pytest.raises(StoreError, match=rf"a\.h5 is damaged: {named} cannot be read"),
        CENTRES.reading(path, what),
    ):
        file["lost"]


def test_a_file_has_a_manifest_to_which_its_writer_adds(tmp_path):
    facts: dict[str, object] = {"images": 2}
    with CENTRES.create(tmp_path / "a.h5", facts) as file:
        file["centres"] = [1.0]
        facts["digest"] = "d1"
    found = CENTRES.manifest(tmp_path / "a.h5")
    assert (found["kind"], found["digest"], found["images"]) == ("centres", "d1", 2)
    assert found["files"] == {"a.h5": digest_file(tmp_path / "a.h5")}
    assert CENTRES.manifest(written(tmp_path / "b.h5"))["digest"] == digest_file(tmp_path / "b.h5")


def test_a_checked_file_is_the_one_of_the_manifest(tmp_path):
    path = written(tmp_path / "a.h5")
    assert CENTRES.checked(tmp_path / "a.json") == CENTRES.checked(path) == path
    with pytest.raises(StoreError, match="wrong kind"):
        FileKind("episodes", 2, "a file of episodes").checked(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"a\.h5 is damaged or another file"):
        CENTRES.checked(path)
