"""Diffuse one shard of a split's features."""

from pathlib import Path

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.features.diffusion import diffuse_shard

with job_log(snakemake.log[0]):
    prepare_process(snakemake.threads)
    folder = Path(snakemake.output[0]).parent
    diffuse_shard(snakemake.input.features, snakemake.input.map, folder)
