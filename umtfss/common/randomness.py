"""Counter-based random generators: a draw depends on its key alone, never on call order."""

import hashlib

import numpy as np


def generator(*key: str | int) -> np.random.Generator:
    """A generator that depends on nothing but `key`, the same on every machine.

    Philox is counter-based: different keys give independent streams, and no draw depends on the
    number or the process of other draws.

    Args:
        *key: What is drawn, e.g. ("test", "pascal", fold, shot, seed, index).
    """
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], dtype=np.uint64)))


def permutation(size: int, *key: str | int) -> np.ndarray:
    """A random order of 0 .. size - 1 that depends on `key` alone, (size,) int64."""
    return generator(*key).permutation(size)


def seed64(*key: str | int) -> int:
    """A 63-bit integer seed that depends on `key` alone, e.g. for a torch generator."""
    digest = hashlib.sha256("\x1f".join(map(str, key)).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
