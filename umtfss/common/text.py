"""Text files as editors write them: UTF-8, also with a byte-order mark, or UTF-16 with one."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from umtfss.common.errors import UmtfssError


def read_text(path: str | Path, error: type[UmtfssError], *, utf16: bool = True) -> str:
    """The text of a user's file.

    Args:
        path: The file.
        error: The class of the error for a file that cannot be read.
        utf16: Whether UTF-16 is read, too.

    Raises:
        UmtfssError: The file cannot be read, or is neither UTF-8 nor marked as UTF-16.
    """
    try:
        content = Path(path).read_bytes()
        marked = utf16 and content.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
        return content.decode("utf-16" if marked else "utf-8-sig")
    except OSError as problem:
        fix = "make it readable for this account"
        raise error(f"{path} cannot be read ({problem.strerror})", fix=fix) from problem
    except UnicodeDecodeError as problem:
        raise error(
            f"{path} is no text in UTF-8",
            found=f"byte {problem.start}: {problem.reason}",
            fix="save it as UTF-8",
        ) from problem
