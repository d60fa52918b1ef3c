"""Draw the test episodes of every fold and seed."""

from umtfss.common.log import job_log
from umtfss.data.index import DatasetIndex
from umtfss.episodes.draw_labelled import draw_test_episodes
from umtfss.plan.jobs.draw_test_episodes import DrawTestEpisodes

with job_log(snakemake.log[0]):
    job = DrawTestEpisodes.read(snakemake.params.job)
    index = DatasetIndex.load(snakemake.input[0])
    for file, path in zip(job.files, snakemake.output.episodes, strict=True):
        draw_test_episodes(
            index,
            file.classes,
            shot=job.shot,
            count=job.count,
            seed=file.seed,
            draw=job.draw,
            min_area=job.min_area,
            rare_classes=job.rare_classes,
            key=file.key,
        ).save(path)
