"""Map the segments of an unlabelled pool, for diffused features."""

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.experiment.features import DiffusionConfig
from umtfss.features.diffusion import build_diffusion_map
from umtfss.features.store import FeatureStore

with job_log(snakemake.log[0]):
    prepare_process(snakemake.threads)
    settings = DiffusionConfig.model_validate(snakemake.params.settings)
    store = FeatureStore(snakemake.input)
    build_diffusion_map(store, store.ids, settings).save(snakemake.output[0])
