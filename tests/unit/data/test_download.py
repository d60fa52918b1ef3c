"""Downloads from a local server that knows ranges and can break off."""

import hashlib
import io
import json
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from umtfss.common.errors import DataError, DiskSpaceError
from umtfss.common.files import host_name
from umtfss.data import download as module
from umtfss.data.download import ARCHIVES, MARKER, Archive, download, fetch


class Server(ThreadingHTTPServer):
    """Serves `files`; records requests; `stop_after` bytes it drops the connection, or stalls."""

    files: dict[str, bytes]
    requests: list[tuple[str, str | None]]
    stop_after: int | None = None
    stalls = threading.Event()
    ranges = True

    @property
    def address(self):
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers with a file or a part of it."""

    def do_GET(self):
        """Send what the request asks for."""
        server, asked = self.server, self.headers.get("Range")
        server.requests.append((self.path, asked))
        content = server.files.get(self.path)
        if content is None:
            self.send_error(404)
            return
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked and server.ranges else 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        if start:
            whole = len(content)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        self.end_headers()
        stop = len(content) if server.stop_after is None else start + server.stop_after
        self.wfile.write(content[start:stop])
        if server.stalls.is_set():
            self.wfile.flush()
            server.over.wait(10)

    def log_message(self, *args):
        """Stay quiet."""


@pytest.fixture
def server():
    server = Server(("127.0.0.1", 0), Handler)
    server.files, server.requests, server.over = {}, [], threading.Event()
    server.stalls.clear()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


def tar(**members):
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return stream.getvalue()


def zipped(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return stream.getvalue()


def serve(server, name, content, md5=None):
    server.files[f"/{name}"] = content
    return Archive(f"{server.address}/{name}", md5 or hashlib.md5(content).hexdigest())


BIG = np.random.default_rng(0).bytes(500_000)


@pytest.fixture
def archive(server):
    return serve(server, "a.tgz", tar(**{"inner/a.bin": BIG}))


def left(root):
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_files_are_fetched_unpacked_and_marked(server, archive, tmp_path):
    second = serve(server, "b.zip", zipped(**{"inner/b.txt": b"b"}))
    root = tmp_path / "data"
    done = fetch((archive, second), root)
    assert left(root) == [MARKER, "inner/a.bin", "inner/b.txt"]
    assert (root / "inner" / "a.bin").read_bytes() == BIG
    assert done == {"a.tgz": f"md5:{archive.md5}", "b.zip": f"md5:{second.md5}"}
    assert json.loads((root / MARKER).read_text()) == done


def test_second_call_fetches_nothing(server, archive, tmp_path):
    first = fetch((archive,), tmp_path / "data")
    server.requests.clear()
    assert fetch((archive,), tmp_path / "data") == first
    assert server.requests == []


def test_broken_download_goes_on_where_it_stopped(server, archive, tmp_path):
    server.stop_after = 200_000
    with pytest.raises(DataError, match=r"a\.tgz cannot be fetched(?s:.*)run again"):
        fetch((archive,), tmp_path / "data")
    have = (tmp_path / "data" / "a.tgz.part").stat().st_size
    assert 100_000 < have <= 200_000
    server.stop_after = None
    fetch((archive,), tmp_path / "data")
    assert server.requests[-1] == ("/a.tgz", f"bytes={have}-")
    assert (tmp_path / "data" / "inner" / "a.bin").read_bytes() == BIG


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("size", ["part", "whole", "more"])
def test_any_left_over_part_ends_in_the_right_file(server, archive, tmp_path, ranges, size):
    content = server.files["/a.tgz"]
    server.ranges = ranges
    fetch((), tmp_path / "data")
    rest = {"part": content[:500], "whole": content, "more": content + b"junk"}[size]
    (tmp_path / "data" / "a.tgz.part").write_bytes(rest)
    fetch((archive,), tmp_path / "data")
    assert left(tmp_path / "data") == [MARKER, "inner/a.bin"]


def test_wrong_checksum_leaves_nothing_behind(server, tmp_path):
    archive = serve(server, "a.tgz", tar(a=b"other"), md5="0" * 32)
    with pytest.raises(DataError, match=r"not the published file(?s:.*)md5:0000"):
        fetch((archive,), tmp_path / "data")
    assert left(tmp_path / "data") == [MARKER]
    assert json.loads((tmp_path / "data" / MARKER).read_text()) == {}


def test_absent_file_is_named_with_its_status(server, tmp_path):
    archive = Archive(f"{server.address}/gone.zip", "0" * 32)
    with pytest.raises(DataError, match=r"gone\.zip cannot be fetched \(404"):
        fetch((archive,), tmp_path / "data")


def test_what_came_before_a_failure_is_not_fetched_again(server, archive, tmp_path):
    gone = Archive(f"{server.address}/gone.zip", "0" * 32)
    with pytest.raises(DataError):
        fetch((archive, gone), tmp_path / "data")
    server.requests.clear()
    with pytest.raises(DataError):
        fetch((archive, gone), tmp_path / "data")
    assert [path for path, _ in server.requests] == ["/gone.zip"]


@pytest.mark.parametrize("member", ["../evil.txt", "a/../../evil.txt"])
@pytest.mark.parametrize(("name", "pack"), [("evil.tgz", tar), ("evil.zip", zipped)])
def test_members_outside_the_folder_are_refused(server, tmp_path, name, pack, member):
    archive = serve(server, name, pack(**{member: b"evil"}))
    with pytest.raises(DataError, match=r"cannot be unpacked .*outside the destination"):
        fetch((archive,), tmp_path / "data")
    assert not (tmp_path / "evil.txt").exists()
    assert json.loads((tmp_path / "data" / MARKER).read_text()) == {}


def test_absolute_zip_members_are_refused(server, tmp_path):
    archive = serve(server, "evil.zip", zipped(**{str(tmp_path / "evil.txt"): b"evil"}))
    with pytest.raises(DataError, match="outside the destination"):
        fetch((archive,), tmp_path / "data")
    assert not (tmp_path / "evil.txt").exists()


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc"),
        (tarfile.SYMTYPE, "inner/../.."),
        (tarfile.LNKTYPE, "../secret.txt"),
        (tarfile.FIFOTYPE, ""),
        (tarfile.CHRTYPE, ""),
    ],
    ids=["link", "link upwards", "hard link", "pipe", "device"],
)
def test_tar_links_out_of_the_folder_and_devices_are_refused(server, tmp_path, kind, target):
    (tmp_path / "secret.txt").write_text("secret")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        link = tarfile.TarInfo("door")
        link.type, link.linkname = kind, target
        archive.addfile(link)
        through = tarfile.TarInfo("door/evil.txt")
        archive.addfile(through, io.BytesIO())
    with pytest.raises(DataError, match="cannot be unpacked"):
        fetch((serve(server, "evil.tar", stream.getvalue()),), tmp_path / "data")
    door = tmp_path / "data" / "door"
    assert not door.is_symlink()
    assert not door.exists()


def test_a_link_in_a_zip_archive_is_a_plain_file(server, tmp_path):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        link = zipfile.ZipInfo("door")
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, str(tmp_path))
    fetch((serve(server, "evil.zip", stream.getvalue()),), tmp_path / "data")
    assert not (tmp_path / "data" / "door").is_symlink()
    assert (tmp_path / "data" / "door").read_text() == str(tmp_path)


def test_a_transfer_that_stalls_ends_and_goes_on(server, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.2)
    server.stop_after = 200_000
    server.stalls.set()
    with pytest.raises(DataError, match=r"a\.tgz cannot be fetched(?s:.*)timed out"):
        fetch((archive,), tmp_path / "data")
    assert (tmp_path / "data" / "a.tgz.part").stat().st_size > 100_000
    server.stalls.clear()
    server.stop_after = None
    fetch((archive,), tmp_path / "data")
    assert (tmp_path / "data" / "inner" / "a.bin").read_bytes() == BIG


def test_archive_that_is_none_is_named(server, tmp_path):
    with pytest.raises(DataError, match=r"a\.zip cannot be unpacked"):
        fetch((serve(server, "a.zip", b"no zip"),), tmp_path / "data")


def test_file_fetched_by_other_means_is_taken(server, archive, tmp_path):
    fetch((), tmp_path / "data")
    (tmp_path / "data" / "a.tgz").write_bytes(server.files["/a.tgz"])
    fetch((archive,), tmp_path / "data")
    assert server.requests == []
    assert left(tmp_path / "data") == [MARKER, "inner/a.bin"]


def test_folder_of_the_user_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    assert download("coco", tmp_path) == {}
    assert left(tmp_path) == ["mine.txt"]


def test_a_marker_that_a_killed_process_left_half_written_blocks_nothing(server, archive, tmp_path):
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], stdout=-1)
    process = int(gone.stdout)
    (tmp_path / f".downloaded.{host_name()}-{process}-0123abcd.partial.json").touch()
    fetch((archive,), tmp_path)
    assert left(tmp_path) == [MARKER, "inner/a.bin"]


def test_full_disk_is_noticed_before_writing(server, archive, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})
    monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(DiskSpaceError, match=r"a\.tgz does not fit"):
        fetch((archive,), tmp_path / "data")


def test_official_files_have_checksums():
    assert set(ARCHIVES) == {"voc2012", "coco"}
    for archives in ARCHIVES.values():
        for archive in archives:
            assert len(bytes.fromhex(archive.md5)) == 16
            assert archive.name.endswith((".tar", ".tgz", ".zip"))
