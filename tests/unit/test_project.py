"""What must stay equal across the project's files."""

import ast
import itertools
import re
import tomllib

import pytest
import yaml

from tests.rule_files import rule_texts
from tests.shared_files import REQUIRED, absent
from umtfss import __version__
from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.load import load_experiment

PROJECT = tomllib.loads((PACKAGE_ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
ARROWS = ["data", "features", "clustering", "pseudo_masks", "episodes", "training", "evaluation",
          "tables"]  # fmt: skip

# Tests of more than one module, or of what is no module of the package.
OF_NO_MODULE = {
    "test_artifacts.py",
    "test_benchmarks.py",
    "test_benchmarks_gpu.py",
    "test_docs.py",
    "test_light_install.py",
    "test_mutations.py",
    "test_project.py",
    "test_site.py",
    "models/test_every_model.py",
    "models/test_golden.py",
    "models/test_released.py",
    "plan/test_jobs.py",
    "plan/test_staleness.py",
}


def names(requirements) -> set[str]:
    return {re.split(r"[><=\[; ]", line)[0].lower().replace("_", "-") for line in requirements}


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_conda_environment_equals_pyproject(device):
    environment = yaml.safe_load((PACKAGE_ROOT / f"envs/{device}.yaml").read_text())
    listed = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert listed == sorted(PROJECT["dependencies"] + EXTRAS["pipeline"] + EXTRAS[device])


def test_every_rule_takes_the_environment_of_the_device():
    for file in (PACKAGE_ROOT / "rules").glob("*.smk"):
        text = file.read_text()
        rules = re.findall(r"^rule (\w+):", text, re.MULTILINE)
        jobs = [name for name in rules if not name.startswith("all_")]
        assert text.count("    conda:\n        environment\n") == len(jobs), file


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_lock_pins_every_requirement(device):
    lines = (PACKAGE_ROOT / f"envs/{device}.lock").read_text().splitlines()
    pinned = names(line for line in lines if re.match(r"[A-Za-z0-9]", line))
    extras = (
        EXTRAS[name] for name in ("pipeline", device, "serve", "onnx", "tensorboard", "dev", "docs")
    )
    asked = sum(extras, PROJECT["dependencies"])
    assert names(asked) <= pinned
    assert f"faiss-{'gpu' if device == 'cpu' else 'cpu'}" not in pinned


@pytest.mark.parametrize("arrow", ARROWS)
def test_an_arrow_has_one_rule_file_package_and_stage(arrow):
    assert (PACKAGE_ROOT / "rules" / f"{arrow}.smk").is_file()
    assert (PACKAGE_ROOT / "umtfss" / arrow).is_dir()
    stages = yaml.safe_load((PACKAGE_ROOT / "dvc.yaml").read_text())["stages"]
    make, check = (
        f"snakemake --cores all -- all_{arrow}",
        f"python -m umtfss verify --arrow {arrow}",
    )
    assert stages[arrow]["cmd"] == (make if arrow == "tables" else [make, check])


def test_what_dvc_keeps_is_checked_before_it_is_recorded():
    """DVC deletes what does not persist before a stage runs, so that it is made anew."""
    for name, stage in yaml.safe_load((PACKAGE_ROOT / "dvc.yaml").read_text())["stages"].items():
        persist = [out for out in stage["outs"] if "persist" in str(out)]
        assert bool(persist) == ("verify" in str(stage["cmd"])), name


def test_every_script_belongs_to_a_rule_and_is_thin():
    rules = "".join(p.read_text() for p in (PACKAGE_ROOT / "rules").glob("*.smk"))
    for script in (PACKAGE_ROOT / "workflow_scripts").glob("*.py"):
        assert f'"../workflow_scripts/{script.name}"' in rules
        assert f"rule {script.stem}:" in rules
        assert len(script.read_text().splitlines()) <= 40


def test_a_stage_watches_the_digest_of_its_arrow_alone():
    stages = yaml.safe_load((PACKAGE_ROOT / "dvc.yaml").read_text())["stages"]
    del stages["settings"]
    assert list(stages) == [*ARROWS, "report"]
    for name, stage in stages.items():
        assert stage["params"] == [{"results/${experiment}/arrows.yaml": [name]}]
        assert all(path.startswith("results/") for path in stage.get("deps", ()))


def test_shipped_experiments_find_raw_data_within_the_project():
    for path in (PACKAGE_ROOT / "experiments").glob("*.yaml"):
        assert load_experiment(path.stem).data_root == "data", path


def test_the_citation_has_the_version_of_the_package():
    citation = yaml.safe_load((PACKAGE_ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__


def test_absent_files_skip_a_test_or_fail_it(monkeypatch):
    monkeypatch.setenv(REQUIRED, "1")
    with pytest.raises(pytest.fail.Exception, match="no photos"):
        absent("no photos")
    monkeypatch.delenv(REQUIRED)
    with pytest.raises(pytest.skip.Exception, match="no photos"):
        absent("no photos")


def test_unit_tests_mirror_the_package():
    folder = PACKAGE_ROOT / "tests/unit"
    tests = {path.relative_to(folder) for path in folder.rglob("test_*.py")}
    assert len(tests) > 80
    module_of = {one.as_posix(): one.with_name(one.name.removeprefix("test_")) for one in tests}
    homeless = {k for k, one in module_of.items() if not (PACKAGE_ROOT / "umtfss" / one).is_file()}
    assert homeless == OF_NO_MODULE


def test_numbers_in_the_readme_are_those_of_the_committed_table():
    path = "results/demo_seeds/tables/headline.md"

    def rows(text: str) -> dict[str, dict[str, str]]:
        """Row title -> column title -> cell, of the first table whose columns name shots."""
        lines = [[c.strip() for c in r.strip("| \n").split("|")] for r in text.splitlines()]
        head = next(i for i, cells in enumerate(lines) if "1-shot mean" in cells)
        body = itertools.takewhile(lambda cells: len(cells) > 1, lines[head + 2 :])
        return {cells[0]: dict(zip(lines[head][1:], cells[1:], strict=True)) for cells in body}

    readme = (PACKAGE_ROOT / "README.md").read_text()
    shown = rows(readme[readme.index(f"(`{path}`)") :])
    table = rows((PACKAGE_ROOT / path).read_text())
    assert shown.keys() == table.keys()
    for title, cells in shown.items():
        assert cells.items() <= table[title].items()


@pytest.mark.parametrize("profile", ["gpu", "slurm", "kubernetes"])
def test_profiles_name_rules_that_exist(profile):
    settings = yaml.safe_load((PACKAGE_ROOT / f"profiles/{profile}/config.yaml").read_text())
    rules = "".join(p.read_text() for p in (PACKAGE_ROOT / "rules").glob("*.smk"))
    for name in [*settings.get("set-threads", ()), *settings["set-resources"]]:
        assert f"\nrule {name}:" in rules


@pytest.mark.parametrize("profile", ["gpu", "slurm", "kubernetes"])
def test_profiles_know_every_rule_that_takes_a_gpu_or_much_time(profile):
    """Other rules take the profile's defaults, or what the rule itself says."""
    settings = yaml.safe_load((PACKAGE_ROOT / f"profiles/{profile}/config.yaml").read_text())
    for rule, text in rule_texts().items():
        script = (PACKAGE_ROOT / f"workflow_scripts/{rule}.py").read_text()
        if (
            "device=" in script
            or "device = " in script
            or rule in ("train_model", "cluster_pixels")
        ):
            own = settings["set-resources"].get(rule, {})
            assert own.get("gpus") or own.get("gres") == "gpu:1", rule
            assert profile != "slurm" or own["slurm_partition"] == "gpu", rule
        if profile != "gpu" and re.search(r"^    threads: [2-9]", text, re.MULTILINE):
            assert rule == "make_shapes" or settings["set-threads"][rule] > 2, rule
    if profile != "gpu":
        assert settings["retries"] > 0
        assert settings["default-resources"]["mem_mb"] >= 8000


CODE = [path for name in ("umtfss", "benchmarks", "workflow_scripts", "profiles")
        for path in sorted((PACKAGE_ROOT / name).rglob("*.py"))]  # fmt: skip
# Calls that run what a file, a key or a name says.
RUNNING = re.compile(
    r"(pickle|cPickle|dill|cloudpickle|joblib|marshal|shelve)\.(loads?|Unpickler|open)"
    r"|eval|exec|compile|__import__|os\.(system|popen)|subprocess\.getoutput"
    r"|yaml\.(load|unsafe_load|full_load)|pd\.read_pickle"
)


def running_calls(source: str) -> list[str]:
    """The calls of a source that run what is read, or that give a text to a shell."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name, keywords = ast.unparse(call.func), {k.arg: k.value for k in call.keywords}
        on = {k for k, v in keywords.items() if not (isinstance(v, ast.Constant) and not v.value)}
        text = name.startswith("subprocess.") and isinstance(call.args[0], ast.JoinedStr)
        unsafe = name == "torch.load" and "weights_only" not in on
        if RUNNING.fullmatch(name) or on & {"shell", "allow_pickle"} or text or unsafe:
            found.append(ast.unparse(call))
    return found


@pytest.mark.parametrize(
    "bad",
    [
        "pickle.load(f)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(f'kubectl {name}')",
        "os.system(command)",
        "yaml.load(text, Loader)",
        "eval(text)",
    ],
)
def test_calls_that_run_what_is_read_are_found(bad):
    assert running_calls(bad) == [ast.unparse(ast.parse(bad))]
    assert running_calls("torch.load(path, weights_only=True); subprocess.run([a, b])") == []


def test_nothing_runs_what_a_file_or_a_name_says():
    assert len(CODE) > 200
    found = {path.name: running_calls(path.read_text()) for path in CODE}
    assert {name: calls for name, calls in found.items() if calls} == {}


def test_no_shell_is_given_a_setting():
    """Rules run scripts alone, and DVC's commands, which a shell reads, hold no variable."""
    for path in [PACKAGE_ROOT / "Snakefile", *(PACKAGE_ROOT / "rules").glob("*.smk")]:
        text = path.read_text()
        assert not re.search(r"^\s*(shell|run|shadow):|\bshell\(", text, re.MULTILINE), path
    for stage in yaml.safe_load((PACKAGE_ROOT / "dvc.yaml").read_text())["stages"].values():
        command = " && ".join(stage["cmd"]) if isinstance(stage["cmd"], list) else stage["cmd"]
        check = r"( && python -m umtfss verify --arrow \w+)?"
        assert re.fullmatch(rf"snakemake --cores all -- all_\w+{check}", command)
