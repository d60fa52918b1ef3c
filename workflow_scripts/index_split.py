"""Verify every image and mask of a split and list what they hold."""

from umtfss.common.log import job_log
from umtfss.data.index import build_index
from umtfss.data.open import open_dataset
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    name, split = snakemake.wildcards.dataset, snakemake.wildcards.split
    settings = plan.experiment.datasets[name]
    dataset = open_dataset(plan.source(name))
    build_index(dataset, split, settings, snakemake.threads).save(snakemake.output[0])
