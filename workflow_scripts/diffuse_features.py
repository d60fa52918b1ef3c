"""Diffuse one shard of a split's features."""

from pathlib import Path

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.features.diffusion import diffuse_shard

with job_log(snakemake.log[0]):
    prepare_process(snakemake.threads)
    diffuse_shard(
        snakemake.input.features,
        snakemake.input.map,
        Path(snakemake.output[0]).parent,
        part_mb=snakemake.params.part_mb,
    )
