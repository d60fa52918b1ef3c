"""Meta-train one run."""

from umtfss.common.log import job_log
from umtfss.training.train_run import train_run

with job_log(snakemake.log[0]):
    train_run(
        snakemake.config["experiment"],
        snakemake.config["seed"],
        snakemake.wildcards.run,
        threads=snakemake.threads,
        gpus=snakemake.resources.gpus,
        log=snakemake.log[0],
    )
