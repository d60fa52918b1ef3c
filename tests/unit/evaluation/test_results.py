"""The evaluation file."""

import json
from pathlib import Path

import numpy as np
import pytest

from umtfss.common.errors import StoreError
from umtfss.evaluation.miou import EpisodeScores, summarise
from umtfss.evaluation.results import load_result, save_results

CLASSES = {0: (1, 2), 3: (4,)}


def scores(seed: int, classes: tuple[int, ...], count: int = 50) -> EpisodeScores:
    rng = np.random.default_rng(seed)
    union = rng.integers(1, 200_000, count)
    return EpisodeScores(
        np.resize(classes, count),
        (union * rng.random(count)).astype(np.int64),
        union,
        rng.integers(0, 200_000, count),
    )


def save(path: Path) -> dict[int, dict[int, EpisodeScores]]:
    given = {fold: {s: scores(fold + s, CLASSES[fold]) for s in (0, 1)} for fold in CLASSES}
    save_results(path, given, classes=CLASSES, facts={"run": "umtfss/x", "shot": 1})
    return given


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    given = save(tmp_path / "a.json")
    result = load_result(tmp_path / "a.json")
    assert result.facts == {"run": "umtfss/x", "shot": 1}
    assert sorted(result.folds) == [0, 3]
    for fold, by_seed in given.items():
        for seed, one in by_seed.items():
            for name, values in vars(one).items():
                loaded = getattr(result.folds[fold].seeds[seed], name)
                np.testing.assert_array_equal(loaded, values)
                assert loaded.dtype == np.int64
        first = result.folds[fold].pooled(1)
        np.testing.assert_array_equal(first.union, by_seed[0].union)
        assert len(result.folds[fold].pooled(2)) == len(result.folds[fold].pooled(None)) == 100


def test_the_file_is_compact_and_reproducible(tmp_path: Path) -> None:
    given = save(tmp_path / "a.json")
    text = (tmp_path / "a.json").read_text()
    save(tmp_path / "a.json")
    assert text == (tmp_path / "a.json").read_text()
    assert len(text) < 50 * 4 * 4 * 7.5 + 2000
    assert sum("[" in line for line in text.splitlines()) == 4 * 4
    summary = json.loads(text)["folds"]["0"]["summary_percent"]
    expected = summarise(EpisodeScores.concatenate(list(given[0].values())))
    assert summary["miou"] == pytest.approx(100 * expected.miou, abs=1e-3)
    assert summary["class_means"] == pytest.approx(100 * expected.class_means, abs=1e-3)
    assert set(summary["class_iou"]) == {"1", "2"}


def test_an_untested_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"classes \[2\] of fold 0.*\n(.*\n)*.*test_episodes"):
        save_results(tmp_path / "a.json", {0: {0: scores(0, (1,))}}, classes=CLASSES, facts={})
    assert not list(tmp_path.iterdir())


def test_an_untested_seed_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.json")
    with pytest.raises(StoreError, match=r"fold 3 was not tested with the episode seeds \[2\]"):
        load_result(tmp_path / "a.json").folds[3].pooled(3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-20], "is not JSON"),
        (lambda text: text.replace('"version": 2', '"version": 9'), "wrong version"),
        (lambda text: text.replace('"union": [', '"union": [7,', 1), "was altered"),
    ],
)
def test_broken_files_are_refused(tmp_path: Path, change, message: str) -> None:
    path = tmp_path / "a.json"
    save(path)
    path.write_text(change(path.read_text()))
    with pytest.raises(StoreError, match=message):
        load_result(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"nothing\.json does not exist"):
        load_result(tmp_path / "nothing.json")
