"""Write one table as LaTeX, CSV and Markdown."""

from pathlib import Path

from umtfss.common.log import job_log
from umtfss.plan.jobs.write_table import WriteTable
from umtfss.tables.values import table_values
from umtfss.tables.write import write_table

with job_log(snakemake.log[0]):
    job = WriteTable.read(snakemake.params.job)
    values = table_values(job.table, resamples=job.resamples, coverage=job.coverage)
    write_table(job.table, values, Path(snakemake.output[0]).parent)
