"""The hooks of mkdocs: pages of files outside `docs/`, links between all pages, the API reference.

Links in the pages are those of the repository, so that they work on a forge, too.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
# File of the repository -> page of the site; a file of docs/ keeps its path.
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/README.md": "benchmarks.md",
}
FOLDERS = {"docs/history": "history/accuracy_log.md"}  # which a forge lists
LINK = re.compile(r"(?<=\]\()(?!\w+:|#)([^)#\s]+)")
API = "api/"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add a page for every package to the end of the navigation."""
    config.nav.append({"API reference": [API + name for name in _references()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are no file of `docs/`."""
    pages = {page: (ROOT / source).read_text() for source, page in PAGES.items()}
    pages |= {API + name: text for name, text in _references().items()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """The page with links to other pages of the site instead of files of the repository."""
    place = page.file.src_uri
    sources = {target: source for source, target in PAGES.items()}
    folder = posixpath.dirname(sources.get(place, f"docs/{place}"))

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, match[1]))
        path = {**PAGES, **FOLDERS}.get(target, target.removeprefix("docs/"))
        return posixpath.relpath(path, posixpath.dirname(place) or ".")

    return LINK.sub(moved, markdown)


def _references() -> dict[str, str]:
    """Page -> text of the API reference: a page for every package, a part for every module."""
    parts: dict[str, list[str]] = {}
    for path in sorted((ROOT / "umtfss").rglob("[!_]*.py")):
        module = path.relative_to(ROOT).with_suffix("").parts
        parts.setdefault(module[1], []).append(".".join(module))
    return {
        f"{package}.md": f"# {package}\n\n" + "\n\n".join(f"::: {name}" for name in modules) + "\n"
        for package, modules in parts.items()
    }
