"""Write one digest for each arrow, over all of its jobs, and make the folders that DVC records."""

from pathlib import Path

import yaml

from umtfss.common.files import atomic_path
from umtfss.common.log import job_log

with job_log(snakemake.log[0]), atomic_path(snakemake.output[0]) as temporary:
    for folder in snakemake.params.folders:
        Path(folder).mkdir(parents=True, exist_ok=True)
    temporary.write_text(yaml.safe_dump(snakemake.params.arrows), encoding="utf-8")
