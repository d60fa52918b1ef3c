"""Map the segments of an unlabelled pool, for diffused features."""

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.features.diffusion import build_diffusion_map
from umtfss.features.store import FeatureStore
from umtfss.plan.jobs.map_pool import MapPool

with job_log(snakemake.log[0]):
    prepare_process(snakemake.threads)
    job = MapPool.read(snakemake.params.job)
    store = FeatureStore(snakemake.input)
    diffusion = build_diffusion_map(store, store.ids, job.level, job.settings)
    diffusion.save(snakemake.output.map)
