# Raw images flow one way through eight arrows to LaTeX tables:
#   data -> features -> clustering -> pseudo_masks -> episodes -> training -> evaluation -> tables
# Each arrow is one rule file, one package folder and one results folder of the same name.

import os

from snakemake.utils import min_version

from umtfss.common.digests import digest_code as code
from umtfss.common.errors import UmtfssError
from umtfss.common.files import PACKAGE_ROOT, WORKFLOW_ROOT
from umtfss.experiment.datasets import DATA_ROOT_VARIABLE
from umtfss.experiment.load import load_experiment, read_config
from umtfss.plan.arrows import arrow_digests
from umtfss.plan.jobs.job import job_class
from umtfss.plan.plan import Plan, table_names
from umtfss.plan.rule_graph import rule_graph
from umtfss.plan.tables.registry import TABLES

min_version("9.0")


try:
    read_config("config.yaml")  # refused here in words, by Snakemake with a traceback
except UmtfssError as error:
    raise WorkflowError(str(error)) from None


configfile: "config.yaml"


report: "rules/captions/workflow.rst"


try:
    experiment = load_experiment(config["experiment"], config["seed"])
    plan = Plan(experiment, table_names(config.get("tables", [])))
except UmtfssError as error:
    raise WorkflowError(str(error)) from None

# The folder of raw data, for the scripts. The folder is no parameter, so moved files make no result
# stale. Jobs on a cluster read this file again, and so have the variable, too.
os.environ[DATA_ROOT_VARIABLE] = str(experiment.raw_data_root)

# The conda environment of every rule, used with --sdm conda. The environment holds the package's
# dependencies. Scripts import the package from the Snakefile's folder. An installed package lies
# elsewhere, and its scripts run where it is installed.
if config.get("device") not in ("cpu", "gpu"):
    raise WorkflowError(
        f"device is {config.get('device')!r} in the configuration: write cpu or gpu"
    )
environment = (
    f"../envs/{config['device']}.yaml" if WORKFLOW_ROOT == PACKAGE_ROOT else None
)


wildcard_constraints:
    experiment=experiment.name,
    dataset="[a-z0-9_]+",
    split="[a-z0-9_]+",
    pool="[a-z0-9_]+",
    extracted="|".join(experiment.extracted),
    diffused="|".join(experiment.diffused) or "(?!)",
    shard="[0-9]+",
    fold="all|fold[0-3]",
    seed="[0-9]+",
    shot="[0-9]+",
    refine="|-[a-z_+]+",
    ratio="[0-9]+",
    table="|".join(TABLES),


# Tables and evaluations are in git; the indexes of images are not. Requesting the indexes makes a
# fresh clone compute its tables, instead of accepting the committed tables.
rule all_tables:
    input:
        plan.paths.settings,
        plan.indexes,
        [path for table in plan.runs.tables for path in plan.paths.table(table.name)],
        plan.ledger,
        plan.metrics,


include: "rules/common.smk"
include: "rules/data.smk"
include: "rules/features.smk"
include: "rules/clustering.smk"
include: "rules/pseudo_masks.smk"
include: "rules/episodes.smk"
include: "rules/training.smk"
include: "rules/evaluation.smk"
include: "rules/tables.smk"
include: "rules/report.smk"
include: "rules/record.smk"
