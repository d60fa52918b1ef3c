"""The server of the page: on this machine alone."""

import secrets
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from tqdm import tqdm

from umtfss.common.errors import ConfigError, DataError
from umtfss.common.locks import only_writer
from umtfss.data.folder import FolderDataset
from umtfss.predict.photos import check_folder
from umtfss.predict.segmenter import Segmenter
from umtfss.predict.serve.finder import Finder
from umtfss.predict.serve.session import Session

HOST = "127.0.0.1"


def serve(
    segmenters: Mapping[str, Segmenter],
    paths: Sequence[Path],
    folder: Path,
    port: int,
    report: Callable[[str], None],
) -> None:
    """Serve the page until the process is interrupted.

    Args:
        segmenters: Name -> what finds objects; of several, the best for each search.
        paths: Photos to begin with, or folders of them.
        folder: Where the session is kept.
        port: Where the page is; 0: any that is free.
        report: Takes the address of the page.

    Raises:
        ConfigError: A package is missing, or the port is taken.
        DataError: A path holds no photo, or nothing can be written to the folder.
        StoreError: Another process serves from the folder.
    """
    try:
        import uvicorn

        from umtfss.predict.serve.application import application
    except ImportError as error:
        raise ConfigError(
            "the page needs packages that are not installed",
            expected="the extra `serve`: starlette and uvicorn",
            found=str(error),
            fix="pip install 'umtfss[serve]'",
        ) from error
    named = list(_photos(paths, folder))
    check_folder(folder)
    with only_writer(folder), _listening(port) as listening:
        for one in segmenters.values():
            one.features_folder = folder / "features"
        session = Session(folder, next(iter(segmenters.values())).recipe.superpixels)
        problems = list(_add(session, named))
        secret = secrets.token_urlsafe(12)
        app = application(session, Finder(session, segmenters), secret, problems)
        config = uvicorn.Config(
            app, log_config=None, lifespan="off", server_header=False, timeout_graceful_shutdown=1
        )
        report(f"http://{HOST}:{listening.getsockname()[1]}/{secret}/")
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])


def _photos(paths: Sequence[Path], folder: Path) -> Iterator[tuple[Path, str]]:
    """Every photo and its name; what lies in the session's folder is left out."""
    own = folder.resolve()
    for path in paths:
        if path.is_dir():
            found = [(path / one, one) for one in FolderDataset("photos", path).ids("all")]
            yield from (one for one in found if own not in one[0].resolve().parents)
        elif path.is_file():
            yield path, path.name
        else:
            raise DataError(
                f"{path} is no photo and no folder of photos",
                found="nothing there",
                fix="correct the path",
            )


def _add(session: Session, named: Sequence[tuple[Path, str]]) -> Iterator[str]:
    """Add photos that the session has not, and yield why others cannot be added."""
    known = {photo.path for photo in session.photos.values()}
    new = [(path, name) for path, name in named if path.resolve() not in known]
    for path, name in tqdm(new, unit="photo", disable=len(new) < 2):
        try:
            session.add_file(path, name)
        except DataError as error:
            yield str(error)


def _listening(port: int) -> socket.socket:
    """A socket that listens on this machine alone."""
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
    except OSError as error:
        found.close()
        raise ConfigError(
            f"the page cannot be at port {port} ({error.strerror})",
            expected="a port that no other program has",
            fix="give another --port",
        ) from error
    return found
