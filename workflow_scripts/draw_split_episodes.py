"""Draw the split episodes of a pool: every image is its own query and support."""

from umtfss.common.log import job_log
from umtfss.data.index import DatasetIndex
from umtfss.episodes.draw_unlabelled import (
    draw_split_episodes,
    images_with_classes,
    split_epoch_length,
)
from umtfss.plan.jobs.draw_split_episodes import DrawSplitEpisodes
from umtfss.pseudo_masks.store import PseudoMaskStore

with job_log(snakemake.log[0]):
    job = DrawSplitEpisodes.read(snakemake.params.job)
    store = PseudoMaskStore(snakemake.input.masks)
    allowed = images_with_classes(job.classes, map(DatasetIndex.load, snakemake.input.indexes))
    images = split_epoch_length(store.ids, store.regions, allowed_ids=allowed)
    draw_split_episodes(
        store.ids,
        store.regions,
        shot=job.length.shot,
        count=job.length.episodes(images),
        seed=job.seed,
        allowed_ids=allowed,
        key=job.key,
    ).save(snakemake.output.episodes, images_per_epoch=images)
