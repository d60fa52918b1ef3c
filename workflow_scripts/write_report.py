"""Write the report of the experiment: one HTML page."""

from umtfss.common.log import job_log
from umtfss.figures.report.page import ReportFiles, write_report
from umtfss.plan.jobs.write_report import WriteReport

with job_log(snakemake.log[0]):
    files = snakemake.input
    write_report(
        WriteReport.read(snakemake.params.job),
        ReportFiles(
            files.settings,
            files.claims,
            files.figures,
            files.episodes,
            files.results,
            files.floor,
            files.rules,
        ),
        snakemake.output[0],
    )
