"""Meta-train one run."""

from pathlib import Path

from umtfss.common.log import job_log
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.training.train_run import TrainingFiles, TrainingResources, train_run

with job_log(snakemake.log[0]):
    files, resources = snakemake.input, snakemake.resources
    train_run(
        TrainModel.read(snakemake.params.job),
        TrainingFiles(
            files.episodes,
            list(files.masks),
            list(files.features),
            list(files.indexes),
            list(files.initial),
        ),
        str(Path(snakemake.output.weights).parent),
        TrainingResources(
            snakemake.threads,
            resources.gpus,
            resources.workers,
            resources.checkpoint_seconds / 60,
            snakemake.log[0],
        ),
    )
