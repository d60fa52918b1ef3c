"""Write one digest for each arrow, over all of its jobs."""

import yaml

from umtfss.common.files import atomic_path
from umtfss.common.log import job_log

with job_log(snakemake.log[0]), atomic_path(snakemake.output[0]) as temporary:
    temporary.write_text(yaml.safe_dump(snakemake.params.arrows), encoding="utf-8")
