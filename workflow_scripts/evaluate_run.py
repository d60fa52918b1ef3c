"""Test one run on a data set with K shots."""

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.evaluation.evaluate_run import EvaluationFiles, evaluate_run
from umtfss.plan.jobs.evaluate_run import EvaluateRun

with job_log(snakemake.log[0]):
    files = snakemake.input
    evaluate_run(
        EvaluateRun.read(snakemake.params.job),
        EvaluationFiles(files.weights, files.features, files.superpixels, files.episodes),
        snakemake.output[0],
        batch_size=snakemake.resources.batch_size,
        device=prepare_process(snakemake.threads),
    )
