"""Files that are whole or absent."""

import json

import pytest

from umtfss.common.errors import StoreError
from umtfss.common.files import PACKAGE_ROOT, atomic_path, read_json, write_json


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
        ('{"kind":', "is not JSON", "delete it and run make it"),
        ("[1]", "is no mapping", "delete it and run make it"),
        ('{"kind": "list", "version": 1}', "wrong version for a list", "delete it and run make it"),
        ('{"version": 2}', "wrong kind for a list", "delete it and run make it"),
    ],
)
def test_other_json_is_refused(tmp_path, text, message, fix):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(StoreError, match=message) as caught:
        read_json(path, "a list", {"kind": "list", "version": 2}, make="make it")
    assert str(path) in str(caught.value)
    assert caught.value.fix == fix
