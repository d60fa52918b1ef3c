"""Drawing an image of the procedural data set.

An image shows one or two objects and a few plain stones on a soft ground. Objects of a class differ
in place, size, rotation and light, and little else.

Every machine draws the same pixels. All arithmetic is on integers or elementary floating point
(+ - * / sqrt), which is rounded alike everywhere; sines and cosines are rounded to a coarse grid.

Shapes: V vertices, H W pixels. Coordinates are (x, y), y downwards.
"""

import colorsys
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from umtfss.data.shape_looks import BODY_AND_INLAY, GRID, UNIT_OUTLINES, Look, Part
from umtfss.data.shape_textures import TEXTURES, edge, value_noise

SUPERSAMPLING = 3  # divides GRID
SMALLEST, LARGEST = 0.20, 0.30  # radius of an object over the square root of the image's area
RIM = 0.93  # the outline without its dark rim, over the outline
INLAY = 0.62  # the inlay over the outline; both parts cover a third of the object or more


@dataclass(frozen=True)
class Placed:
    """An object in the image, seen through the window that holds it and its shadow.

    Attributes:
        class_id: 1 .. 20.
        window: Rows and columns of the image, h x w px.
        coverage: (h, w) float in [0, 1], part of the pixel that the object covers.
        loops: Name -> outline in 1/GRID px of the window: "inside" (the body without its rim),
            "inlay", "shadow".
        radius: Radius of the object, px.
        u: (h, w) float, first object coordinate of the pixel; the object spans about -1 .. 1.
        v: (h, w) float, second object coordinate, downwards.
    """

    class_id: int
    window: tuple[slice, slice]
    coverage: np.ndarray
    loops: Mapping[str, np.ndarray]
    radius: float
    u: np.ndarray
    v: np.ndarray

    def fill(self, name: str) -> np.ndarray:
        """(h, w) float in [0, 1], part of the pixel that an outline covers."""
        return fill([self.loops[name]], *self.u.shape)


def fill(loops: Sequence[np.ndarray], height: int, width: int) -> np.ndarray:
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
    row, side = np.nonzero((np.minimum(y0, y1) <= y) & (y < np.maximum(y0, y1)))
    cross = x0[side] + (y[row, 0] - y0[side]) * (x1 - x0)[side] // (y1 - y0)[side]
    first = np.clip((cross - step // 2) // step + 1, 0, columns)
    toggles = np.zeros((rows, columns + 1), dtype=np.uint8)
    np.bitwise_xor.at(toggles, (row, first), 1)
    inside = np.bitwise_xor.accumulate(toggles, axis=1)[:, :columns]
    offsets = [(i, j) for i in range(SUPERSAMPLING) for j in range(SUPERSAMPLING)]
    hits = np.zeros((height, width))
    for i, j in offsets:
        hits += inside[i::SUPERSAMPLING, j::SUPERSAMPLING]
    return hits / SUPERSAMPLING**2


def blur(picture: np.ndarray, radius: int) -> np.ndarray:
    """The picture (H, W) after two box blurs of side 2 radius + 1 px, (H, W) float; 0 outside."""
    size = 2 * radius + 1
    for axis in (0, 1, 0, 1):
        pad = [(0, 0), (0, 0)]
        pad[axis] = (radius + 1, radius)
        total = np.cumsum(np.pad(picture, pad), axis=axis)
        ends = (np.take(total, np.arange(size, total.shape[axis]), axis),
                np.take(total, np.arange(total.shape[axis] - size), axis))  # fmt: skip
        picture = (ends[0] - ends[1]) / size
    return picture


def _colour(hue: float, saturation: float, value: float) -> np.ndarray:
    """A colour, (3,) in [0, 255]."""
    return 255 * np.array(colorsys.hsv_to_rgb(hue % 1.0, min(max(saturation, 0), 1), value))


def _mix(share: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The mixture of two colours, (H, W, 3); `share` (H, W) is the part of `other`."""
    return one + share[..., None] * (other - one)


def background(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """A soft, plain wall above a floor, (H, W, 3) float in [0, 255]."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x / width, y / height
    hue = rng.random()
    colours = [
        _colour(hue + 0.1 * rng.random(), 0.10 + 0.18 * rng.random(), 0.62 + 0.3 * rng.random())
        for _ in range(3)
    ]
    cloud = value_noise(3 * x + 8 * rng.random(), 3 * y + 8 * rng.random(), rng)
    share = np.clip((x + y) / 2 + 0.5 * (cloud - 0.5), 0, 1)
    picture = _mix(share, colours[0], colours[1])
    horizon = 0.45 + 0.4 * rng.random() + 0.3 * (rng.random() - 0.5) * (x - 0.5)
    floor = edge(0.5 + (y - horizon), 0.10)
    return _mix(floor * (0.55 + 0.25 * rng.random()), picture, colours[2])


def light(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """The factor on colours from the light, (H, W, 3): a slope, dark corners, a tint."""
    y, x = np.mgrid[:height, :width].astype(np.float64)
    x, y = x / width - 0.5, y / height - 0.5
    bright = 0.82 + 0.26 * rng.random()
    slope = 0.4 * (rng.random() - 0.5) * x - 0.3 * rng.random() * y
    corners = 0.35 * rng.random() * (x * x + y * y)
    warm = 0.09 * (rng.random() - 0.5)
    tint = np.array([1 + warm, 1.0, 1 - warm])
    return (bright + slope - corners)[..., None] * tint


def place(
    class_id: int, height: int, width: int, rng: np.random.Generator, size: float | None = None
) -> Placed:
    """Place an object of a class in the image: moved, turned, mirrored and scaled.

    Args:
        class_id: The class.
        height: H.
        width: W.
        rng: Draws place, rotation, mirroring and scale.
        size: Radius over the square root of the image's area; None: drawn.
    """
    drawn = SMALLEST + (LARGEST - SMALLEST) * rng.random()
    radius = math.sqrt(height * width) * (drawn if size is None else size)
    room = 0.75 * radius  # a quarter may leave the image
    centre = (
        room + (width - 2 * room) * rng.random(),
        room + (height - 2 * room) * rng.random(),
    )
    angle = math.radians(int(rng.integers(-35, 36)))
    cos, sin = round(GRID * math.cos(angle)) / GRID, round(GRID * math.sin(angle)) / GRID
    stretch = 0.92 + 0.16 * rng.random()
    mirror = 1 if rng.random() < 0.5 else -1
    # Where the object's axes point in the image: columns of the matrix that places the outline.
    ax, ay = mirror * radius * stretch * cos, mirror * radius * stretch * sin
    bx, by = -radius / stretch * sin, radius / stretch * cos
    loop = UNIT_OUTLINES[class_id - 1]

    def outline(scale: float, dx: float = 0.0, dy: float = 0.0) -> np.ndarray:
        x, y = scale * loop[:, 0], scale * loop[:, 1]
        across = np.floor(x * ax + y * bx + (centre[0] + dx) * GRID)
        down = np.floor(x * ay + y * by + (centre[1] + dy) * GRID)
        return np.stack([across, down], axis=1).astype(np.int64)

    whole = outline(1.0)
    (left, top), (right, bottom) = whole.min(0) // GRID, whole.max(0) // GRID + 1
    margin = 1 + int(0.4 * radius)  # the shadow falls down to the right
    rows = slice(max(0, int(top) - 2), max(1, min(height, int(bottom) + margin)))
    columns = slice(max(0, int(left) - 2), max(1, min(width, int(right) + margin)))
    corner = np.array([columns.start, rows.start]) * GRID
    loops = {
        "inside": outline(RIM) - corner,
        "inlay": outline(INLAY) - corner,
        "shadow": outline(1.02, 0.05 * radius, 0.16 * radius) - corner,
    }
    y, x = np.mgrid[rows, columns] + 0.5
    dx, dy, determinant = x - centre[0], y - centre[1], ax * by - ay * bx
    u, v = (dx * by - dy * bx) / determinant, (dy * ax - dx * ay) / determinant
    coverage = fill([whole - corner], *u.shape)
    return Placed(class_id, (rows, columns), coverage, loops, radius, u, v)


def shade(picture: np.ndarray, placed: Placed, part: float) -> None:
    """Darken the picture (H, W, 3) by `part` in the object's shadow; changes the picture."""
    shadow = blur(placed.fill("shadow"), max(1, int(0.1 * placed.radius)))
    picture[placed.window] *= 1 - part * shadow[..., None]


def surface(part: Part, placed: Placed, rng: np.random.Generator) -> np.ndarray:
    """The colours of a part, over the object's whole window, (h, w, 3) float."""
    jitter = rng.random(6) - 0.5
    scale = part.scale * (1 + 0.12 * jitter[0])
    u, v = scale * placed.u + jitter[1], scale * placed.v + jitter[2]
    hue, saturation = part.hue + 0.03 * jitter[3], part.saturation + 0.1 * jitter[4]
    one = _colour(hue, saturation, 0.92 + 0.1 * jitter[5])
    other = _colour(hue + part.contrast, saturation + 0.1, 0.5 + 0.1 * jitter[5])
    return _mix(TEXTURES[part.texture](u, v), one, other)


def mosaic(parts: int, placed: Placed) -> np.ndarray:
    """The part that each pixel belongs to, (H, W) int: one in the middle, the others around it.

    All parts have about the same size: a pixel belongs to the part with the nearest centre.
    """
    radius = 2 / math.sqrt(parts)
    turns = [2 * math.pi * part / (parts - 1) for part in range(parts - 1)]
    around = [(radius * math.sin(turn), radius * math.cos(turn)) for turn in turns]
    centres = [(0.0, 0.0), *((round(GRID * x) / GRID, round(GRID * y) / GRID) for x, y in around)]
    return np.argmin([(placed.u - x) ** 2 + (placed.v - y) ** 2 for x, y in centres], axis=0)


def paint(look: Look, placed: Placed, rng: np.random.Generator) -> np.ndarray:
    """The object's colours, (h, w, 3) float: parts, dark rim and a soft gleam."""
    surfaces = [surface(part, placed, rng) for part in look]
    if len(look) == BODY_AND_INLAY:
        body, inlay = surfaces
        picture = body + placed.fill("inlay")[..., None] * (inlay - body)
    else:
        which = mosaic(len(look), placed)[None, ..., None]
        picture = np.take_along_axis(np.stack(surfaces), which, axis=0)[0]
    picture *= 0.45 + 0.55 * placed.fill("inside")[..., None]
    u, v = placed.u + 0.35, placed.v + 0.4
    gleam = np.clip(1.18 - 0.16 * (u * u + v * v), 0.7, 1.2)
    return picture * gleam[..., None]


def add_pebbles(picture: np.ndarray, count: int, rng: np.random.Generator) -> None:
    """Draw small plain stones, which belong to no class, into the picture (H, W, 3)."""
    for _ in range(count):
        kind, size = 1 + 14 * int(rng.integers(2)), 0.03 + 0.035 * rng.random()
        stone = place(kind, picture.shape[0], picture.shape[1], rng, size)
        colour = _colour(rng.random(), 0.15 + 0.35 * rng.random(), 0.45 + 0.45 * rng.random())
        gleam = np.clip(1.15 - 0.2 * ((stone.u + 0.4) ** 2 + (stone.v + 0.4) ** 2), 0.6, 1.2)
        shade(picture, stone, 0.35)
        below = picture[stone.window]
        below += stone.coverage[..., None] * (gleam[..., None] * colour - below)


def draw(
    looks: Sequence[Look], class_ids: Sequence[int], height: int, width: int,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """An image (H, W, 3) uint8 and its mask (H, W) uint8, 255 along every outline.

    Args:
        looks: Look of every class, from `class_looks`.
        class_ids: Classes of the objects, from back to front. The last object is always drawn;
            another is left out if no place is found at which all objects stay visible enough.
        height: H.
        width: W.
        rng: Draws everything else.
    """
    picture = background(height, width, rng)
    add_pebbles(picture, int(rng.integers(2, 6)), rng)
    instances = np.zeros((height, width), dtype=np.int64)
    placed: list[Placed] = []
    for class_id in reversed(class_ids):  # front first: it decides how much shows
        for _ in range(12 if placed else 1000):
            new = place(class_id, height, width, rng)
            free = (new.coverage >= 0.5) & (instances[new.window] == 0)
            whole = max(0.8 * math.pi * new.radius**2, 0.6 * math.pi * SMALLEST**2 * height * width)
            if free.sum() >= 0.75 * whole:
                placed.append(new)
                instances[new.window][free] = len(placed)
                break
    for new in reversed(placed):
        shade(picture, new, 0.45)
        below = picture[new.window]
        below += new.coverage[..., None] * (paint(looks[new.class_id - 1], new, rng) - below)
    picture *= light(height, width, rng)
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
