"""The search for the user's objects in the photos of a session, behind the page."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Condition, Thread
from typing import Any

from umtfss.common.errors import DataError, UmtfssError
from umtfss.predict.choose import best_first, check_several, verdict
from umtfss.predict.segment_photos import objects
from umtfss.predict.segmenter import Segmenter
from umtfss.predict.serve.photo import Photo
from umtfss.predict.serve.session import Session

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a search is.

    Attributes:
        running: Whether photos are being searched.
        done: Photos searched.
        total: Photos to search.
        error: Why the last search ended early.
    """

    running: bool = False
    done: int = 0
    total: int = 0
    error: str = ""


class Finder:
    """Searches photos in a thread, one search at a time; a new one ends the one before.

    Between searches it computes the features of new photos, so that the next search is short.

    Attributes:
        progress: How far the search is.
        lowest: The score below which an object was left out by the last search; None: not searched.
        chosen: What the last search used, and why; before, what it may use.

    Args:
        session: The session.
        segmenters: Name -> segmenter. Of several, a search takes the one that finds each support
            best by the others. Their `fit` is called for every search.
    """

    def __init__(self, session: Session, segmenters: Mapping[str, Segmenter]) -> None:
        self._session, self._segmenters = session, segmenters
        self._segmenter = next(iter(segmenters.values()))  # of the last search
        self.chosen = " or ".join(segmenters)
        self._condition = Condition()
        self._asked = self._begun = 0  # counts searches
        self._known: set[int] = set()  # numbers of photos whose features were computed
        self.progress = Progress()
        self.lowest: float | None = None
        Thread(target=self._work, daemon=True).start()

    def search(self) -> None:
        """Search all photos without the user's masks for the objects shown, in the background."""
        with self._condition:
            self._asked += 1
            self.progress = Progress(running=True)
            self._condition.notify()

    def wake(self) -> None:
        """Compute the features of new photos, in the background."""
        with self._condition:
            self._condition.notify()

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._is_asked or self._new_photos())
            if self._is_asked:
                self._begun = self._asked
                self._search_and_tell()
            else:
                for photo in self._new_photos()[:1]:
                    self._extract(photo)

    def _new_photos(self) -> list[Photo]:
        with self._session.lock:
            photos = self._session.photos
            return [one for number, one in photos.items() if number not in self._known]

    def _extract(self, photo: Photo) -> None:
        self._known.add(photo.number)
        try:
            for one in self._segmenters.values():
                one.extract(self._session.pixels(photo))
        except Exception as error:  # the search will say so on the page
            logger.warning("%s: %s", photo.name, error)

    def _search_and_tell(self) -> None:
        error = ""
        try:
            self._search()
        except UmtfssError as problem:
            error = str(problem)
        except Exception as problem:  # the page has to say so, and to stay
            logger.exception("the search failed")
            error = f"{type(problem).__name__}: {problem}; the terminal says more"
        with self._condition:
            if not self._is_asked:
                self.progress = replace(self.progress, running=False, error=error)

    @property
    def _is_asked(self) -> bool:
        """Whether a search is asked for that has not begun."""
        return self._begun < self._asked

    def _search(self) -> None:
        session = self._session
        with session.lock:
            knowledge = session.knowledge
            shown = session.supports()
            photos = [one for one in session.photos.values() if one.marked is None]
        if not shown:
            raise DataError(
                "no object is marked",
                expected="a photo with a mask",
                fix="name an object and mark it on a photo",
            )
        for photo, name, mask in shown:
            if mask.all():
                raise DataError(
                    f"all of {photo.name} is marked as {name}",
                    expected="a photo with some background",
                    fix="erase what is not the object",
                )
        self._tell(0, len(photos))
        images = [session.pixels(photo) for photo, _, _ in shown]
        names = [name for _, name, _ in shown]
        if len(self._segmenters) > 1:
            check_several(names)
        for one in self._segmenters.values():
            if session.min_score is not None:
                one.min_score = session.min_score
            one.fit(images, [mask for _, _, mask in shown], names)
        if len(self._segmenters) > 1:
            tried = best_first(self._segmenters)
            self._segmenter, self.chosen = tried[0].segmenter, verdict(tried)
        self.lowest = float(self._segmenter.lowest_scores.min())
        for done, photo in enumerate(photos, 1):
            if self._is_asked:
                return
            session.set_found(photo, self._found(photo), knowledge)
            self._tell(done, len(photos))

    def _found(self, photo: Photo) -> list[dict[str, Any]] | str:
        try:
            pixels = self._session.pixels(photo)
        except UmtfssError as error:
            return str(error)
        return list(objects(self._segmenter.segment(pixels), self._segmenter.classes_))

    def _tell(self, done: int, total: int) -> None:
        with self._condition:
            if not self._is_asked:
                self.progress = Progress(True, done, total)
