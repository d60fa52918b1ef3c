"""Picture test episodes as the main run and the training-free floor segment them."""

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.evaluation.evaluate_run import EvaluationFiles
from umtfss.figures.picture_episodes import picture_episodes
from umtfss.plan.jobs.picture_episodes import PictureEpisodes

with job_log(snakemake.log[0]):
    files = snakemake.input
    picture_episodes(
        PictureEpisodes.read(snakemake.params.job),
        EvaluationFiles(files.weights, files.features, files.superpixels, files.episodes),
        EvaluationFiles([], files.floor_features, [], files.episodes),
        files.result,
        snakemake.output[0],
        batch_size=snakemake.resources.batch_size,
        device=prepare_process(snakemake.threads),
    )
