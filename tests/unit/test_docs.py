"""What README and docs tell a reader to type, click and open is there."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from dvc.cli import parse_args
from snakemake.cli import get_argument_parser
from typer.core import TyperGroup
from typer.main import get_command

from tests.pages import PAGES, Command, commands
from tests.unit.test_project import EXTRAS
from umtfss.cli import app
from umtfss.common.files import PACKAGE_ROOT

MAKEFILE = (PACKAGE_ROOT / "Makefile").read_text()
TARGETS = set(re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)[1].split())  # type: ignore[index]
VARIABLES = set(re.findall(r"^(\w+) [?:]=", MAKEFILE, re.MULTILINE))
FOLDERS = ("benchmarks", "docs", "envs", "experiments", "profiles", "rules", "tests", "umtfss",
           "workflow_scripts")  # fmt: skip
# What a reader is to write.
TO_WRITE = {"umtfss/models/relation.py", "experiments/mine.yaml", "benchmarks/results/gpu",
            "workflow_scripts/verb_noun.py"}  # fmt: skip


@pytest.mark.parametrize("command", commands("make"), ids=str)
def test_make_has_the_target(command: Command) -> None:
    for word in command.words[1:]:
        name, is_set, _ = word.partition("=")
        assert name in (VARIABLES if is_set else TARGETS)


@pytest.mark.parametrize("command", commands("umtfss"), ids=str)
def test_umtfss_takes_the_arguments(command: Command, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    program = get_command(app)
    assert isinstance(program, TyperGroup)
    _, name, *arguments = command.words
    if name.startswith("--"):
        assert name in [option for one in program.params for option in one.opts]
        return
    assert name in program.commands
    if "--help" in arguments or not (arguments or command.is_whole):
        return
    for word in arguments:  # files that an example names
        if re.search(r"\.(jpg|png)$", word) or word == "FILE":
            Path(word).touch()
        elif word.endswith("/"):
            Path(word).mkdir()
    program.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("command", commands("snakemake"), ids=str)
def test_snakemake_takes_the_options(command: Command) -> None:
    get_argument_parser().parse_args(command.words[1:])


@pytest.mark.parametrize("command", commands("dvc"), ids=str)
def test_dvc_takes_the_options(command: Command) -> None:
    parse_args(command.words[1:])


@pytest.mark.parametrize("command", commands("python"), ids=str)
def test_the_module_takes_the_options(command: Command) -> None:
    _, flag, module, *arguments = command.words
    found = find_spec(module)
    assert flag == "-m"
    assert found is not None
    path = Path(str(found.origin))
    sources = "".join(one.read_text() for one in path.parent.glob("*.py"))
    options = [word for word in arguments if word.startswith("--")]
    assert all(re.search(rf"{word}\b|\b{word[2:]}: Annotated", sources) for word in options)


@pytest.mark.parametrize("command", commands("pip"), ids=str)
def test_pip_is_given_extras_and_files_that_exist(command: Command) -> None:
    for word in command.words[2:]:
        for extras in re.findall(r"\[([\w,]+)\]$", word):
            assert set(extras.split(",")) <= set(EXTRAS)
        if word.startswith("benchmarks/"):
            assert (PACKAGE_ROOT / word).is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    text = page.read_text()
    start = "|".join(FOLDERS)
    named = set(re.findall(rf"`((?:{start})/[\w./*-]+)`", text)) - TO_WRITE
    lacking = [name for name in named if not list(PACKAGE_ROOT.glob(name.rstrip("/")))]
    links = {one.partition("#")[0] for one in re.findall(r"\]\(([^):]+)\)", text)} - {""}
    lacking += [link for link in links if not (page.parent / link).exists()]
    assert lacking == []


def test_the_package_is_called_in_one_way() -> None:
    calls = [one for one in commands("python") if one.words[:3] == ("python", "-m", "umtfss")]
    assert calls == []  # but `umtfss`


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_lists_with_blocks_are_written_as_the_site_needs(page: Path) -> None:
    text = page.read_text()
    assert not re.search(r"^ {1,3}```", text, re.MULTILINE), "indent a block by four spaces"
    paragraph = r"\n\n {4}[^\s`].*(?:\n {4}.*)*"
    assert not re.search(paragraph + r"\n(?:\d+\.|\*) ", text), "part it from the next item"


def test_pages_have_commands_of_every_program() -> None:
    counts = {name: len(commands(name)) for name in ("make", "umtfss", "snakemake", "dvc", "pip")}
    assert min(counts.values()) >= 3, counts
    whole = [one for one in commands("umtfss") if one.is_whole]
    assert any("--support-image" in one.words and "another.jpg" in one.words for one in whole)


@pytest.mark.parametrize("experiment", ["demo_seeds", "voc_cpu"])
def test_verdicts_of_the_page_on_claims_are_the_committed_ones(experiment: str) -> None:
    text = (PACKAGE_ROOT / "docs/claims.md").read_text()
    head, _, *rows = [
        [cell.strip(" `") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith(("| key", "|---", "| `"))
    ][:14]
    shown = {row[0]: row[head.index(experiment)] for row in rows}
    path = PACKAGE_ROOT / "results" / experiment / "tables/claims.json"
    claims = {one["key"]: one for one in json.loads(path.read_text())["claims"]}
    once = {k for k, one in claims.items() if {e.get("trainings") for e in one["effects"]} == {1}}
    judged = {key: one["verdict"] + " *" * (key in once) for key, one in claims.items()}
    assert shown == {key: judged.get(key, "not tested") for key in shown}
    assert judged.keys() <= shown.keys()
