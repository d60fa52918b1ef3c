"""The textures of the procedural data set: maps from object coordinates to a share of a colour.

All arithmetic is on integers or elementary floating point, so every machine draws the same.

Shapes: H W pixels; a texture takes the coordinates u and v, (H, W) each, and gives (H, W) in
[0, 1]. One stripe, tile or dot is about one unit wide.
"""

from collections.abc import Callable

import numpy as np

Texture = Callable[[np.ndarray, np.ndarray], np.ndarray]


def wave(x: np.ndarray) -> np.ndarray:
    """A triangle wave of period 2 between 0 and 1."""
    return np.abs(x - 2 * np.floor(x / 2) - 1)


def edge(x: np.ndarray, softness: float = 0.16) -> np.ndarray:
    """A step at 0.5 from 0 to 1, softened."""
    return np.clip((x - 0.5) / softness + 0.5, 0, 1)


def value_noise(u: np.ndarray, v: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in [0, 1] that varies over a distance of about 1."""
    return _lattice_noise(u, v, rng.random((32, 32)))


def _lattice_noise(u: np.ndarray, v: np.ndarray, lattice: np.ndarray) -> np.ndarray:
    iu, iv = np.floor(u).astype(np.int64), np.floor(v).astype(np.int64)
    fu, fv = u - iu, v - iv
    fu, fv = fu * fu * (3 - 2 * fu), fv * fv * (3 - 2 * fv)
    iu, iv = iu % 32, iv % 32
    ju, jv = (iu + 1) % 32, (iv + 1) % 32
    top = lattice[iv, iu] * (1 - fu) + lattice[iv, ju] * fu
    low = lattice[jv, iu] * (1 - fu) + lattice[jv, ju] * fu
    return top * (1 - fv) + low * fv


def _cells(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The distance to the centre of the pixel's cell in a unit grid with shifted odd rows."""
    row = np.floor(v)
    du = u + 0.5 * row
    return np.sqrt((du - np.floor(du) - 0.5) ** 2 + (v - row - 0.5) ** 2)


def _bricks(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    shifted = u / 2 + 0.5 * np.floor(v)
    in_u, in_v = shifted - np.floor(shifted), v - np.floor(v)
    return np.maximum(1 - edge(in_u / 0.12, 0.5), 1 - edge(in_v / 0.24, 0.5))


def _leaves(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Small pointed ovals, one per cell of the shifted grid."""
    row = np.floor(v)
    du = u + 0.5 * row
    du, dv = np.abs(du - np.floor(du) - 0.5), np.abs(v - row - 0.5)
    return 1 - edge(du * 2.6 + dv * dv * 2.4)


def _scales(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Overlapping arcs, as of a fish or a roof."""
    row = np.floor(v)
    du = u + 0.5 * row
    du, dv = du - np.floor(du) - 0.5, v - row
    return wave(2.2 * np.sqrt(du * du + dv * dv))


# From regular to irregular edges; a class has one texture for each of its two parts.
TEXTURES: dict[str, Texture] = {
    "stripes": lambda u, v: edge(wave(2 * u)),
    "checks": lambda u, v: np.abs(edge(wave(1.5 * u)) - edge(wave(1.5 * v))),
    "dots": lambda u, v: 1 - edge(_cells(u, v) / 0.3 - 0.5),
    "bricks": _bricks,
    "waves": lambda u, v: edge(wave(2 * v + 1.6 * wave(u))),
    "rings": lambda u, v: edge(wave(2.2 * np.sqrt(u * u + v * v))),
    "plaid": lambda u, v: 0.5 * (edge(wave(1.4 * u) - 0.2) + edge(wave(1.4 * v) - 0.2)),
    "zigzag": lambda u, v: edge(wave(1.6 * v + 2.4 * wave(0.8 * u))),
    "scales": _scales,
    "leaves": _leaves,
    "diamonds": lambda u, v: edge(0.5 * (wave(1.3 * (u + v)) + wave(1.3 * (u - v)))),
    "rays": lambda u, v: edge(wave(3 * np.abs(u) / (np.abs(u) + np.abs(v) + 0.01) * 2.0)),
    "nets": lambda u, v: edge(_cells(u, v) / 0.9, 0.2),
    "ripples": lambda u, v: wave(1.8 * u + 1.2 * wave(1.2 * v) + 0.8 * wave(0.7 * u + v)),
}
