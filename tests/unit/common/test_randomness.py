"""Draws depend on their key alone."""

import numpy as np
import pytest

from umtfss.common.randomness import generator, permutation, seed64


def test_draws_are_the_same_on_every_machine():
    assert generator("test", "pascal", 0).integers(0, 1000, 3).tolist() == [644, 623, 719]
    assert seed64("a", 1) == 6861350103018950465


def test_a_draw_does_not_depend_on_earlier_ones():
    first = generator("a", 1).random(4)
    generator("b", 1).random(7)
    assert np.array_equal(generator("a", 1).random(4), first)


@pytest.mark.parametrize("other", [("a", 2), ("a",), ("a1",), ("a", 1, 0)])
def test_other_keys_draw_others(other):
    assert not np.array_equal(generator("a", 1).random(4), generator(*other).random(4))
    assert seed64("a", 1) != seed64(*other)


def test_a_permutation_holds_every_number_once():
    assert sorted(permutation(9, "a")) == list(range(9))
    assert permutation(9, "a").tolist() != permutation(9, "b").tolist()


def test_seeds_fit_a_torch_generator():
    assert all(0 <= seed64("a", i) < 2**63 for i in range(100))
