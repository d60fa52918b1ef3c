"""Judge every claim of the paper on the experiment's own numbers."""

from umtfss.experiment_file import load_experiment
from umtfss.log import job_log
from umtfss.plan import Plan
from umtfss.tables.ledger import write_claims

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    write_claims(plan, snakemake.output[0].removesuffix(".md"))
