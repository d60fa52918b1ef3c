"""The looks of the classes of the procedural data set.

A class is an outline with two parts, a body and an inlay, or with more parts side by side. A part
has a texture, a scale and two hues of its own. The outlines are fixed; the parts are drawn from the
seed of the data set, so that another seed is another world.

Shapes: V vertices. Coordinates are (x, y), y downwards.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from umtfss.common.randomness import generator
from umtfss.data.shape_textures import TEXTURES

BODY_AND_INLAY = 2  # parts of a class, unless it is a mosaic
GRID = 3072  # outlines and rotations are rounded to 1/GRID; a multiple of SUPERSAMPLING

Loop = list[tuple[float, float]]


def _polar(radius: Callable[[float], float], vertices: int = 60) -> Loop:
    """The closed curve of a radius as a function of the angle; angle 0 points upwards."""
    angles = [2 * math.pi * i / vertices for i in range(vertices)]
    return [(radius(a) * math.sin(a), -radius(a) * math.cos(a)) for a in angles]


def _arc(radius: float, start: float, stop: float, cx: float = 0, cy: float = 0) -> Loop:
    """Part of a circle; degrees, 0 to the right, 90 downwards."""
    angles = [math.radians(start + (stop - start) * i / 24) for i in range(25)]
    return [(cx + radius * math.cos(a), cy + radius * math.sin(a)) for a in angles]


def _super(power: float, wide: float = 1.0) -> Loop:
    """A superellipse: power 2 is an ellipse, a higher power a square with round corners."""

    def signed(x: float) -> float:
        return math.copysign(abs(x) ** (2 / power), x)

    angles = [2 * math.pi * i / 60 for i in range(60)]
    return [(wide * signed(math.sin(a)), -signed(math.cos(a))) for a in angles]


def _heart() -> Loop:
    angles = [2 * math.pi * i / 60 for i in range(60)]
    return [
        (
            1.05 * math.sin(a) ** 3,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 16,
        )
        for a in angles
    ]


# A class is one outline, compact, around (0, 0).
OUTLINES: dict[str, Loop] = {
    "ball": _polar(lambda a: 1),
    "cushion": _super(4.5),
    "tent": [(0, -1.1), (0.25, -0.95), (1.05, 0.6), (0.9, 0.85), (-0.9, 0.85), (-1.05, 0.6),
             (-0.25, -0.95)],
    "star": _polar(lambda a: 0.85 + 0.2 * math.cos(5 * a) + 0.05 * math.cos(10 * a)),
    "clover": _polar(lambda a: 0.82 + 0.2 * math.cos(4 * a)),
    "heart": _heart(),
    "hexagon": _polar(lambda a: 1, 6),
    "drop": [(0, -1.35), *_arc(0.8, -28, 208, 0, 0.3)],
    "mushroom": [*_arc(1, 180, 360, 0, 0.1), (1, 0.3), (0.5, 0.35), (0.55, 1), (-0.55, 1),
                 (-0.5, 0.35), (-1, 0.3)],
    "gear": _polar(lambda a: 0.95 + 0.09 * max(-1.0, min(1.0, 3 * math.cos(9 * a))), 180),
    "flower": _polar(lambda a: 0.86 + 0.14 * math.cos(6 * a)),
    "fish": [*_arc(0.72, 40, 320, -0.25), (0.75, -0.2), (1.15, -0.65), (1.05, 0), (1.15, 0.65),
             (0.75, 0.2)],
    "house": [(0, -1.05), (1, -0.2), (0.85, -0.15), (0.85, 0.9), (-0.85, 0.9), (-0.85, -0.15),
              (-1, -0.2)],
    "leaf": [*_arc(1.25, -50, 50, -0.6), *_arc(1.25, 130, 230, 0.6)],
    "egg": _polar(lambda a: 0.95 - 0.1 * math.cos(a) + 0.08 * math.cos(2 * a)),
    "bell": [*_arc(0.6, 180, 360, 0, -0.5), (0.7, 0.3), (1, 0.65), (0.95, 0.85), (0.3, 0.85),
             *_arc(0.28, 20, 160, 0, 0.85), (-0.3, 0.85), (-0.95, 0.85), (-1, 0.65), (-0.7, 0.3)],
    "butterfly": _polar(
        lambda a: 0.7 + 0.32 * abs(math.sin(a)) + 0.3 * math.sin(a) ** 2 * math.cos(2 * a) ** 2
    ),
    "shield": [(-0.9, -0.9), (0, -1.05), (0.9, -0.9), *_arc(1.8, 0, 52, -0.9, -0.4),
               *_arc(1.8, 128, 180, 0.9, -0.4)],
    "crown": [(-1, -0.7), (-0.5, -0.15), (0, -0.95), (0.5, -0.15), (1, -0.7), (0.9, 0.75),
              (-0.9, 0.75)],
    "cloud": [*_arc(0.5, 130, 285, -0.6, 0.15), *_arc(0.62, 215, 325, 0, -0.3),
              *_arc(0.5, 255, 410, 0.6, 0.15)],
}  # fmt: skip
CLASS_NAMES = tuple(OUTLINES)


def _unit_area(loop: Loop) -> np.ndarray:
    """The loop, (V, 2) int in 1/GRID, scaled to the area of a disc of radius 1."""
    turned = [*loop[1:], loop[0]]
    area = abs(sum(x * v - u * y for (x, y), (u, v) in zip(loop, turned, strict=True))) / 2
    scale = GRID * math.sqrt(math.pi / area)
    return np.array([(round(x * scale), round(y * scale)) for x, y in loop])


UNIT_OUTLINES = [_unit_area(loop) for loop in OUTLINES.values()]


@dataclass(frozen=True)
class Part:
    """The surface of a part.

    Attributes:
        texture: Name in `TEXTURES`.
        scale: Texture units over the object's radius.
        hue: Hue of the lighter colour, in [0, 1).
        contrast: Hue of the darker colour minus `hue`.
        saturation: Saturation of the lighter colour, in [0, 1].
    """

    texture: str
    scale: float
    hue: float
    contrast: float
    saturation: float


Look = tuple[Part, ...]  # body and inlay of a class, or its parts from the middle outwards


def class_looks(seed: int, parts: int = BODY_AND_INLAY) -> list[Look]:
    """What the classes of a seed's world look like, in the order of `CLASS_NAMES`.

    Args:
        seed: Seed of the world.
        parts: Number of parts of a class.
    """
    return _bodies_and_inlays(seed) if parts == BODY_AND_INLAY else _mosaics(seed, parts)


def _mosaics(seed: int, parts: int) -> list[Look]:
    """Classes of many parts, each with its own texture. Hues of all parts are evenly spread."""
    rng, names = generator("shapes-mosaics", seed, parts), list(TEXTURES)
    count = parts * len(CLASS_NAMES)
    hues, numbers = rng.permutation(count), rng.random((count, 3))
    pool = [
        Part(
            names[row % len(names)],
            3.0 + 2.0 * scale,
            int(hues[row]) / count,
            0.08 + 0.3 * contrast,
            0.42 + 0.36 * saturation,
        )
        for row, (scale, contrast, saturation) in enumerate(numbers.tolist())
    ]
    return [tuple(pool[start : start + parts]) for start in range(0, count, parts)]


def _bodies_and_inlays(seed: int) -> list[Look]:
    """Classes of two parts.

    Bodies take every texture once before one comes again. An inlay's texture is never its body's.
    The hues of all bodies are evenly spread, and so are the hues of all inlays.
    """
    rng, count = generator("shapes-looks", seed), len(CLASS_NAMES)
    names = list(TEXTURES)
    bodies = [names[i % len(names)] for i in range(count)]
    order = rng.permutation(count)
    bodies = [bodies[i] for i in order]
    steps = 1 + rng.permutation(count) % (len(names) - 1)
    hues = rng.permutation(count), rng.permutation(count)
    looks: list[Look] = []
    for row, body in enumerate(bodies):
        other = names[(names.index(body) + int(steps[row])) % len(names)]
        parts = []
        for texture, hue in ((body, hues[0][row]), (other, hues[1][row])):
            scale, contrast, saturation = rng.random(3)
            parts.append(
                Part(
                    texture,
                    3.0 + 2.0 * scale,
                    int(hue) / count,
                    0.08 + 0.3 * contrast,
                    0.42 + 0.36 * saturation,
                )
            )
        looks.append((parts[0], parts[1]))
    return looks
