"""The page's HTTP side.

All addresses begin with a secret that the terminal shows, so other pages in the browser and other
accounts of the machine reach nothing. The `Host` header is checked, too: a name that an attacker
points to this machine (DNS rebinding) is refused. No request names a path to read or write.
"""

import json
import secrets
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Mount, Route

from umtfss.common.errors import UmtfssError
from umtfss.predict.serve.archive import write_archive
from umtfss.predict.serve.finder import Finder
from umtfss.predict.serve.photo import Photo
from umtfss.predict.serve.session import Session

HOSTS = ("127.0.0.1", "localhost")
MOST_BYTES = 40 * 2**20  # of an uploaded photo
AREA_SIZES = ("1", "3", "9")  # factors of the superpixels' size
PAGE = Path(__file__).with_name("page.html")
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'"
)


class _Answers:
    """The answers to requests.

    Args:
        session: The session.
        finder: Its search.
        problems: What the page says when it is opened, e.g. of photos that could not be read.
    """

    def __init__(self, session: Session, finder: Finder, problems: Sequence[str]) -> None:
        self.session, self.finder, self.problems = session, finder, problems
        self.text = PAGE.read_text().replace("MOST_BYTES", str(MOST_BYTES))

    def page(self, request: Request) -> Response:
        """The page."""
        nonce = secrets.token_urlsafe(16)
        headers = {"Content-Security-Policy": POLICY.format(nonce)}
        return HTMLResponse(self.text.replace("NONCE", nonce), headers=headers)

    def state(self, request: Request) -> Response:
        """All that the page shows but pictures."""
        session = self.session
        with session.lock:
            colours = [[round(255 * one) for one in colour] for colour in session.colours]
            return JSONResponse(
                {
                    "objects": [
                        {"name": name, "colour": colour}
                        for name, colour in zip(session.objects, colours, strict=True)
                    ],
                    "photos": [self._summary(photo) for photo in session.photos.values()],
                    "search": vars(self.finder.progress),
                    "min_score": self.finder.lowest,
                    "chosen": self.finder.chosen,
                    "problems": self.problems,
                }
            )

    def _summary(self, photo: Photo) -> dict[str, Any]:
        marked = None if photo.marked is None else list(photo.marked)
        scores = [{k: v for k, v in one.items() if k != "runs"} for one in photo.found or ()]
        return {
            "number": photo.number,
            "name": photo.name,
            "size": photo.size,
            "version": photo.version,
            "marked": marked,
            "found": scores if photo.found is not None else None,
            "old": photo.found is not None and photo.found_in != self.session.knowledge,
            "error": photo.error,
        }

    async def add_photo(self, request: Request) -> Response:
        """Take an uploaded photo: its bytes are the body, its file name a parameter."""
        content = await _body(request, MOST_BYTES)
        name = request.query_params.get("name", "")
        photo = await run_in_threadpool(self.session.add_upload, content, name)
        self.finder.wake()
        return JSONResponse({"number": photo.number}, 201)

    def remove_photo(self, request: Request) -> Response:
        """Remove a photo."""
        self.session.remove(self._photo(request))
        return Response(status_code=204)

    def picture(self, request: Request) -> Response:
        """A photo as JPEG."""
        return Response(self.session.picture(self._photo(request)), media_type="image/jpeg")

    def thumbnail(self, request: Request) -> Response:
        """A photo in small, with what is found."""
        return Response(self.session.thumbnail(self._photo(request)), media_type="image/jpeg")

    def areas(self, request: Request) -> Response:
        """The superpixels of a photo: width and height, then rows of numbers, all uint16."""
        factor = request.query_params.get("size", "1")
        if factor not in AREA_SIZES:
            raise HTTPException(400, f"size: expected one of {', '.join(AREA_SIZES)}")
        found = self.session.areas(self._photo(request), int(factor))
        size = np.array(found.shape[::-1], "<u2").tobytes()
        return _bytes(size + found.astype("<u2").tobytes())

    def labels(self, request: Request) -> Response:
        """The object of every pixel of a photo, rows of uint8."""
        return _bytes(self.session.labels(self._photo(request)).tobytes())

    async def mark(self, request: Request) -> Response:
        """Take the user's masks: rows of uint8; parameters `object` name the values 1, 2, ..."""
        photo = self._photo(request)
        height, width = photo.size
        content = await _body(request, height * width)
        if len(content) != height * width:
            raise HTTPException(400, f"expected {height * width} bytes, found {len(content)}")
        labels = np.frombuffer(content, np.uint8).reshape(height, width)
        names = request.query_params.getlist("object")
        await run_in_threadpool(self.session.mark, photo, labels, names)
        return Response(status_code=204)

    def unmark(self, request: Request) -> Response:
        """Forget the user's masks of a photo."""
        self.session.unmark(self._photo(request))
        return Response(status_code=204)

    def objects(self, request: Request) -> Response:
        """Add the object `name`, rename `old` to it, or remove it."""
        name, old = (request.query_params.get(key, "") for key in ("name", "old"))
        if request.method == "DELETE":
            self.session.remove_object(name)
        elif request.method == "PUT":
            self.session.rename_object(old, name)
        else:
            self.session.add_object(name)
        return Response(status_code=204)

    def search(self, request: Request) -> Response:
        """Begin a search; a parameter `min_score` is kept for it and those after."""
        if (given := request.query_params.get("min_score")) is not None:
            try:
                self.session.set_min_score(min(1.0, max(-1.0, float(given))))
            except ValueError as error:
                raise HTTPException(400, f"min_score: {error}") from error
        self.finder.search()
        return Response(status_code=202)

    def archive(self, request: Request) -> Response:
        """All results as a ZIP file."""
        path = self.session.folder / "results.zip"
        write_archive(self.session, path)
        return FileResponse(path, media_type="application/zip", filename="results.zip")

    def _photo(self, request: Request) -> Photo:
        return self.session.photo(request.path_params["number"])


def application(
    session: Session, finder: Finder, secret: str, problems: Sequence[str] = ()
) -> Starlette:
    """The application of a session.

    Args:
        session: The session.
        finder: Its search.
        secret: What all addresses begin with.
        problems: What the page says when it is opened.
    """
    answers = _Answers(session, finder, problems)
    photo = "/photos/{number:int}"
    routes = [
        Route("/", answers.page),
        Route("/state", answers.state),
        Route("/photos", answers.add_photo, methods=["POST"]),
        Route(photo, answers.remove_photo, methods=["DELETE"]),
        Route(f"{photo}/picture", answers.picture),
        Route(f"{photo}/thumbnail", answers.thumbnail),
        Route(f"{photo}/areas", answers.areas),
        Route(f"{photo}/labels", answers.labels),
        Route(f"{photo}/labels", answers.mark, methods=["PUT"]),
        Route(f"{photo}/labels", answers.unmark, methods=["DELETE"]),
        Route("/objects", answers.objects, methods=["POST", "PUT", "DELETE"]),
        Route("/search", answers.search, methods=["POST"]),
        Route("/results.zip", answers.archive),
    ]
    return Starlette(
        routes=[Mount(f"/{secret}", routes=routes)],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=HOSTS, www_redirect=False),
            Middleware(_WithHeaders),
        ],
        exception_handlers={UmtfssError: _explained, HTTPException: _refused},
    )


class _WithHeaders:
    """Adds `HEADERS` to every answer."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                added = [(k.lower().encode(), v.encode()) for k, v in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        await self.app(scope, receive, with_headers)


async def _body(request: Request, most: int) -> bytes:
    """The body of a request, which is given up as soon as it is longer than `most` bytes."""
    said = request.headers.get("content-length", "0")
    content = bytearray()
    if said.isdecimal() and int(said) <= most:
        async for part in request.stream():
            content += part
            if len(content) > most:
                break
        else:
            return bytes(content)
    raise HTTPException(413, f"the file is too large: expected at most {most / 2**20:.0f} MB")


def _bytes(content: bytes) -> Response:
    return Response(content, media_type="application/octet-stream")


def _explained(request: Request, error: Exception) -> Response:
    """A user's error, as the parts that the page shows."""
    assert isinstance(error, UmtfssError)
    shown = {"problem": error.problem, "expected": error.expected, "found": error.found}
    return JSONResponse(json.loads(json.dumps({**shown, "fix": error.fix}, default=str)), 422)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    problem = error.detail
    if error.status_code == 404:
        problem = "nothing here: open the address that the terminal shows"
    return JSONResponse({"problem": problem}, error.status_code)
