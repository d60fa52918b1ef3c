"""Files that are whole or absent."""

import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from umtfss.common.errors import StoreError
from umtfss.common.files import (
    PACKAGE_ROOT,
    atomic_path,
    host_name,
    read_json,
    remove_leftovers,
    temporary_folder,
    write_json,
)

AGAIN = "delete {path} and run make it"


def test_the_root_is_the_folder_of_the_snakefile():
    assert (PACKAGE_ROOT / "Snakefile").is_file()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_suffix_is_kept_for_writers_that_look_at_it(tmp_path):
    with atomic_path(tmp_path / "deep" / "b.png") as temporary:
        assert temporary.suffix == ".png"
        temporary.write_bytes(b"x")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["b.png"]


def test_json_keeps_the_order_of_keys_one_a_line(tmp_path):
    value = {"b": [1.5, None], "a": {"x": "y"}}
    write_json(tmp_path / "deep/a.json", value)
    text = (tmp_path / "deep/a.json").read_text()
    assert json.loads(text) == value
    assert text.index('\n "b"') < text.index('\n "a"')
    assert text.endswith("}\n")


def test_json_that_cannot_be_written_leaves_nothing(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"a": object()})
    assert list(tmp_path.iterdir()) == []


def test_json_that_says_what_it_is_is_read(tmp_path):
    write_json(tmp_path / "a.json", {"kind": "list", "version": 2, "items": [1]})
    marks = {"kind": "list", "version": 2}
    assert read_json(tmp_path / "a.json", "a list", marks, make="make it")["items"] == [1]


@pytest.mark.parametrize(
    ("text", "message", "fix"),
    [
        (None, "does not exist", "run make it"),
        ('{"kind":', "is not JSON", AGAIN),
        ("[1]", "is no mapping", AGAIN),
        (
            '{"kind": "list", "version": 1}',
            "wrong version for a list",
            AGAIN,
        ),
        ('{"version": 2}', "wrong kind for a list", AGAIN),
    ],
)
def test_other_json_is_refused(tmp_path, text, message, fix):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StoreError, match=message) as caught:
        read_json(path, "a list", {"kind": "list", "version": 2}, make="make it")
    assert str(path) in str(caught.value)
    assert caught.value.fix == fix.format(path=path)


def test_a_temporary_name_is_never_that_of_another_writer(tmp_path):
    with atomic_path(tmp_path / "a.txt") as one, atomic_path(tmp_path / "a.txt") as two:
        assert one != two
        one.write_text("1")
        two.write_text("2")
    assert (tmp_path / "a.txt").read_text() == "1"  # the outer one ended last


def test_the_longest_name_has_a_temporary_one(tmp_path):
    path = tmp_path / f"{'ü' * 125}.png"
    with atomic_path(path) as temporary:
        temporary.write_bytes(b"x")
    assert path.read_bytes() == b"x"


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o007, 0o660)])
def test_the_mode_follows_the_umask_whatever_the_writer_sets(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes(b"x")
            temporary.chmod(0o600)
        with atomic_path(tmp_path / "b") as temporary:  # as of a download that is moved
            other = tmp_path / "other"
            other.touch(0o600)
            other.replace(temporary)
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in "ab"] == [mode, mode]


def killed_writer(folder: Path) -> str:
    """Name of the temporary file of a process that was killed while it wrote."""
    code = (
        "import os, sys; from umtfss.common.files import atomic_path\n"
        "with atomic_path(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, folder / "a.txt"], check=False)
    (name,) = (path.name for path in folder.glob(".a.*"))
    return name


def test_what_a_killed_writer_left_goes_with_the_next_writing(tmp_path):
    name = killed_writer(tmp_path)
    half_made = tmp_path / name.replace(".a.", ".model.")
    half_made.mkdir()
    (half_made / "part").touch()
    kept = [
        f".a.{host_name()}-{os.getpid()}-00000000.partial.txt",  # it writes
        name.replace(host_name(), "elsewhere"),  # it may write
        ".a.partial.txt",  # it is not ours
    ]
    for other in kept:
        (tmp_path / other).touch()
    old = tmp_path / name.replace(host_name(), "long-ago")
    old.touch()
    os.utime(old, (0, 0))
    with atomic_path(tmp_path / "b.txt") as temporary:
        temporary.touch()
    assert {path.name for path in tmp_path.iterdir()} == {"b.txt", *kept}


def test_a_file_of_an_earlier_process_of_the_same_number_goes(tmp_path):
    left = tmp_path / f".a.{host_name()}-{os.getpid()}-00000000.partial.txt"
    left.touch()
    os.utime(left, (0, 0))
    remove_leftovers(tmp_path)
    assert not left.exists()


def test_a_temporary_folder_goes_at_the_end_and_after_a_failure(tmp_path):
    with temporary_folder(tmp_path / "deep/model") as folder:
        assert folder.parent == tmp_path / "deep"
        (folder / "a").touch()
    assert list((tmp_path / "deep").iterdir()) == []


def fill(path: Path) -> None:
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        for _ in range(9):
            stream.write(bytes(10**6))


def fill_with_hdf5(path: Path) -> None:
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        for name in "abc":
            file[name] = np.random.default_rng(0).random(10**6)


def fill_with_safetensors(path: Path) -> None:
    with atomic_path(path) as temporary:
        save_file({"a": np.zeros(10**6)}, temporary)


def fill_with_torch(path: Path) -> None:
    with atomic_path(path) as temporary:
        torch.save({"a": torch.zeros(10**6)}, temporary)


@pytest.mark.parametrize("writer", [fill, fill_with_hdf5, fill_with_safetensors, fill_with_torch])
def test_a_file_that_finds_no_space_is_named(tmp_path, writer):
    """A limit of the file's size stands for a full disk: writers meet both in the same calls."""
    code = (
        "import resource, signal, sys; from pathlib import Path\n"
        f"from tests.unit.common.test_files import {writer.__name__} as writer\n"
        "from umtfss.common.log import job_log\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))\n"
        "with job_log(): writer(Path(sys.argv[1]))"
    )
    path = tmp_path / "a.bin"
    done = subprocess.run(
        [sys.executable, "-c", code, path], cwd=PACKAGE_ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert f"DiskSpaceError: {path} cannot be written: File too large" in lines[0]
    assert lines[1].startswith("  expected: space for more than ")
    assert len(lines) == 4
    assert list(tmp_path.iterdir()) == []


def test_json_that_is_cut_within_a_character_is_named(tmp_path):
    (tmp_path / "a.json").write_bytes('{"kind": "ü'.encode()[:-1])
    with pytest.raises(StoreError, match="is no UTF-8 text: byte 10 cannot be read") as caught:
        read_json(tmp_path / "a.json", "a list", {}, make="make it")
    assert caught.value.fix == f"delete {tmp_path / 'a.json'} and run make it"
