"""How an image of the procedural data set is drawn.

Everything that decides a pixel is integer arithmetic or elementary floating point (+ - * / sqrt,
rounded alike everywhere); sines and cosines are rounded to a coarse grid before use. So every
machine draws the same pixels.

Shapes: V vertices, H W pixels. Coordinates are (x, y), y downwards.
"""

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

SUPERSAMPLING = 3
GRID = 3072  # outlines and rotations are rounded to 1/GRID; a multiple of SUPERSAMPLING

Loop = list[tuple[float, float]]
Texture = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]


def _polar(radius: Callable[[float], float], vertices: int = 60) -> Loop:
    """The curve of a radius over the angle; angle 0 points upwards."""
    angles = [2 * math.pi * i / vertices for i in range(vertices)]
    return [(radius(a) * math.sin(a), -radius(a) * math.cos(a)) for a in angles]


def _arc(radius: float, start: float, stop: float, cx: float = 0, cy: float = 0) -> Loop:
    """Part of a circle; degrees, 0 to the right, 90 downwards."""
    angles = [math.radians(start + (stop - start) * i / 24) for i in range(25)]
    return [(cx + radius * math.cos(a), cy + radius * math.sin(a)) for a in angles]


def _spikes(points: int, inner: float) -> Loop:
    """A star, or with `inner` 1 a regular polygon of twice the points."""
    corners = [(math.pi * i / points, inner if i % 2 else 1.0) for i in range(2 * points)]
    return [(r * math.sin(a), -r * math.cos(a)) for a, r in corners]


def _gear() -> Loop:
    teeth: Loop = []
    for tooth in range(8):
        for offset, radius in ((-13, 0.72), (-9, 1.0), (9, 1.0), (13, 0.72)):
            angle = math.radians(45 * tooth + offset)
            teeth.append((radius * math.sin(angle), -radius * math.cos(angle)))
    return teeth


def _heart() -> Loop:
    angles = [2 * math.pi * i / 60 for i in range(60)]
    return [
        (
            math.sin(a) ** 3,
            -(13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)) / 16,
        )
        for a in angles
    ]


# A class is one outline (the first loop) with holes (the others).
OUTLINES: dict[str, list[Loop]] = {
    "disc": [_polar(lambda a: 1)],
    "square": [[(-1, -1), (1, -1), (1, 1), (-1, 1)]],
    "triangle": [[(0, -1), (1, 0.8), (-1, 0.8)]],
    "star": [_spikes(5, 0.45)],
    "cross": [[(-.35, -1), (.35, -1), (.35, -.35), (1, -.35), (1, .35), (.35, .35), (.35, 1),
               (-.35, 1), (-.35, .35), (-1, .35), (-1, -.35), (-.35, -.35)]],
    "ring": [_polar(lambda a: 1), _polar(lambda a: 0.55)],
    "crescent": [[*_arc(1, 60, 300), *_arc(0.866, 270, 90, 0.5)[1:-1]]],
    "heart": [_heart()],
    "arrow": [[(0, -1.1), (.9, -.1), (.36, -.1), (.36, 1.1), (-.36, 1.1), (-.36, -.1), (-.9, -.1)]],
    "hexagon": [_polar(lambda a: 1, 6)],
    "drop": [[(0, -1.3), *_arc(0.75, -25, 205, 0, 0.4)]],
    "dome": [[*_arc(1, 180, 360, 0, 0.4), (1, 0.62), (-1, 0.62)]],
    "gear": [_gear(), _polar(lambda a: 0.28, 24)],
    "flower": [_polar(lambda a: 0.72 + 0.28 * math.cos(5 * a))],
    "bolt": [[(.25, -1.2), (-.6, .15), (-.08, .15), (-.3, 1.2), (.65, -.25), (.1, -.25),
              (.55, -1.2)]],
    "fish": [[*_arc(0.62, 35, 325, -0.3), (1.1, -0.7), (0.85, 0), (1.1, 0.7)]],
    "house": [[(0, -1), (1, -.15), (.72, -.15), (.72, .9), (-.72, .9), (-.72, -.15), (-1, -.15)]],
    "hourglass": [[(-.8, -1), (.8, -1), (.8, -.75), (.16, 0), (.8, .75), (.8, 1), (-.8, 1),
                   (-.8, .75), (-.16, 0), (-.8, -.75)]],
    "chevron": [[(-1, .1), (0, -.8), (1, .1), (1, .85), (0, -.05), (-1, .85)]],
    "leaf": [[*_arc(1.25, -53, 53, -0.75), *_arc(1.25, 127, 233, 0.75)]],
}  # fmt: skip
CLASS_NAMES = tuple(OUTLINES)


def _unit_area(loops: list[Loop]) -> list[np.ndarray]:
    """The loops, (V, 2) int in 1/GRID, scaled to the area of a disc of radius 1."""

    def area(loop: Loop) -> float:
        turned = [*loop[1:], loop[0]]
        return abs(sum(x * v - u * y for (x, y), (u, v) in zip(loop, turned, strict=True))) / 2

    total = area(loops[0]) - sum(area(hole) for hole in loops[1:])
    scale = GRID * math.sqrt(math.pi / total)
    return [np.array([(round(x * scale), round(y * scale)) for x, y in loop]) for loop in loops]


UNIT_OUTLINES = [_unit_area(loops) for loops in OUTLINES.values()]


def _wave(x: np.ndarray) -> np.ndarray:
    """A triangle wave of period 2 between 0 and 1."""
    return np.abs(x - 2 * np.floor(x / 2) - 1)


def _edge(x: np.ndarray, softness: float = 0.12) -> np.ndarray:
    """A step at 0.5 from 0 to 1, softened."""
    return np.clip((x - 0.5) / softness + 0.5, 0, 1)


def value_noise(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in [0, 1] that varies over a distance of 1."""
    lattice = rng.random((32, 32))
    iu, iv = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    fu, fv = u - iu, v - iv
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    iu, iv = iu % 32, iv % 32
    ju, jv = (iu + 1) % 32, (iv + 1) % 32
    top = lattice[iv, iu] * (1 - fu) + lattice[iv, ju] * fu
    low = lattice[jv, iu] * (1 - fu) + lattice[jv, ju] * fu
    return top * (1 - fv) + low * fv


def _cells(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The distance from the centre of the cell of a unit grid whose odd rows are shifted."""
    row = np.floor(v)
    du = u + 0.5 * row
    return np.sqrt((du - np.floor(du) - 0.5) ** 2 + (v - row - 0.5) ** 2)


def _bricks(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shifted = u / 2 + 0.5 * np.floor(v)
    in_u, in_v = shifted - np.floor(shifted), v - np.floor(v)
    return ((in_u < 0.1) | (in_v < 0.2)).astype(np.float64)


# Texture families over object coordinates; the result mixes the object's two colours.
TEXTURES: tuple[Texture, ...] = (
    lambda u, v, rng: _edge(_wave(2 * u)),
    lambda u, v, rng: (np.floor(1.5 * u) + np.floor(1.5 * v)) % 2,
    lambda u, v, rng: 1 - _edge(_cells(u, v) / 0.3 - 0.5),
    _bricks,
    lambda u, v, rng: _edge(_wave(2 * u + 1.5 * _wave(v))),
    lambda u, v, rng: _edge(_wave(2 * np.sqrt(u * u + v * v))),
    lambda u, v, rng: _wave(1.5 * u + 4 * value_noise(u, v, rng)),
    lambda u, v, rng: _edge(value_noise(2.5 * u, 2.5 * v, rng)),
    lambda u, v, rng: np.maximum(_edge(_wave(1.4 * u) - 0.3), _edge(_wave(1.4 * v) - 0.3)),
    lambda u, v, rng: _edge(_cells(1.2 * u, 2 * v)),
)


@dataclass(frozen=True)
class Placed:
    """An object in the image.

    Attributes:
        class_id: 1 .. 20.
        coverage: (H, W) float in [0, 1], part of the pixel that the object covers.
        u: (H, W) float, object coordinate of the pixel; the object spans about -1 .. 1.
        v: (H, W) float, the other object coordinate, downwards.
    """

    class_id: int
    coverage: np.ndarray
    u: np.ndarray
    v: np.ndarray


def fill(loops: list[np.ndarray], height: int, width: int) -> np.ndarray:
    """The part of each pixel inside an outline by the even-odd rule, (H, W) float in [0, 1].

    Args:
        loops: (V, 2) int vertices in 1/GRID px.
        height: H.
        width: W.
    """
    rows, columns, step = height * SUPERSAMPLING, width * SUPERSAMPLING, GRID // SUPERSAMPLING
    start = np.concatenate(loops)
    stop = np.concatenate([np.roll(loop, -1, axis=0) for loop in loops])
    sloped = start[:, 1] != stop[:, 1]
    (x0, y0), (x1, y1) = start[sloped].T, stop[sloped].T
    y = (np.arange(rows) * step + step // 2)[:, None]
    row, edge = np.nonzero((np.minimum(y0, y1) <= y) & (y < np.maximum(y0, y1)))
    cross = x0[edge] + (y[row, 0] - y0[edge]) * (x1 - x0)[edge] // (y1 - y0)[edge]
    first = np.clip((cross - step // 2) // step + 1, 0, columns)
    toggles = np.zeros((rows, columns + 1), dtype=np.uint8)
    np.bitwise_xor.at(toggles, (row, first), 1)
    inside = np.bitwise_xor.accumulate(toggles, axis=1)[:, :columns]
    offsets = [(i, j) for i in range(SUPERSAMPLING) for j in range(SUPERSAMPLING)]
    hits = np.zeros((height, width))
    for i, j in offsets:
        hits += inside[i::SUPERSAMPLING, j::SUPERSAMPLING]
    return hits / SUPERSAMPLING**2


def _colour(rng: np.random.Generator, hue: float, saturation: float, value: float) -> np.ndarray:
    """A colour near the given one, (3,) in [0, 255]."""
    jitter = rng.random(3) - 0.5
    wanted = (
        (hue + 0.08 * jitter[0]) % 1.0,
        min(max(saturation + 0.3 * jitter[1], 0), 1),
        min(max(value + 0.3 * jitter[2], 0), 1),
    )
    return 255 * np.array(colorsys.hsv_to_rgb(*wanted))


def _mix(share: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(H, W, 3) from the share (H, W) of `other`."""
    return one + share[..., None] * (other - one)


def background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A cluttered surface without objects, (H, W, 3) float in [0, 255].

    Three organic regions, each of a random texture in muted colours, then small specks.
    """
    y, x = np.mgrid[:height, :width].astype(np.float64)
    region = value_noise(x / 70, y / 70, rng)
    picture = np.zeros((height, width, 3))
    for lower in (0.0, 0.42, 0.58):
        family = TEXTURES[rng.integers(len(TEXTURES))]
        scale = 8 + 22 * rng.random()
        slope = rng.random() - 0.5
        share = family((x + slope * y) / scale, (y - slope * x) / scale, rng)
        hue, saturation, value = rng.random(), 0.45 * rng.random(), 0.3 + 0.5 * rng.random()
        one = _colour(rng, hue, saturation, value)
        other = _colour(rng, hue + 0.15 * rng.random(), saturation, value)
        picture = np.where((region >= lower)[..., None], _mix(share, one, other), picture)
    specks = value_noise(x / 7, y / 7, rng) > 0.86
    picture[specks] = _colour(rng, rng.random(), 0.5, 0.5)
    return picture


def place(class_id: int, height: int, width: int, rng: np.random.Generator) -> Placed:
    """An object of a class somewhere in the image: moved, turned, mirrored and scaled."""
    radius = math.sqrt(height * width) * (0.14 + 0.11 * rng.random())
    centre = (width * (0.12 + 0.76 * rng.random()), height * (0.12 + 0.76 * rng.random()))
    angle = math.radians(int(rng.integers(-50, 51)))
    cos, sin = round(GRID * math.cos(angle)) / GRID, round(GRID * math.sin(angle)) / GRID
    stretch = 0.85 + 0.3 * rng.random()
    mirror = 1 if rng.random() < 0.5 else -1
    # Where the object's axes point in the image: columns of the matrix that places the outline.
    ax, ay = mirror * radius * stretch * cos, mirror * radius * stretch * sin
    bx, by = -radius / stretch * sin, radius / stretch * cos
    loops = [
        np.stack(
            [
                np.floor(loop[:, 0] * ax + loop[:, 1] * bx + centre[0] * GRID),
                np.floor(loop[:, 0] * ay + loop[:, 1] * by + centre[1] * GRID),
            ],
            axis=1,
        ).astype(np.int64)
        for loop in UNIT_OUTLINES[class_id - 1]
    ]
    y, x = np.mgrid[:height, :width] + 0.5
    dx, dy, determinant = x - centre[0], y - centre[1], ax * by - ay * bx
    u, v = (dx * by - dy * bx) / determinant, (dy * ax - dx * ay) / determinant
    return Placed(class_id, fill(loops, height, width), u, v)


def paint(placed: Placed, rng: np.random.Generator) -> np.ndarray:
    """The object's colours, (H, W, 3) float.

    The texture belongs to the class; the colours are the object's own, though two in three
    objects lie near the hue of their class. A slope of light runs over the object.
    """
    class_id, u, v = placed.class_id, placed.u, placed.v
    scale = 2.0 if class_id <= len(TEXTURES) else 3.5
    share = TEXTURES[(class_id - 1) % len(TEXTURES)](scale * u + 40, scale * v + 40, rng)
    hue = ((class_id * 7) % 20) / 20 if rng.random() < 2 / 3 else rng.random()
    one = _colour(rng, hue, 0.4 + 0.35 * rng.random(), 0.75)
    other = _colour(rng, hue + 0.25 * rng.random(), 0.45, 0.35)
    light = 1 + 0.22 * (u * (rng.random() - 0.5) - v * rng.random())
    return _mix(share, one, other) * light[..., None]


def draw(
    class_ids: list[int], height: int, width: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """An image (H, W, 3) uint8 and its mask (H, W) uint8, 255 along every outline.

    Args:
        class_ids: Classes of the objects, from the back to the front. The last is always drawn;
            another is left out if no place is found where all stay visible enough.
        height: H.
        width: W.
        rng: Decides everything else.
    """
    picture = background(height, width, rng)
    instances = np.zeros((height, width), dtype=np.int64)
    placed: list[Placed] = []
    for class_id in reversed(class_ids):  # the front first, so that it is known what it hides
        for _ in range(12 if placed else 1000):
            new = place(class_id, height, width, rng)
            solid = new.coverage >= 0.5
            area = math.pi * 0.14**2 * height * width
            if (solid & (instances == 0)).sum() >= max(0.65 * solid.sum(), area):
                instances[solid & (instances == 0)] = len(placed) + 1
                placed.append(new)
                break
    for new in reversed(placed):
        picture += new.coverage[..., None] * (paint(new, rng) - picture)
    labels = np.array([0, *(new.class_id for new in placed)], dtype=np.uint8)
    mask = labels[instances]
    across = instances[:, 1:] != instances[:, :-1]
    down = instances[1:] != instances[:-1]
    for border, side in (
        (across, np.s_[:, 1:]),
        (across, np.s_[:, :-1]),
        (down, np.s_[1:]),
        (down, np.s_[:-1]),
    ):
        mask[side][border] = 255
    return np.clip(np.floor(picture + 0.5), 0, 255).astype(np.uint8), mask
