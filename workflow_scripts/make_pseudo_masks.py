"""Label the pixels of one shard by cluster and list its valid regions."""

from umtfss.clustering.centroids import load_centroids
from umtfss.common.log import job_log
from umtfss.data.catalog import Catalog
from umtfss.data.open import open_datasets
from umtfss.features.store import FeatureStore
from umtfss.plan.jobs.make_pseudo_masks import MakePseudoMasks
from umtfss.pseudo_masks.make import make_pseudo_masks

with job_log(snakemake.log[0]):
    job = MakePseudoMasks.read(snakemake.params.job)
    store = FeatureStore([snakemake.input.features])
    make_pseudo_masks(
        store,
        job.level,
        Catalog(open_datasets([job.dataset])),
        store.ids,
        load_centroids(snakemake.input.centroids),
        job.settings,
        snakemake.output.masks,
        workers=snakemake.threads,
    )
