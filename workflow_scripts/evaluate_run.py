"""Test one run on a data set with K shots."""

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.evaluation.evaluate_run import evaluate_run
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    of = snakemake.wildcards
    spec = plan.evaluations[of.run, of.dataset, int(of.shot)]
    evaluate_run(plan, spec, prepare_process(snakemake.threads), snakemake.output[0])
