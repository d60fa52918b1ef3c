"""The reference of the releases equals the golden files, and the models equal the reference.

A golden file holds one case. These have more: several shots, padding of every image at the right
and at the bottom, empty and small sets, labels of 255, all in one batch.
"""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.golden_files import golden
from tests.unit.models import golden_check
from tests.unit.models.golden_run import Arrays, Comparison, golden_batch
from tests.unit.models.released import umtfss
from tests.unit.models.released_cases import made_case
from tests.unit.models.released_others import cyctr, pfenet
from umtfss.episodes.batch import EpisodeBatch

ONE_SHOT = [["plain"], ["small"], ["between"], ["buried"], ["whole"], ["framed"]]
FIVE_SHOTS = [
    ["plain"] * 5,
    ["small"] * 5,
    ["between"] * 5,
    ["plain", "small", "between", "buried", "whole"],
]
REFERENCES = {"umtfss": umtfss, "cyctr": cyctr, "pfenet": pfenet}
SETTINGS: dict[str, dict[str, Any]] = {
    "umtfss": {"k_fg": 4, "k_bg": 6, "hash_bits": 32, "code_updates": 9},
    "cyctr": {"tokens_fg": 8, "tokens_bg": 8},
    "pfenet": {  # scales that do not divide the grid, by fractions and by a side
        "grid": 12,
        "scales_as_configured": np.array([1.0, 0.6, 5.0, 0.15]),
        "scale_sides": np.array([12, 7, 5, 1]),
    },
}
TOKENS = 7, 6  # rows and columns of a rectangular batch
# What CyCTR's file has of every version.
OF_A_VERSION = ("element", "cross_", "self_attention_1", "fusion", "logits", "auxiliary", "loss")

every_model = pytest.mark.parametrize("name", REFERENCES)


def results(name: str, file: Arrays) -> Arrays:
    """What the reference computes, by the golden file's keys."""
    found = REFERENCES[name](file)
    if name == "cyctr" or file["settings/shot"] > 1:  # no file has it, models do not show it
        del found["prior_mask_of_each_shot"]
    versions = OF_A_VERSION if name == "cyctr" else ()
    return {
        f"results/{'repaired.' if key.startswith(versions) else ''}{key}": value
        for key, value in found.items()
    }


def check(name: str, case: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model computes what `case` says, every array of it."""
    getattr(golden_check, f"check_{name}")(case, monkeypatch)


@every_model
def test_the_reference_equals_the_golden_file(name: str) -> None:
    file = golden(name)
    compare = Comparison(file, tolerance=1e-6)
    for key, value in results(name, file).items():
        assert key in file
        compare.equal(key, value)
    compare.nothing_left("gradients/", "results/released")
    compare.print()


@pytest.mark.parametrize(("kinds", "k_fg"), [(ONE_SHOT, 4), (FIVE_SHOTS, 12)])
def test_umtfss_equals_the_reference(
    kinds: list[list[str]], k_fg: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some sets have fewer tokens than groups, two of one shot have none."""
    case = made_case("umtfss", kinds, **SETTINGS["umtfss"] | {"k_fg": k_fg})
    case |= results("umtfss", case)
    sizes = [len(v) for k, v in case.items() if k.endswith("foreground.tokens")]
    assert min(sizes) < k_fg < max(sizes)
    check("umtfss", case, monkeypatch)


@pytest.mark.parametrize(("kinds", "tokens"), [(ONE_SHOT, 8), (FIVE_SHOTS, 8), (ONE_SHOT, 1)])
def test_cyctr_equals_the_reference(
    kinds: list[list[str]], tokens: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one shot, some head hides every token of an episode."""
    case = made_case("cyctr", kinds, tokens_fg=tokens, tokens_bg=tokens)
    case |= results("cyctr", case)
    first = "results/repaired.cross_attention_0"
    hidden = case[f"{first}.token_hidden"][:, None] | case[f"{first}.inconsistent"]
    assert hidden.all(2).any() == (kinds is ONE_SHOT)
    check("cyctr", case, monkeypatch)


@pytest.mark.parametrize("kinds", [ONE_SHOT, FIVE_SHOTS])
def test_pfenet_equals_the_reference(
    kinds: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    case = made_case("pfenet", kinds, **SETTINGS["pfenet"])
    check("pfenet", case | results("pfenet", case), monkeypatch)


def trimmed_batch(name: str, file: Arrays) -> EpisodeBatch:
    """The file's batch as the loader makes it, without what is padding in every image."""
    batch = golden_batch(name, file)
    grids = {
        key: value[..., : TOKENS[0], : TOKENS[1]]
        for key, value in vars(batch).items()
        if key not in ("key", "target", "side", "support_target", "query_classes", "class_index")
    }
    return replace(batch, **grids, side=batch.query_valid.shape[-1])


@every_model
def test_a_batch_of_a_rectangular_grid_equals_the_reference(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The releases see the square grid; what a trimmed batch lacks of it are zeros."""
    kinds = [["plain", "small"], ["between", "framed"], ["plain", "plain"]]
    case = made_case(name, kinds, tokens=TOKENS, **SETTINGS[name])
    monkeypatch.setattr(golden_check, "golden_batch", trimmed_batch)
    check(name, case | results(name, case), monkeypatch)
