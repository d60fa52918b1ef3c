"""Logging of one job: to the terminal and, below Snakemake, to the rule's log file."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from umtfss.common.errors import UmtfssError
from umtfss.common.files import NO_SPACE

FORMAT = "%(asctime)s %(levelname)s %(message)s"


class _LogFile(logging.FileHandler):
    """A log file whose disk may be full: the terminal has every line, too."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Leave a line out that cannot be written."""


@contextmanager
def job_log(path: str | Path | None = None) -> Iterator[logging.Logger]:
    """The package's logger; within the block it writes to standard error and to `path`.

    A `UmtfssError` is logged as its text, without a traceback, and ends the process with
    status 1: the user needs the message, not our call stack. So does a full disk.

    Args:
        path: The log file; None: standard error alone.
    """
    logger = logging.getLogger("umtfss")
    logger.setLevel(logging.INFO)
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if path is not None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        if Path(path).is_file():
            Path(path).unlink()  # an earlier job that still runs keeps its own
        handlers.append(_LogFile(path, encoding="utf-8"))
    for handler in handlers:
        handler.setFormatter(logging.Formatter(FORMAT, "%H:%M:%S"))
        logger.addHandler(handler)
    try:
        yield logger
    except UmtfssError as error:
        logger.error("%s: %s", type(error).__name__, error)
        raise SystemExit(1) from error
    except OSError as error:
        if error.errno not in NO_SPACE:
            logger.exception("unexpected error")
            raise
        reason, file = os.strerror(error.errno), error.filename or os.getcwd()
        logger.error("DiskSpaceError: %s cannot be written: %s; free some space", file, reason)
        raise SystemExit(1) from error
    except Exception:
        logger.exception("unexpected error")
        raise
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            with suppress(OSError):  # of a log on a full disk
                handler.close()
