"""Draw predictions beside supports and true masks."""

from umtfss.device import prepare_process
from umtfss.experiment_file import load_experiment
from umtfss.log import job_log
from umtfss.plan import Plan
from umtfss.tables.figures import qualitative_panel
from umtfss.tables.panel import panel_items

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    items = panel_items(plan, prepare_process(snakemake.threads))
    qualitative_panel(items, snakemake.output[0])
