"""The digests that DVC watches, of the experiment `demo`, which trains all models."""

import pytest
import yaml

from tests.workflow.conftest import Project

FILE = "results/demo/arrows.yaml"
ARROWS = ["data", "features", "clustering", "pseudo_masks", "episodes", "training", "evaluation",
          "tables", "report"]  # fmt: skip


def digests(project: Project) -> dict[str, str]:
    """Arrow -> digest."""
    project.snakemake("--config", "experiment=demo", "--", FILE)
    return yaml.safe_load((project.root / FILE).read_text())


@pytest.fixture(scope="module")
def before(fresh) -> dict[str, str]:
    return digests(fresh)


def test_every_arrow_has_a_digest_of_its_own(before):
    assert set(ARROWS) <= set(before)
    assert len({before[arrow] for arrow in ARROWS}) == len(ARROWS)


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        ("umtfss/models/pfenet.py", '"""', '"""Edited. ', set()),
        (
            "umtfss/models/pfenet.py",
            '"""\n\n',
            '"""\n\nEDITED = 1\n',
            {"training", "evaluation", "tables"},
        ),
        (
            *("experiments/demo.yaml", "test_episodes: 100", "test_episodes: 14"),
            {"episodes", "evaluation", "tables", "report"},
        ),
        ("umtfss/tables/write.py", '"""\n\n', '"""\n\nEDITED = 1\n', {"tables", "report"}),
    ],
    ids=["docstring", "model", "test_episodes", "tables"],
)
def test_an_edit_makes_stale_what_it_decides(fresh, before, file, old, new, stale):
    path = fresh.root / file
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        after = digests(fresh)
    finally:
        path.write_text(text)
    assert {arrow for arrow in before if after[arrow] != before[arrow]} == stale
