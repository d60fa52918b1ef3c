"""Write what DVC shows: the means of all tables, and where curves and pictures lie."""

from umtfss.common.log import job_log
from umtfss.plan.jobs.write_metrics import WriteMetrics
from umtfss.tables.metrics import write_metrics

with job_log(snakemake.log[0]):
    write_metrics(WriteMetrics.read(snakemake.params.job), *snakemake.output)
