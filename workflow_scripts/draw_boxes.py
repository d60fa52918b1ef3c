"""Find where the queries of test episodes are looked at closer."""

from umtfss.device import prepare_process
from umtfss.evaluation.job import draw_boxes
from umtfss.experiment_file import load_experiment
from umtfss.log import job_log
from umtfss.plan import Plan

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    of, device = snakemake.wildcards, prepare_process(snakemake.threads)
    draw_boxes(plan, of.dataset, int(of.shot), device, snakemake.output[0])
