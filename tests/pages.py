"""The commands that README and docs tell a reader to type."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from umtfss.common.files import PACKAGE_ROOT

PAGES = [
    *(PACKAGE_ROOT / name for name in ("README.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted((PACKAGE_ROOT / "docs").glob("*.md")),
]
PROGRAMS = ("make", "snakemake", "umtfss", "python", "pip", "dvc", "pytest")
# Stand-ins for what an example leaves open.
STANDS_FOR = {"<name>": "table4", "UMTFSS_FOLDER": "umtfss", " ...": " another.jpg"}


@dataclass(frozen=True)
class Command:
    """A command of a page.

    Attributes:
        page: Name of the page.
        words: The program and its arguments.
        is_whole: Whether it is to be typed as it stands; a text may name a part of a command.
    """

    page: str
    words: tuple[str, ...]
    is_whole: bool

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"


def commands(program: str) -> list[Command]:
    """The commands of all pages that call a program, each once."""
    found = [one for page in PAGES for one in _of_page(page) if one.words[0] == program]
    return list({one.words: one for one in sorted(found, key=lambda one: one.is_whole)}.values())


def _of_page(page: Path) -> list[Command]:
    text = page.read_text(encoding="utf-8")
    block = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.DOTALL | re.MULTILINE)
    lines = [
        (line, True)
        for language, body in block.findall(text)
        if language in ("", "sh", "bash")
        for line in body.replace("\\\n", " ").splitlines()
    ]
    rest = re.sub(r"`\s+", "` ", block.sub("", text))
    lines += [(" ".join(one.split()), False) for one in re.findall(r"`([^`]+)`", rest)]
    found = []
    for line, is_whole in lines:
        for example, name in STANDS_FOR.items():
            line = line.replace(example, name)
        start = line.split(maxsplit=1)[0] if line.split() else ""
        if start in PROGRAMS and start != line.strip():
            words = shlex.split(line, comments=True)
            found.append(Command(page.relative_to(PACKAGE_ROOT).as_posix(), (*words,), is_whole))
    return found
