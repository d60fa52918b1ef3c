"""Draw predictions beside supports and true masks."""

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.experiment.load import load_experiment
from umtfss.figures.panel import qualitative_panel
from umtfss.figures.panel_items import panel_items
from umtfss.plan.plan import Plan

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    items = panel_items(plan, prepare_process(snakemake.threads))
    qualitative_panel(items, snakemake.output[0])
