"""One writer a folder: a file that names the writer, in folders that are written over time.

Locks of the file system would serve, but shared file systems often have none. So the holder is
known by its host, its process and the start of that process. Of a holder on another host nothing
can be asked, but a living holder touches its lock every few seconds: its pulse.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from umtfss.common.errors import StoreError
from umtfss.common.files import host_name, process_start

LOCK = ".lock"
PULSE_SECONDS = 10.0
LOST_SECONDS = 60.0  # without a pulse, after which the holder is taken for lost
SAME_START_SECONDS = 2.0


@contextmanager
def only_writer(folder: str | Path) -> Iterator[None]:
    """Be the only process that writes to a folder, within the block.

    The lock of a process that was killed is taken over: at once on its own host, else when its
    pulse has stopped.

    Raises:
        StoreError: Another process writes to the folder.
    """
    path = Path(folder) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = {
        "host": host_name(),
        "processes": _process_space(),
        "process": os.getpid(),
        "started": process_start(os.getpid()),
        "token": secrets.token_hex(8),
    }
    _take(path, json.dumps(holder))
    stop = threading.Event()
    pulse = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    pulse.start()
    try:
        yield
    finally:
        stop.set()
        pulse.join()
        if _text(path) == json.dumps(holder):  # else it was taken over meanwhile
            path.unlink(missing_ok=True)


def _take(path: Path, holder: str) -> None:
    """Write the lock; wait for the pulse of a holder of whom nothing else is known.

    Several may find the same holder dead. The first to lock its place, which is named after its
    lock, moves the new lock over the old one: the folder has a lock at every moment. The place of
    one who was killed in between is taken in the same way.
    """
    while not _write_new(path, holder):
        found = _text(path)
        if found is None:  # given up meanwhile
            continue
        if _is_alive(path, _parsed(found)):
            raise _refusal(path, _parsed(found))
        place = path.with_name(f"{path.name}.{sha256(found.encode()).hexdigest()[:8]}")
        _take(place, holder)
        if _text(path) == found:
            place.replace(path)
            return
        place.unlink()  # another was faster


def _write_new(path: Path, text: str) -> bool:
    """Write a file that is not there; False if it is."""
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return False
    with open(descriptor, "w", encoding="utf-8") as stream:
        stream.write(text)
    return True


def _is_alive(path: Path, holder: dict[str, Any]) -> bool:
    """Whether the holder still runs."""
    if (holder.get("host"), holder.get("processes")) != (host_name(), _process_space()):
        return _has_pulse(path)
    started = process_start(holder["process"])
    return started is not None and abs(started - holder["started"]) < SAME_START_SECONDS


def _has_pulse(path: Path) -> bool:
    """Whether a lock is touched, or given up, within `LOST_SECONDS`."""
    first, until = _touched(path), time.monotonic() + LOST_SECONDS
    while first is not None and time.monotonic() < until:
        time.sleep(min(1.0, LOST_SECONDS / 10))
        if (now := _touched(path)) != first:
            return now is not None
    return False


def _refusal(path: Path, holder: dict[str, Any]) -> StoreError:
    found = "an unknown process"
    if holder:
        since = datetime.fromtimestamp(holder["started"]).isoformat(" ", "seconds")
        found = f"process {holder['process']} on {holder['host']}, started {since}"
    return StoreError(
        f"{path.parent} is being written by another process",
        expected="one writer at a time",
        found=found,
        fix="wait until it has ended, or end it, and run again",
    )


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(PULSE_SECONDS):
        try:
            os.utime(path)
        except OSError:  # somebody removed it, or the disk is away: the next writer will see
            continue


def _process_space() -> str:
    """What the numbers of processes are relative to: a container counts its own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def _parsed(text: str) -> dict[str, Any]:
    """The holder; empty if the lock is cut, or not written yet."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _touched(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
