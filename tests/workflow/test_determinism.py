"""Results do not depend on cores, shards, loader processes, locale, hash seed or folder."""

import shutil

import pytest

from tests.determinism import (
    FOUR_THREADS,
    HEADLINE,
    MANY_THREADS,
    RESULTS,
    SHORT,
    TOLERANCE,
    TURKISH,
    VARIANTS,
    differing,
    distances,
    results,
)

pytestmark = pytest.mark.slow


def test_centres_and_weights_are_the_same_under_other_circumstances(made, tmp_path):
    count, others = differing(made.root / RESULTS, results(VARIANTS[1], tmp_path, *SHORT), False)
    assert count > 100
    assert others == []


@pytest.mark.stress
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.title)
def test_the_headline_is_the_same_under_other_circumstances(made, tmp_path, variant):
    if TURKISH in variant.variables.values() and not shutil.which("localedef"):
        pytest.skip("not installed: localedef")
    other = results(variant, tmp_path, *HEADLINE)
    count, others = differing(made.root / RESULTS, other, every_byte=not variant.edits)
    assert count > 400
    assert others == []


@pytest.mark.stress
@pytest.mark.timeout(3600)
def test_other_numbers_of_threads_change_little(made, tmp_path):
    other = results(MANY_THREADS, tmp_path, *FOUR_THREADS, *HEADLINE)
    found = distances(made.root / RESULTS, other)
    assert {name for name, value in found.items() if value > TOLERANCE[name]} == set(), found
