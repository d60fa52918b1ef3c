"""One writer a folder, whatever became of the one before."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from umtfss.common import locks as module
from umtfss.common.errors import StoreError
from umtfss.common.files import host_name
from umtfss.common.locks import LOCK, only_writer

HOLDING = """
import sys, time
from umtfss.common.locks import only_writer
with only_writer(sys.argv[1]):
    print("holds", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that writes to the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "holds\n"
    yield process
    process.kill()
    process.wait()


def holder(path: Path, **changes) -> None:
    """Give the lock of this process to another holder."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_lock_is_gone_at_the_end_and_after_a_failure(tmp_path):
    with only_writer(tmp_path / "deep"):
        assert (tmp_path / "deep" / LOCK).is_file()
    with pytest.raises(RuntimeError), only_writer(tmp_path / "deep"):
        raise RuntimeError
    assert not list((tmp_path / "deep").iterdir())


def test_a_second_writer_is_told_of_the_first(tmp_path, other):
    with pytest.raises(StoreError, match="is being written by another process") as caught:
        only_writer(tmp_path).__enter__()
    assert str(tmp_path) in caught.value.problem
    assert f"process {other.pid} on {host_name()}, started 20" in caught.value.found


def test_the_lock_of_a_killed_writer_is_taken_over_at_once(tmp_path, other):
    other.kill()
    other.wait()
    assert (tmp_path / LOCK).is_file()
    with only_writer(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
    assert not list(tmp_path.iterdir())


def test_an_earlier_process_of_the_same_number_holds_nothing(tmp_path):
    with only_writer(tmp_path):
        holder(tmp_path / LOCK, started=1.0)
        with only_writer(tmp_path):
            pass


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"processes": "pid:[1]"}])
def test_a_holder_elsewhere_is_known_by_its_pulse(tmp_path, change, monkeypatch):
    monkeypatch.setattr(module, "PULSE_SECONDS", 0.05)
    monkeypatch.setattr(module, "LOST_SECONDS", 5.0)
    with only_writer(tmp_path):
        holder(tmp_path / LOCK, **change)
        with pytest.raises(StoreError, match="is being written"):
            only_writer(tmp_path).__enter__()
    assert (tmp_path / LOCK).is_file()  # it is another's: this process leaves it
    monkeypatch.setattr(module, "LOST_SECONDS", 0.3)
    with only_writer(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())["host"] == host_name()


@pytest.mark.parametrize("text", ["", "{", "[1]"])
def test_a_lock_that_cannot_be_read_is_taken_over_without_a_pulse(tmp_path, text, monkeypatch):
    monkeypatch.setattr(module, "LOST_SECONDS", 0.2)
    (tmp_path / LOCK).write_text(text)
    with only_writer(tmp_path):
        pass
    assert not list(tmp_path.iterdir())


def test_a_lock_that_is_given_up_meanwhile_is_free(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOST_SECONDS", 20.0)
    (tmp_path / LOCK).write_text("{")
    threading.Timer(0.2, (tmp_path / LOCK).unlink).start()
    started = time.monotonic()
    with only_writer(tmp_path):
        assert time.monotonic() - started < 10


def test_a_lock_that_is_given_up_before_its_pulse_is_asked_is_free(tmp_path, monkeypatch):
    (tmp_path / LOCK).write_text("{")
    monkeypatch.setattr(module, "_parsed", lambda _: (tmp_path / LOCK).unlink() or {})
    started = time.monotonic()
    with only_writer(tmp_path):
        assert time.monotonic() - started < 10


def slowly(module, name, monkeypatch):
    """Give another thread its turn before and behind every use of a function."""
    used = getattr(module, name)

    def slow(*arguments):
        time.sleep(random.uniform(0, 0.02))
        result = used(*arguments)
        time.sleep(random.uniform(0, 0.02))
        return result

    monkeypatch.setattr(module, name, slow)


@pytest.mark.parametrize("attempt", range(5))
def test_of_many_that_start_together_one_writes(tmp_path, attempt, monkeypatch):
    """With a dead holder's lock before them, which all want to replace, at any speed."""
    with only_writer(tmp_path):
        dead = (tmp_path / LOCK).read_text()
    (tmp_path / LOCK).write_text(json.dumps({**json.loads(dead), "started": 1.0}))
    for name in ("_text", "_is_alive", "_write_new"):
        slowly(module, name, monkeypatch)
    together, wrote, refused = threading.Barrier(8), [], []

    def write() -> None:
        together.wait(10)
        try:
            with only_writer(tmp_path):
                wrote.append(1)
                until = time.monotonic() + 60
                while len(wrote) + len(refused) < 8 and time.monotonic() < until:
                    time.sleep(0.01)
        except StoreError:
            refused.append(1)

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(wrote), len(refused)) == (1, 7)
    assert not list(tmp_path.iterdir())


def test_who_is_killed_while_taking_over_is_replaced_too(tmp_path, monkeypatch):
    with only_writer(tmp_path):
        holder(tmp_path / LOCK, started=1.0)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", lambda *_: os._exit(9))
            child = os.fork()
            if not child:
                only_writer(tmp_path).__enter__()
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
        assert len(list(tmp_path.iterdir())) == 2  # the dead holder's lock and its place
        with only_writer(tmp_path):
            assert json.loads((tmp_path / LOCK).read_text())["process"] == os.getpid()
            assert len(list(tmp_path.iterdir())) == 1
