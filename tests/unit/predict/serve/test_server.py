"""The server, and the page in a browser."""

import errno
import json
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import uvicorn

from tests.browser import CHROMIUM, browser
from tests.unit.predict.drawn import iou
from tests.unit.predict.serve.conftest import BLUE_BOX, RED_BOX
from tests.unit.predict.serve.test_finder import box
from umtfss.common.errors import ConfigError, DataError, StoreError
from umtfss.common.locks import only_writer
from umtfss.predict.serve.server import serve

SIZE = (120, 200)
TOP = "document.querySelector('#photo').getBoundingClientRect().top + scrollY"


@pytest.fixture
def served(matcher, drawn, tmp_path, monkeypatch):
    """The address of a page that begins with the drawn photos and one that is damaged."""
    (drawn / "bad.jpg").write_bytes(b"no picture")
    (drawn / "served").mkdir()  # of another session
    (drawn / "served/inner.png").write_bytes((drawn / "one.png").read_bytes())
    servers, addresses = [], []
    start = uvicorn.Server.__init__

    def kept(self, config):
        servers.append(self)
        start(self, config)

    monkeypatch.setattr(uvicorn.Server, "__init__", kept)
    matcher.min_score = 0.9
    arguments = ({"the matcher": matcher}, [drawn], drawn / "served", 0, addresses.append)
    thread = threading.Thread(target=serve, args=arguments)
    thread.start()
    until = time.monotonic() + 60
    while not (servers and servers[0].started):
        assert thread.is_alive()
        assert time.monotonic() < until
        time.sleep(0.05)
    yield addresses[0]
    servers[0].should_exit = True
    thread.join(30)
    assert not thread.is_alive()
    assert not (drawn / "served/.lock").exists()


def get(address: str) -> bytes:
    with urllib.request.urlopen(address) as answer:
        return answer.read()


def state(address: str) -> dict:
    return json.loads(get(address + "state"))


def labels(address: str, name: str) -> np.ndarray:
    (number,) = [one["number"] for one in state(address)["photos"] if one["name"] == name]
    return np.frombuffer(get(f"{address}photos/{number}/labels"), np.uint8).reshape(SIZE)


def test_a_folder_is_served_on_this_machine_alone(served, drawn):
    found = state(served)
    assert [one["name"] for one in found["photos"]] == ["blue.png", "one.png", "two.png"]
    (problem,) = found["problems"]
    assert f"{drawn}/bad.jpg cannot be decoded" in problem
    assert served.startswith("http://127.0.0.1:")
    port = int(served.split(":")[2].split("/")[0])
    other = next(
        (one[4][0] for one in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)
         if not one[4][0].startswith("127.")), None,
    )  # fmt: skip
    if other:
        with socket.socket() as caller:
            assert caller.connect_ex((other, port)) == errno.ECONNREFUSED


def test_what_cannot_be_served_is_told_before_anything_is_computed(matcher, drawn, tmp_path):
    def start(paths=(drawn,), port=0, folder="served"):
        serve({"the matcher": matcher}, paths, tmp_path / folder, port, pytest.fail)

    with pytest.raises(DataError, match=r"moon is no photo"):
        start([Path("moon")])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigError, match=r"the page cannot be at port(?s:.*)--port"):
            start(port=taken.getsockname()[1])
    with only_writer(tmp_path / "served"), pytest.raises(StoreError, match="another process"):
        start()


def test_missing_packages_are_named(matcher, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(ConfigError, match=r"starlette and uvicorn(?s:.*)umtfss\[serve\]"):
        serve({"the matcher": matcher}, [], tmp_path, 0, pytest.fail)


# README asks for no browser, so `make test` must pass without one; CI has Chromium.
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_click_grows_a_mask_and_another_photo_gets_its_own(served, tmp_path):
    """In a browser: name, click, find, correct with the brush, and look at a phone's width."""
    with browser(tmp_path) as page:
        page.open(served)
        page.wait("current && current.areas")
        assert "bad.jpg" in page.run("document.querySelector('#notes').textContent")
        page.click("#notes button")
        page.type("#name", "red")
        page.click("#naming button")
        page.wait("state.objects.length === 1")
        page.click(".card[title='one.png']")
        page.wait("photo().name === 'one.png' && current.areas")
        assert page.run("document.querySelector('#search').disabled")
        tops = [page.run(TOP)]
        page.click("#mask", 60 / 200, 50 / 120)
        page.wait("photo().marked?.length && !unsaved")
        tops.append(page.run(TOP))
        assert iou(labels(served, "one.png") == 1, box(SIZE, *RED_BOX) == 1) > 0.8

        page.click("#search")
        page.wait("state.photos.every(one => one.marked || one.found) && !state.search.running")
        tops.append(page.run(TOP))
        assert len(set(tops)) == 1  # the photo stays where it is
        assert iou(labels(served, "two.png") == 1, box(SIZE, 60, 30, 160, 110) == 1) > 0.85
        assert not labels(served, "blue.png").any()
        cards = page.run("[...document.querySelectorAll('.card')].map(one => one.textContent)")
        assert cards[0].startswith("blue.pngno red")
        assert cards[1] == "one.pngyours: red"
        assert float(cards[2].removeprefix("two.pngred ")) > 0.9
        chosen = "document.querySelector('#chosen').textContent"
        assert page.run(chosen) == "Searched by the matcher"
        page.picture(tmp_path / "desktop.png")

        page.key("n")  # the next photo, which is two.png
        page.wait("photo().name === 'two.png' && current.loaded")
        found = labels(served, "two.png")
        page.key("b")
        page.run("current.loaded = false")  # as before the found mask has come
        page.press(*page.place("#mask", 0.1, 0.9), page.place("#mask", 0.4, 0.95))
        assert page.run("!unsaved && !stroke && !done.length")
        page.run("current.loaded = true")
        page.press(*page.place("#mask", 0.1, 0.9), page.place("#mask", 0.4, 0.95))
        page.wait("photo().marked?.length && !unsaved")
        brushed = labels(served, "two.png")
        assert (brushed[found == 1] == 1).all()
        assert brushed[108:114, 20:80].mean() > 0.9
        assert brushed[:90, :50].sum() == found[:90, :50].sum()
        page.click("#undo")
        page.wait("!done.length && !unsaved && current.version === photo().version")
        np.testing.assert_array_equal(labels(served, "two.png"), found)
        assert "Find again" in page.run("document.querySelector('#search').textContent")

        page.click(".card[title='blue.png']")  # by keyboard: the ring begins at the centre
        page.wait("photo().name === 'blue.png' && current.areas")
        page.key("a")
        page.run("document.querySelector('#mask').focus()")
        for _ in range(8):
            page.key("ArrowRight")
            page.key("ArrowUp")
        page.key(" ")
        page.wait("photo().marked?.length && !unsaved")
        assert iou(labels(served, "blue.png") == 1, box(SIZE, *BLUE_BOX) == 1) > 0.8

        page.open(served, width=390, height=844)
        page.wait("current && current.areas")
        assert page.run("document.documentElement.scrollWidth") == 390
        page.picture(tmp_path / "phone.png")
        assert page.run("document.querySelector('#larger').clientWidth")  # there is a mouse
        page.run("document.querySelector('.card b').textContent = 'IMG_2024'.repeat(9)")
        assert page.run("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('.card b'))")
        assert page.said == []
