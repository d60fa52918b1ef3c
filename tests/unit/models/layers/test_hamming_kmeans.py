"""Hashing and Hamming k-means against plain numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from umtfss.models.layers.hamming_kmeans import (
    hamming_kmeans,
    hash_codes,
    hash_planes,
    keyed_hash,
    keyed_normals,
)

MASK = (1 << 64) - 1


def mix(x: int) -> int:
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
    return x ^ (x >> 31)


def hash_reference(key: int, stream: int, counter: int) -> int:
    gamma = 0x9E3779B97F4A7C15
    start = mix((mix((key + gamma) & MASK) + stream) & MASK)
    return mix((start + (counter + 1) * gamma) & MASK)


def kmeans_reference(
    codes: np.ndarray, sets: np.ndarray, groups: tuple[int, ...], priority: np.ndarray, steps: int
) -> np.ndarray:
    """One sample at a time, one token at a time."""
    result = np.full(len(codes), sum(groups))
    start = 0
    for index, size in enumerate(groups):
        members = np.flatnonzero(sets == index)
        if len(members) <= size:
            result[members] = start + np.arange(len(members))
        else:
            centres: list[tuple[bool, ...]] = []
            for token in members[np.argsort(priority[members], kind="stable")]:
                code = tuple(codes[token])
                if code not in centres and len(centres) < size:
                    centres.append(code)
            table = np.array(centres)
            for step in range(steps + 1):
                distance = (codes[members][:, None] != table[None]).sum(-1)
                nearest = distance.argmin(1)  # the first of equals
                if step == steps:
                    break
                for group in range(len(table)):
                    mine = codes[members][nearest == group]
                    table[group] = 2 * mine.sum(0) > len(mine)
            result[members] = start + nearest
        start += size
    return result


def random_problem(seed: int, batch: int, count: int, bits: int, kinds: int) -> tuple:
    rng = np.random.default_rng(seed)
    # few distinct codes and balanced bits, so that ties and repeats are common
    pool = rng.random((max(2, count // 3), bits)) < 0.5
    codes = pool[rng.integers(len(pool), size=(batch, count))]
    codes ^= rng.random(codes.shape) < 0.1
    sets = rng.integers(-1, kinds, size=(batch, count))
    priority = rng.integers(-(2**62), 2**62, size=(batch, count))
    return codes, sets, priority


@given(
    seed=st.integers(0, 10**6),
    count=st.integers(1, 60),
    bits=st.integers(1, 62),
    groups=st.tuples(st.integers(1, 9), st.integers(1, 12)),
    steps=st.integers(0, 5),
)
@settings(max_examples=60, deadline=None)
def test_equals_plain_kmeans(
    seed: int, count: int, bits: int, groups: tuple[int, int], steps: int
) -> None:
    codes, sets, priority = random_problem(seed, 3, count, bits, 2)
    found = hamming_kmeans(
        *map(torch.from_numpy, (codes, sets)), groups, torch.from_numpy(priority), steps
    ).numpy()
    expected = [
        kmeans_reference(c, s, groups, p, steps)
        for c, s, p in zip(codes, sets, priority, strict=True)
    ]
    np.testing.assert_array_equal(found, expected)


def test_equals_plain_kmeans_at_real_size() -> None:
    codes, sets, priority = random_problem(0, 2, 900, 32, 2)
    found = hamming_kmeans(
        *map(torch.from_numpy, (codes, sets)), (50, 100), torch.from_numpy(priority), 10
    ).numpy()
    for row in range(2):
        expected = kmeans_reference(codes[row], sets[row], (50, 100), priority[row], 10)
        np.testing.assert_array_equal(found[row], expected)


def test_one_set_and_one_group() -> None:
    codes = torch.rand(2, 7, 5) < 0.5
    sets = torch.zeros(2, 7, dtype=torch.long)
    assert (hamming_kmeans(codes, sets, (1,), torch.arange(14).view(2, 7), 3) == 0).all()


def test_fewer_distinct_codes_leave_groups_empty() -> None:
    codes = torch.tensor([[[True, False]] * 5 + [[False, False]] * 4])
    sets = torch.zeros(1, 9, dtype=torch.long)
    group = hamming_kmeans(codes, sets, (6,), torch.arange(9)[None], 3)[0]
    assert group.tolist() == [0] * 5 + [1] * 4


def test_few_tokens_are_groups_of_their_own() -> None:
    codes = torch.zeros(1, 6, 4, dtype=torch.bool)  # all equal, yet each by itself
    sets = torch.tensor([[-1, 0, 1, 0, 1, 1]])
    group = hamming_kmeans(codes, sets, (3, 4), torch.arange(6)[None], 3)
    assert group.tolist() == [[7, 0, 3, 1, 4, 5]]


@pytest.mark.parametrize("key", [0, 1, -1, 2**63 - 1, -(2**63), 123456789])
def test_hash_equals_splitmix(key: int) -> None:
    counter = torch.tensor([0, 1, 7, 2**40, 2**62])
    for stream in (0, 1, 2):
        found = keyed_hash(torch.tensor([key]), stream, counter)[0].tolist()
        expected = [hash_reference(key & MASK, stream, c) for c in counter.tolist()]
        assert [f & MASK for f in found] == expected


def test_codes_equal_numpy() -> None:
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(2, 20, 8)).astype(np.float32)
    keys, bits = [5, -9], 16
    sets = rng.choice([-1, 0, 1], (2, 20))
    planes_of = hash_planes(torch.tensor(keys), 8, bits, 2)
    found = hash_codes(torch.from_numpy(tokens), torch.from_numpy(sets), *planes_of).numpy()
    for row, key in enumerate(keys):

        def normal(stream: int, count: int, key: int = key) -> np.ndarray:
            hashes = [hash_reference(key & MASK, stream, c) for c in range(count)]
            parts = [sum((h >> s) & 0xFFFF for s in (0, 16, 32, 48)) for h in hashes]
            return (np.array(parts) - 131070) * np.sqrt(3) / 65536

        planes = normal(0, 2 * 8 * bits).reshape(2, 8, bits)
        thresholds = normal(1, 2 * bits).reshape(2, bits)
        for which in (0, 1):  # every set has planes of its own
            mine = sets[row] == which
            expected = tokens[row][mine] @ planes[which] > thresholds[which]
            np.testing.assert_array_equal(found[row][mine], expected)


def test_normals_are_standard() -> None:
    sample = keyed_normals(torch.arange(8), 0, 20_000).double()
    assert sample.mean().abs() < 0.01
    assert (sample.std() - 1).abs() < 0.01
    correlation = torch.corrcoef(sample) - torch.eye(8)  # keys are independent
    assert correlation.abs().max() < 0.03


def test_hash_keeps_the_angle() -> None:
    """The share of differing bits grows with the angle: the point of the hash."""
    first, other = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(0)) * 20
    tokens = torch.stack([first, 0.9 * first + 0.4 * other, other], 1)
    planes = hash_planes(torch.tensor([3]), 64, 4000, 1)
    code = hash_codes(tokens, torch.zeros(1, 3, dtype=torch.long), *planes).float()[0]
    share = (code[0] - code).abs().mean(1)
    cosine = torch.cosine_similarity(tokens[0, :1], tokens[0])
    torch.testing.assert_close(share, cosine.clamp(max=1).acos() / torch.pi, atol=0.03, rtol=0)
