"""Draw the pseudo-episodes of a pool."""

from umtfss.common.log import job_log
from umtfss.data.index import DatasetIndex
from umtfss.episodes.draw_unlabelled import (
    draw_pseudo_episodes,
    epoch_length,
    images_with_classes,
)
from umtfss.plan.jobs.draw_pseudo_episodes import DrawPseudoEpisodes
from umtfss.pseudo_masks.store import PseudoMaskStore

with job_log(snakemake.log[0]):
    job = DrawPseudoEpisodes.read(snakemake.params.job)
    store = PseudoMaskStore(snakemake.input.masks)
    allowed = images_with_classes(job.classes, map(DatasetIndex.load, snakemake.input.indexes))
    regions, shot = store.object_regions(job.max_border), job.length.shot
    images = epoch_length(store.ids, regions, shot=shot, allowed_ids=allowed)
    draw_pseudo_episodes(
        store.ids,
        regions,
        shot=shot,
        count=job.length.episodes(images),
        seed=job.seed,
        allowed_ids=allowed,
        key=job.key,
    ).save(snakemake.output.episodes, images_per_epoch=images)
