"""The files that are written for photos."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from umtfss.figures.overlay import OBJECT_COLOURS, PREDICTED
from umtfss.predict.annotations import Shape
from umtfss.predict.supports import DEFAULT_NAME


@dataclass(frozen=True)
class Query:
    """A photo to segment.

    Attributes:
        path: The photo.
        name: Name of the results below the output folder, without suffix.
    """

    path: Path
    name: str


@dataclass(frozen=True)
class Outputs:
    """The files that are written for photos.

    Attributes:
        folder: Where.
        names: Names of the objects.
        soft: Whether a soft mask of each object is written: 255 is certain, 128 the border.
        labelme: Whether a LabelMe file is written.
        coco: How COCO JSON shows regions.
    """

    folder: Path
    names: tuple[str, ...]
    soft: bool = False
    labelme: bool = False
    coco: Shape = "polygons"

    @property
    def record(self) -> Path:
        """A line for each photo, from which a call goes on."""
        return self.folder / "results.jsonl"

    @property
    def scores(self) -> Path:
        """The score of every object in every photo."""
        return self.folder / "scores.csv"

    @property
    def regions(self) -> Path:
        """The regions of all photos as COCO JSON."""
        return self.folder / "coco.json"

    @property
    def classes(self) -> Path:
        """The names of the objects, in the order of their numbers in masks."""
        return self.folder / "classes.txt"

    @property
    def lists(self) -> list[Path]:
        """The files about all photos."""
        return [self.record, self.scores, self.regions, self.classes]

    @property
    def named(self) -> bool:
        """Whether objects have names, so that masks hold their numbers and not black and white."""
        return self.names != (DEFAULT_NAME,)

    @property
    def colours(self) -> Sequence[tuple[float, float, float]]:
        """The colour of every object, RGB in [0, 1]."""
        if not self.named:
            return [PREDICTED]
        return [OBJECT_COLOURS[i % len(OBJECT_COLOURS)] for i in range(len(self.names))]

    def mask(self, query: Query) -> Path:
        """The mask of a photo."""
        return self.folder / f"{query.name}.png"

    def overlay(self, query: Query) -> Path:
        """The overlay on a photo."""
        return self.folder / f"{query.name}-overlay.png"

    def soft_masks(self, query: Query) -> list[Path]:
        """The soft mask of every object."""
        ends = [f"-{name}" for name in self.names] if self.named else [""]
        return [self.folder / f"{query.name}-soft{end}.png" for end in ends] if self.soft else []

    def labelme_file(self, query: Query) -> list[Path]:
        """The LabelMe file of a photo, if it is written."""
        return [self.folder / f"{query.name}.json"] if self.labelme else []

    def paths(self, query: Query) -> list[Path]:
        """All files of a photo."""
        own = [self.mask(query), self.overlay(query)]
        return own + self.soft_masks(query) + self.labelme_file(query)
