"""Draw the labelled training episodes of a fold's base classes at one label ratio."""

from umtfss.common.log import job_log
from umtfss.data.index import DatasetIndex
from umtfss.episodes.draw_labelled import draw_base_episodes, labelled_epoch_length
from umtfss.episodes.label_subsets import label_subset
from umtfss.plan.jobs.draw_base_episodes import DrawBaseEpisodes

with job_log(snakemake.log[0]):
    job = DrawBaseEpisodes.read(snakemake.params.job)
    index = DatasetIndex.load(snakemake.input[0])
    labelled = label_subset(
        index,
        job.classes,
        ratio=job.ratio,
        floor=job.shot + 1,
        min_area=job.min_area,
        seed=job.seed,
    )
    left_out = set(index.images_with(job.left_out, 1))
    allowed = [image_id for image_id in labelled if image_id not in left_out]
    pool = {"shot": job.shot, "min_area": job.min_area, "allowed_ids": allowed}
    images = labelled_epoch_length(index, job.classes, **pool)
    draw_base_episodes(
        index,
        job.classes,
        count=max(length.episodes(images) for length in job.lengths),
        seed=job.seed,
        key=job.key,
        **pool,
    ).save(snakemake.output.episodes, images_per_epoch=images, labelled_images=len(allowed))
