"""Find the salient object of every image of one shard, and its cluster."""

from umtfss.clustering.centroids import load_centroids
from umtfss.common.log import job_log
from umtfss.features.store import FeatureStore
from umtfss.plan.jobs.make_object_masks import MakeObjectMasks
from umtfss.pseudo_masks.make import make_object_masks

with job_log(snakemake.log[0]):
    job = MakeObjectMasks.read(snakemake.params.job)
    store = FeatureStore([snakemake.input.features])
    make_object_masks(
        store,
        job.level,
        store.ids,
        load_centroids(snakemake.input.centroids),
        snakemake.output.masks,
        workers=snakemake.threads,
    )
