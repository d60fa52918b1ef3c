"""The log of a job: where it goes, and how an error ends."""

import errno
import logging

import pytest

from umtfss.common.errors import DataError
from umtfss.common.log import job_log


def fail(path, error: Exception) -> None:
    """A job that raises."""
    with job_log(path):
        raise error


def test_lines_go_to_the_file_and_to_standard_error(tmp_path, capsys):
    path = tmp_path / "deep/a.log"
    path.parent.mkdir()
    path.write_text("of an earlier job\n")
    with job_log(path):
        logging.getLogger("umtfss.data.index").info("3 images")
    assert path.read_text().endswith(" INFO 3 images\n")
    assert "earlier" not in path.read_text()
    assert "3 images" in capsys.readouterr().err


def test_an_error_of_the_user_is_told_without_a_traceback(tmp_path):
    with pytest.raises(SystemExit) as caught:
        fail(tmp_path / "a.log", DataError("x.png is broken", fix="fetch it again"))
    assert caught.value.code == 1
    text = (tmp_path / "a.log").read_text()
    assert "DataError: x.png is broken\n  to do:    fetch it again\n" in text
    assert "Traceback" not in text


def test_an_unexpected_error_is_told_with_its_traceback(tmp_path):
    with pytest.raises(ValueError, match="odd"):
        fail(tmp_path / "a.log", ValueError("odd"))
    assert "Traceback" in (tmp_path / "a.log").read_text()


def test_a_full_disk_is_told_in_a_line_and_another_error_with_its_traceback(tmp_path):
    with pytest.raises(SystemExit):
        fail(tmp_path / "a.log", OSError(errno.ENOSPC, "No space left on device", "x/log.csv"))
    told = (tmp_path / "a.log").read_text()
    assert told.count("\n") == 1
    assert "DiskSpaceError: x/log.csv cannot be written: No space left on device" in told
    with pytest.raises(OSError, match="denied"):
        fail(tmp_path / "b.log", OSError(errno.EACCES, "Permission denied", "x/log.csv"))
    assert "Traceback" in (tmp_path / "b.log").read_text()


def test_a_log_on_a_full_disk_hides_no_line_and_no_error(capsys):
    with pytest.raises(SystemExit):
        fail("/dev/full", DataError("x.png is broken"))
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "x.png is broken" in told


def test_a_finished_job_leaves_no_handler(tmp_path, capsys):
    before = list(logging.getLogger("umtfss").handlers)
    with job_log(tmp_path / "a.log"):
        pass
    assert logging.getLogger("umtfss").handlers == before
    with job_log():  # a terminal alone
        logging.getLogger("umtfss").info("later")
    assert (tmp_path / "a.log").read_text() == ""
    assert capsys.readouterr().err.count("later") == 1
