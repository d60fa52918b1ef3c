"""Write the settings of the experiment, with extended files and all defaults filled in."""

import yaml

from umtfss.common.files import atomic_path
from umtfss.common.log import job_log
from umtfss.plan.jobs.write_settings import WriteSettings

with job_log(snakemake.log[0]):
    job = WriteSettings.read(snakemake.params.job)
    text = yaml.safe_dump(job.settings, sort_keys=False, allow_unicode=True)
    with atomic_path(snakemake.output[0]) as temporary:
        temporary.write_text(text, encoding="utf-8")
