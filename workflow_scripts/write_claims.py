"""Judge every claim of the paper on the experiment's own numbers."""

from umtfss.common.log import job_log
from umtfss.plan.jobs.write_claims import WriteClaims
from umtfss.tables.claims import write_claims

with job_log(snakemake.log[0]):
    job = WriteClaims.read(snakemake.params.job)
    write_claims(job, snakemake.output[0].removesuffix(".md"))
