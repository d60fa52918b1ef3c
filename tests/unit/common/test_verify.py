"""A full check finds every damage, and nothing where there is none."""

import pytest

from tests.damage import DAMAGES, swap
from tests.unit.test_artifacts import FILES, KINDS, made
from umtfss.common.errors import StoreError
from umtfss.common.files import write_json
from umtfss.common.verify import verify

SHARD = ("features", "manifest.json")


@pytest.fixture
def results(tmp_path):
    """A folder with an artifact of every kind, twice, and results that bear no seal."""
    for seed, run in enumerate(("one", "two")):
        for name, kind in KINDS.items():
            made(kind, tmp_path, f"{name}/{run}", seed)
    folder = tmp_path / "results/tiny"
    for name in ("metrics.json", "figures/clusters-shapes-purity.json", "data/raw/recipe.json"):
        write_json(folder / name, {"a": 1})
    (folder / "training").mkdir()
    (folder / "training/checkpoint.pt").touch()
    return folder


def test_whole_results_have_no_problem(results):
    found = verify(results)
    assert found.problems == ()
    parts = 2  # of features, whose parts have manifests of their own
    assert found.sealed == 2 * len(KINDS) + parts
    assert found.files == 2 * sum(len(kind.files) == 2 for kind in KINDS.values())
    assert found.size > 10_000


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_damage_is_found(results, damage):
    for name, file in FILES:
        path = results / name / "one/seed0" / file
        kept = path.read_bytes()
        DAMAGES[damage](path)
        problems = "\n".join(map(str, verify(results).problems))
        # Snakemake makes these anew; parts of features have manifests of their own.
        missed = damage == "deleted" and (len(KINDS[name].files) == 1 or (name, file) == SHARD)
        assert missed or str(path.parent) in problems, (name, file)
        path.write_bytes(kept)
    assert not verify(results).problems


def test_exchanged_folders_are_found(results):
    for name in KINDS:
        swap(results / name / "one", results / name / "two")
        assert "a file of another place" in "\n".join(map(str, verify(results).problems))
        swap(results / name / "one", results / name / "two")


def test_a_folder_that_is_not_there_is_not_whole(tmp_path):
    with pytest.raises(StoreError, match="there are no results in"):
        verify(tmp_path / "results/tiny")
