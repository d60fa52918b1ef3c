"""Map the segments of an unlabelled pool, for diffused features."""

from umtfss.device import prepare_process
from umtfss.features.diffusion import build_diffusion_map
from umtfss.features.settings import DiffusionConfig
from umtfss.features.store import FeatureStore
from umtfss.log import job_log

with job_log(snakemake.log[0]):
    prepare_process(snakemake.threads)
    settings = DiffusionConfig.model_validate(snakemake.params.settings)
    store = FeatureStore(snakemake.input)
    build_diffusion_map(store, store.ids, settings).save(snakemake.output[0])
