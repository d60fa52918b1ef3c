"""Write one table as LaTeX, CSV and Markdown."""

from umtfss.common.log import job_log
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan
from umtfss.tables.values import table_values
from umtfss.tables.write import write_table

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    table = plan.table_named(snakemake.wildcards.table)
    values = table_values(table, plan)
    write_table(table, values, snakemake.output[0].removesuffix(".tex"))
