"""HDF5 files that are not what they should be are refused with the command that makes them."""

from pathlib import Path

import h5py
import pytest

from umtfss.common.errors import StoreError
from umtfss.common.files import PACKAGE_ROOT
from umtfss.common.hdf5 import FileKind

CENTRES = FileKind("centres", 2, "a file of cluster centres", "all_clustering")


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
        FileKind("episodes", 2, "a file of episodes", "all_episodes"),
        FileKind("centres", 1, "a file of cluster centres", "all_clustering"),
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


@pytest.mark.parametrize(
    ("path", "command"),
    [
        ("elsewhere/a.h5", "snakemake --cores all all_clustering"),
        (
            "results/tiny/clustering/shapes/a.h5",
            "snakemake --cores all --config experiment=tiny -- all_clustering",
        ),
    ],
)
def test_the_command_names_the_experiment_of_the_path(path, command):
    assert CENTRES.command(path) == command
