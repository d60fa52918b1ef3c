"""Judge every claim of the paper on the experiment's own numbers."""

from umtfss.common.log import job_log
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan
from umtfss.tables.claims import write_claims

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    write_claims(plan, snakemake.output[0].removesuffix(".md"))
