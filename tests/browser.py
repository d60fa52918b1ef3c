"""Headless Chromium, driven over a pipe by its DevTools protocol; needs no package."""

import base64
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--no-first-run", "--remote-debugging-pipe"]  # fmt: skip
SECONDS = 60


class Browser:
    """One page of a browser.

    Args:
        write: Descriptor that takes messages.
        read: Descriptor that gives messages.
    """

    def __init__(self, write: int, read: int) -> None:
        self._write, self._read = write, read
        self._rest, self._numbers, self._session = b"", itertools.count(1), ""
        self.said: list[str] = []  # errors and warnings of the page
        target = self.send("Target.createTarget", url="about:blank")["targetId"]
        found = self.send("Target.attachToTarget", targetId=target, flatten=True)
        self._session = found["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.send(f"{domain}.enable")

    def send(self, method: str, **given: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": given}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != number:
            pass
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            part = os.read(self._read, 1 << 20)
            assert part, "the browser has ended"
            self._rest += part
        line, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(line)
        if message.get("method") in ("Runtime.exceptionThrown", "Log.entryAdded"):
            self.said.append(json.dumps(message["params"]))
        return message

    def open(self, address: str, width: int = 1280, height: int = 900) -> None:
        """Open a page in a window of this size, px; below 600 px it is a phone."""
        self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        self.send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, code: str) -> Any:
        """The value of an expression of JavaScript, awaited."""
        found = self.send(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def wait(self, code: str) -> None:
        """Wait until an expression is true."""
        until = time.monotonic() + SECONDS
        while not self.run(code):
            assert time.monotonic() < until, f"not true within {SECONDS} s: {code}"
            time.sleep(0.1)

    def press(self, x: float, y: float, *on: tuple[float, float]) -> None:
        """Press the mouse at a point of the window, move it on, and let it go."""
        for kind, (left, top) in [("mousePressed", (x, y)), *(("mouseMoved", one) for one in on),
                                  ("mouseReleased", (on or [(x, y)])[-1])]:  # fmt: skip
            self.send(
                "Input.dispatchMouseEvent",
                type=kind, x=left, y=top, button="left", buttons=1, clickCount=1,
            )  # fmt: skip

    def place(self, css: str, x: float = 0.5, y: float = 0.5) -> tuple[float, float]:
        """The point of the window at a part of an element's width and height."""
        box = self.run(
            f"(e => (e.scrollIntoView({{block: 'nearest'}}), e.getBoundingClientRect().toJSON()))"
            f"(document.querySelector({css!r}))"
        )
        return box["left"] + x * box["width"], box["top"] + y * box["height"]

    def click(self, css: str, x: float = 0.5, y: float = 0.5) -> None:
        """Click on an element, at a part of its width and height."""
        self.press(*self.place(css, x, y))

    def type(self, css: str, text: str) -> None:
        """Write into an element."""
        self.run(f"document.querySelector({css!r}).focus()")
        self.send("Input.insertText", text=text)

    def key(self, key: str) -> None:
        """Press a key, such as "n" or "ArrowLeft"."""
        text = {"text": key} if len(key) == 1 else {}
        self.send("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.send("Input.dispatchKeyEvent", type="keyUp", key=key)

    def picture(self, path: Path) -> None:
        """Write what the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.send("Page.captureScreenshot")["data"]))


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser with a profile of its own in a folder."""
    assert CHROMIUM is not None
    ends = [fcntl.fcntl(one, fcntl.F_DUPFD, 10) for one in (*os.pipe(), *os.pipe())]
    takes, write, read, gives = ends

    def descriptors() -> None:  # where Chromium expects them
        os.dup2(takes, 3)
        os.dup2(gives, 4)

    process = subprocess.Popen(
        [CHROMIUM, *FLAGS, f"--user-data-dir={folder / 'profile'}"],
        preexec_fn=descriptors, pass_fds=(3, 4), stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(takes)
    os.close(gives)
    try:
        yield Browser(write, read)
    finally:
        process.terminate()
        process.wait()
        os.close(write)
        os.close(read)
