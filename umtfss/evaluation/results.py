"""The result file of an evaluation: the counts of every episode.

Shapes: E episodes. The file is JSON with one line per array, small enough for git. It holds neither
time nor host, so equal counts give equal bytes. The file keeps the arrays of `EpisodeScores` for
every fold and episode seed, from which any interval can be computed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from umtfss.common.errors import StoreError
from umtfss.common.files import atomic_path
from umtfss.common.manifests import read_sealed, sealed
from umtfss.evaluation.miou import EpisodeScores, Score, summarise

FORMAT = "umtfss-scores"
FORMAT_VERSION = 2
ARRAYS = tuple(f.name for f in fields(EpisodeScores))


@dataclass(frozen=True)
class FoldResult:
    """One fold's episodes.

    Attributes:
        fold: Fold tested.
        seeds: Episode seed -> counts.
    """

    fold: int
    seeds: Mapping[int, EpisodeScores]

    def pooled(self, seeds: int | None = None) -> EpisodeScores:
        """The episodes of seeds 0 .. `seeds` - 1 together; None: of all seeds.

        Raises:
            StoreError: A seed was not tested.
        """
        wanted = sorted(self.seeds) if seeds is None else list(range(seeds))
        missing = [seed for seed in wanted if seed not in self.seeds]
        if missing:
            raise StoreError(
                f"fold {self.fold} was not tested with the episode seeds {missing}",
                expected=wanted,
                found=sorted(self.seeds),
                fix="run snakemake --cores all all_evaluation again",
            )
        return EpisodeScores.concatenate([self.seeds[seed] for seed in wanted])


@dataclass(frozen=True)
class RunResult:
    """The results of one model on one data set with one K.

    Attributes:
        facts: Description of the test: model, digests, versions.
        folds: Fold -> result.
    """

    facts: Mapping[str, Any]
    folds: Mapping[int, FoldResult]


def save_results(
    path: str | Path,
    scores: Mapping[int, Mapping[int, EpisodeScores]],
    *,
    classes: Mapping[int, Sequence[int]],
    facts: Mapping[str, Any],
) -> None:
    """Write the file atomically, with its seal.

    Args:
        path: A `.json` path.
        scores: Fold -> episode seed -> counts.
        classes: Fold -> classes; each needs an episode.
        facts: JSON-able description: model, data set, shot, digests of weights and episodes,
            versions.

    Raises:
        StoreError: A class of a fold has no episode in any seed.
    """
    folds: dict[str, Any] = {}
    for fold, by_seed in sorted(scores.items()):
        result = FoldResult(fold, by_seed)
        pooled = result.pooled(None)
        missing = sorted(set(classes[fold]) - set(pooled.class_id.tolist()))
        if missing:
            raise StoreError(
                f"{path}: classes {missing} of fold {fold} have no test episode",
                expected=f"episodes of every class of {list(classes[fold])}",
                fix="draw more test episodes (datasets.<name>.test_episodes)",
            )
        folds[str(fold)] = {
            "summary_percent": _percent(summarise(pooled)),
            "seeds": {
                str(seed): {name: getattr(one, name).tolist() for name in ARRAYS}
                for seed, one in sorted(by_seed.items())
            },
        }
    value = {"format": FORMAT, "version": FORMAT_VERSION, "facts": dict(facts), "folds": folds}
    with atomic_path(path) as temporary:
        temporary.write_text(_lines(sealed(path, value)) + "\n", encoding="utf-8")


def load_result(path: str | Path) -> RunResult:
    """Read a result file.

    Raises:
        StoreError: The file is missing, altered, or of another version or place.
    """
    marks = {"format": FORMAT, "version": FORMAT_VERSION}
    value = read_sealed(path, "scores of episodes", marks)
    folds = {}
    for fold, block in value["folds"].items():
        seeds = {}
        for seed, arrays in block["seeds"].items():
            columns = (np.array(arrays[name], dtype=np.int64) for name in ARRAYS)
            seeds[int(seed)] = EpisodeScores(*columns)
        folds[int(fold)] = FoldResult(int(fold), seeds)
    return RunResult(value["facts"], folds)


def _percent(score: Score) -> dict[str, Any]:
    return {
        "miou": round(100 * score.miou, 3),
        "fb_iou": round(100 * score.fb_iou, 3),
        "class_means": round(100 * score.class_means, 3),
        "class_iou": {str(label): round(100 * iou, 3) for label, iou in score.class_iou.items()},
    }


def _lines(value: Any, indent: str = "") -> str:
    """JSON with one key per line and every array on one line."""
    if not isinstance(value, Mapping):
        return json.dumps(value, separators=(",", ":"))
    if not value:
        return "{}"
    inner = indent + " "
    rows = [f"{inner}{json.dumps(key)}: {_lines(one, inner)}" for key, one in value.items()]
    return "{\n" + ",\n".join(rows) + f"\n{indent}}}"
