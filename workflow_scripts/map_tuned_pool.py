"""Map the segments of an unlabelled pool as a tuned backbone sees them."""

from umtfss.device import prepare_process
from umtfss.evaluation.job import tuned_source
from umtfss.experiment_file import load_experiment
from umtfss.features.diffusion import build_diffusion_map
from umtfss.features.settings import DiffusionConfig
from umtfss.features.store import FeatureStore
from umtfss.features.tuned import Beside
from umtfss.log import job_log
from umtfss.plan import Plan

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    device, run = prepare_process(snakemake.threads), plan.run_at(snakemake.wildcards.run)
    settings = DiffusionConfig.model_validate(snakemake.params.settings)
    store = FeatureStore(snakemake.input.features)
    source = tuned_source(plan, run, Beside(store, FeatureStore(snakemake.input.stems)), device)
    build_diffusion_map(source, store.ids, settings).save(snakemake.output[0])
