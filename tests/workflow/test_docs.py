"""The commands of README and docs that call Snakemake, as dry runs."""

import pytest

from tests.pages import Command, commands
from tests.workflow.conftest import Project, copy_project
from umtfss.common.files import PACKAGE_ROOT

# Other tests try profiles and environments with stand-ins, and --unlock; the page warns of --touch.
ELSEWHERE = ("--profile", "--workflow-profile", "--sdm", "--touch", "--unlock")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A copy with the experiment `mine` of the page on own images, its folder and its photos."""
    copy = copy_project(tmp_path_factory.mktemp("docs") / "umtfss")
    copy.edit("config.yaml", "experiment: tiny", "experiment: demo")
    page = (PACKAGE_ROOT / "docs/your_own_images.md").read_text()
    (copy.root / "experiments/mine.yaml").write_text(page.split("```yaml\n")[1].split("```")[0])
    for name in ("images", "masks"):
        (copy.root / "data/mine" / name).mkdir(parents=True)
    (copy.root / "data/mine/classes.txt").write_text("dog\ncat\nbird\ncow\n")
    return copy


def dry(command: Command) -> bool:
    return not any(word.startswith(ELSEWHERE) for word in command.words)


@pytest.mark.parametrize("command", [c for c in commands("snakemake") if dry(c)], ids=str)
def test_snakemake_knows_what_to_do(
    project: Project, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UMTFSS_DATA_ROOT", raising=False)  # `mine` lies in the copy
    _, *arguments = command.words
    printed = project.run("snakemake", "--cores", "1", "-n", *arguments).stdout
    assert "total" in printed or "Nothing to be done" in printed
