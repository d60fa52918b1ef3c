"""Ways in which a file goes bad on a disk or by hand."""

from collections.abc import Callable
from pathlib import Path


def _changed(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(change(path.read_bytes())) and None


def _flip(content: bytes) -> bytes:
    """The content with one bit of its middle byte changed; of a JSON file, of a digit."""
    places = [at for at, byte in enumerate(content) if chr(byte).isdigit()]
    text = content.startswith(b"{")
    at = places[len(places) // 2] if text else len(content) // 2
    return content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]


def _zero(content: bytes) -> bytes:
    half = len(content) // 2
    return content[:half] + bytes(len(content) - half)


DAMAGES: dict[str, Callable[[Path], None]] = {
    "truncated": _changed(lambda content: content[: len(content) * 2 // 3]),
    "emptied": _changed(lambda content: b""),
    "flipped": _changed(_flip),
    "zeroed": _changed(_zero),
    "deleted": Path.unlink,
}


def swap(one: Path, other: Path) -> None:
    """Exchange two files or folders."""
    aside = one.with_name("aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
