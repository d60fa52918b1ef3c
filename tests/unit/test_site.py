"""The documentation as a site: strict, offline, with the links of the repository."""

import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from umtfss.common.files import PACKAGE_ROOT


class Loaded(HTMLParser):
    """What a page loads (`loaded`) and what it links to (`linked`)."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: set[str] = set()
        self.linked: set[str] = set()

    def handle_starttag(self, tag, attributes):
        found = dict(attributes)
        if tag == "a":
            self.linked.add(found.get("href") or "")
        elif tag == "link" and found.get("rel") not in ("canonical", "next", "prev"):
            self.loaded.add(found["href"])
        elif "src" in found:
            self.loaded.add(found["src"])


def read(path):
    page = Loaded()
    page.feed(path.read_text())
    return page


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=PACKAGE_ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_a_page_loads_nothing_from_elsewhere(site):
    pages = [read(path) for path in site.rglob("*.html")]
    assert len(pages) > 25
    assert not {one for page in pages for one in page.loaded if re.match(r"\w+:|//", one)}


def test_links_of_the_repository_are_links_of_the_site(site):
    assert "reproducing.html#data" in read(site / "index.html").linked  # strict: no link is broken


def test_the_reference_has_shapes_and_every_package(site):
    packages = {path.name for path in (PACKAGE_ROOT / "umtfss").iterdir() if path.is_dir()}
    pages = {path.stem for path in (site / "api").iterdir()}
    assert packages - {"__pycache__"} <= pages
    assert "(B, 2, h, w)" in (site / "api/models.html").read_text()
