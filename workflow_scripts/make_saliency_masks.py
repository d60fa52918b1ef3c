"""Find the salient region of every image of one shard."""

from umtfss.common.log import job_log
from umtfss.data.catalog import Catalog
from umtfss.data.open import open_datasets
from umtfss.features.store import FeatureStore
from umtfss.plan.jobs.make_saliency_masks import MakeSaliencyMasks
from umtfss.pseudo_masks.make import make_saliency_masks

with job_log(snakemake.log[0]):
    job = MakeSaliencyMasks.read(snakemake.params.job)
    store = FeatureStore([snakemake.input.features])
    make_saliency_masks(
        store,
        job.level,
        Catalog(open_datasets([job.dataset])),
        store.ids,
        job.settings,
        snakemake.output.masks,
        workers=snakemake.threads,
    )
