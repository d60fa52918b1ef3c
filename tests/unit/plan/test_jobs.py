"""Every rule that has a job passes it and nothing else, and its script reads nothing else."""

import re
from dataclasses import fields
from functools import cache

import pytest

from tests.rule_files import files_of, rule_texts, wildcards_of
from umtfss.common.digests import code_closure
from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.load import load_experiment
from umtfss.experiment.models import MODELS
from umtfss.plan.jobs.job import CODE, job_class
from umtfss.plan.plan import Plan

EXPERIMENTS = ("demo", "demo_seeds", "voc_best", "voc_cpu", "coco_mini", "paper")
JOBS = sorted(path.stem for path in (PACKAGE_ROOT / "umtfss/plan/jobs").glob("[!_]*.py"))
JOBS.remove("job")
# Rules whose settings still come by other roads. It must shrink, and go when it is empty.
WITHOUT_JOB = {"digest_arrows", "draw_rule_graph"}  # they are given what all other rules do


@cache
def plan_of(experiment: str) -> Plan:
    return Plan(load_experiment(experiment))


@cache
def made_by(experiment: str) -> tuple[str, ...]:
    return files_of(plan_of(experiment))


@pytest.mark.parametrize("rule", JOBS)
def test_a_rule_passes_its_job_and_nothing_else(rule):
    (params,) = re.findall(r"    params:\n(.*?)\n    script:", rule_texts()[rule], flags=re.S)
    assert params.strip() == f'job=job("{rule}"),'
    assert f'"../workflow_scripts/{rule}.py"' in rule_texts()[rule]


@pytest.mark.parametrize("rule", JOBS)
def test_a_script_reads_its_job_and_nothing_else(rule):
    script, job = f"workflow_scripts/{rule}.py", job_class(rule)
    text = (PACKAGE_ROOT / script).read_text()
    closure = {path.relative_to(PACKAGE_ROOT).as_posix() for path in code_closure(script)}
    assert not closure & {"umtfss/plan/plan.py", "umtfss/experiment/load.py"}
    read = set(re.findall(r"snakemake\.(\w+)", text))
    assert read <= {"input", "log", "output", "params", "resources", "threads"}
    if fields(job):  # a job without fields is the digest of its code alone
        assert f"{job.__name__}.read(snakemake.params.job)" in text
        assert text.count("snakemake.params") == 1
        assert f"umtfss/plan/jobs/{rule}.py" in closure
    else:
        assert "params" not in read


@pytest.mark.parametrize("rule", JOBS)
def test_a_job_survives_the_way_to_its_script(rule):
    made = 0
    for experiment in EXPERIMENTS:
        for wildcards in wildcards_of(rule, plan_of(experiment), made_by(experiment)):
            job = job_class(rule).of(plan_of(experiment), wildcards)
            assert job_class(rule).read({CODE: "digest", **job.params()}) == job
            made += 1
    assert made > 0, f"no experiment has a job of the rule {rule}"


def test_every_rule_with_a_script_has_a_job():
    assert set(JOBS) <= set(rule_texts())
    assert set(rule_texts()) - set(JOBS) == WITHOUT_JOB


# A job whose script computes what another rule's job says: pictures show test episodes as tested.
SHARED = {"evaluate_run": {"draw_qualitative_panel", "picture_episodes"}}


@cache
def closure_of(rule: str) -> frozenset[str]:
    """The files of the project that a rule's code digest covers."""
    closure = code_closure(f"workflow_scripts/{rule}.py")
    return frozenset(path.relative_to(PACKAGE_ROOT).as_posix() for path in closure)


@pytest.mark.parametrize("rule", JOBS)
def test_a_new_field_of_a_job_makes_its_own_rule_alone_stale(rule):
    stale = {other for other in JOBS if f"umtfss/plan/jobs/{rule}.py" in closure_of(other)}
    readers = {rule} if fields(job_class(rule)) else set()  # no script reads a job without fields
    assert stale == readers | SHARED.get(rule, set())


def test_a_model_and_the_code_of_tables_make_no_other_training_stale():
    for model in MODELS:
        paths = code_closure("workflow_scripts/train_model.py", f"umtfss/models/{model}.py")
        files = {path.relative_to(PACKAGE_ROOT).as_posix() for path in paths}
        others = {name for name in MODELS if f"umtfss/models/{name}.py" in files} - {model}
        assert others <= {"prototype"}, model  # the residual of some models
        unread = ("umtfss/tables/", "umtfss/plan/tables/", "umtfss/plan/cells.py")
        assert not [file for file in files if file.startswith(unread)], model
