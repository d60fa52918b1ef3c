"""Downloads of the official files of VOC 2012 with SBD, and of COCO 2014.

An interrupted download is resumed. Every archive is checked, unpacked and then deleted;
`downloaded.json` lists the finished archives and is written after each one.

Torchvision publishes the checksums of VOC and SBD. COCO publishes no checksums; ours are MD5 sums
that several independent projects check. The sum of the annotations also equals the ETag of COCO's
storage. We know of no such confirmation for the two image archives.
"""

import json
import logging
import re
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pooch
import requests
from backports import tarfile  # the filter is missing in Debian 12's Python 3.11.2
from tqdm import tqdm

from umtfss.common.errors import DataError, DiskSpaceError
from umtfss.common.files import remove_leftovers, write_json
from umtfss.common.locks import LOCK, only_writer

MARKER = "downloaded.json"
CHUNK_BYTES = 1 << 16
TIMEOUT_SECONDS = 60
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Archive:
    """An official file: its address and its published checksum."""

    address: str
    md5: str

    @property
    def name(self) -> str:
        """The file's name."""
        return self.address.rsplit("/", 1)[1]


ARCHIVES: dict[str, tuple[Archive, ...]] = {
    "voc2012": (
        Archive(
            "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
            "6cd6e144f989b92b3379bac3b3de84fd",
        ),
        Archive(
            "https://www2.eecs.berkeley.edu/Research/Projects/CS/vision/grouping/"
            "semantic_contours/benchmark.tgz",
            "82b4d87ceb2ed10f6038a1cba92111cb",
        ),
    ),
    "coco": (
        Archive(
            "http://images.cocodataset.org/annotations/annotations_trainval2014.zip",
            "0a379cfc70b0e71301e0f377548639bd",
        ),
        Archive(
            "http://images.cocodataset.org/zips/val2014.zip", "a3d79f5ed8d289b7a7554ce06a5782b3"
        ),
        Archive(
            "http://images.cocodataset.org/zips/train2014.zip", "0da8c0bd3d6becc4dcb32757491aca88"
        ),
    ),
}


def download(kind: str, root: Path) -> dict[str, str]:
    """Fetch and unpack the official files of a data set, and return the checksum of each file.

    Files that `downloaded.json` lists are not fetched again. A folder that holds files but no
    `downloaded.json` is the user's own and left alone.

    Args:
        kind: "voc2012" or "coco".
        root: The data set's own folder.

    Returns:
        Name of the archive -> "md5:<checksum>".

    Raises:
        DataError: A server refuses, a connection breaks, a checksum differs, or an archive would
            write outside `root`.
        DiskSpaceError: An archive does not fit on the disk.
    """
    return fetch(ARCHIVES[kind], Path(root))


def fetch(archives: tuple[Archive, ...], root: Path) -> dict[str, str]:
    """Fetch and unpack archives in `root`, and return the checksum of each (see `download`)."""
    marker = root / MARKER
    if root.is_dir():
        remove_leftovers(root)
    if not marker.is_file() and root.is_dir() and {one.name for one in root.iterdir()} - {LOCK}:
        logger.info("%s was not downloaded by us, so nothing is fetched into it", root)
        return {}
    with only_writer(root):
        done = json.loads(marker.read_text(encoding="utf-8")) if marker.is_file() else {}
        write_json(marker, done)
        for archive in archives:
            checksum = f"md5:{archive.md5}"
            if done.get(archive.name) == checksum:
                continue
            path = _retrieve(archive, checksum, root)
            _unpack(path, root)
            done[archive.name] = checksum
            write_json(marker, done)
            path.unlink()
        return done


def _retrieve(archive: Archive, checksum: str, root: Path) -> Path:
    def resume(address: str, output: str, _pooch: object) -> None:
        part = root / f"{archive.name}.part"
        _continue_download(address, part)
        shutil.move(part, output)  # pooch checks it there; if it is wrong, nothing stays

    try:
        return Path(
            pooch.retrieve(
                archive.address,
                known_hash=checksum,
                fname=archive.name,
                path=root,
                downloader=resume,
            )
        )
    except requests.RequestException as error:
        raise DataError(
            f"{archive.address} cannot be fetched ({error})",
            fix="run again, it goes on where it stopped; or fetch the file by other means, put it "
            f"at {root / archive.name} and run again",
        ) from error
    except ValueError as error:
        raise DataError(
            f"{archive.address} is not the published file",
            expected=checksum,
            found=str(error),
            fix="run again; if it stays so, the file was replaced: fetch the published one by "
            f"other means and put it at {root / archive.name}",
        ) from error


def _continue_download(address: str, part: Path) -> None:
    """Fetch the rest of the file at `address` that `part` lacks."""
    have = part.stat().st_size if part.is_file() else 0
    # Without "identity" a server may compress, and ranges would count compressed bytes.
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={have}-"} if have else {})}
    with requests.get(address, headers=headers, stream=True, timeout=TIMEOUT_SECONDS) as response:
        if response.status_code == requests.codes.requested_range_not_satisfiable:
            if _total(response) == have:
                return  # it was complete
            part.unlink()
            _continue_download(address, part)
            return
        response.raise_for_status()
        if response.status_code != requests.codes.partial_content:
            have = 0  # the server sends the whole file
        length = response.headers.get("Content-Length")
        missing = int(length) if length is not None else None
        free = shutil.disk_usage(part.parent).free
        if missing is not None and missing > free:
            raise DiskSpaceError(
                f"{address} does not fit on the disk of {part.parent}",
                expected=f"{missing / 1e9:.1f} GB, and as much again to unpack it",
                found=f"{free / 1e9:.1f} GB free",
                fix="free some space and run again",
            )
        total = None if missing is None else have + missing
        bar = tqdm(total=total, initial=have, desc=part.stem, unit="B", unit_scale=True)
        with open(part, "ab" if have else "wb") as stream, bar:
            for chunk in response.iter_content(CHUNK_BYTES):
                stream.write(chunk)
                bar.update(len(chunk))


def _total(response: requests.Response) -> int | None:
    """The size of the whole file, from a header such as `Content-Range: bytes */1234`."""
    match = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


def _unpack(path: Path, root: Path) -> None:
    """Unpack a tar or zip archive; no member may leave `root`."""
    logger.info("unpacking %s", path)
    try:
        if path.suffix == ".zip":
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if not (root / member).resolve().is_relative_to(root.resolve()):
                        raise zipfile.BadZipFile(f"{member!r} is outside the destination")
                archive.extractall(root)
        else:
            with tarfile.open(path) as archive:
                archive.extractall(root, filter="data")
    except (tarfile.TarError, zipfile.BadZipFile, OSError) as error:
        raise DataError(
            f"{path} cannot be unpacked ({error})",
            expected="an archive whose members stay in its folder, and space for them",
            fix="free some space, or delete it and run again",
        ) from error
