"""Find the salient region of every image of one shard."""

from umtfss.common.log import job_log
from umtfss.common.manifests import write_manifest
from umtfss.data.catalog import Catalog
from umtfss.data.open import open_dataset
from umtfss.experiment.load import load_experiment
from umtfss.features.store import FeatureStore
from umtfss.plan.plan import Plan
from umtfss.pseudo_masks.make import make_saliency_masks

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    name, experiment = snakemake.wildcards.dataset, plan.experiment
    store = FeatureStore([snakemake.input.features])
    dataset = open_dataset(plan.source(name))
    digest = make_saliency_masks(
        store,
        plan.salient_embedding.level,
        Catalog({name: dataset}),
        store.ids,
        experiment.pseudo_masks,
        snakemake.output.masks,
        workers=snakemake.threads,
    )
    write_manifest(snakemake.output.manifest, "pseudo_masks", digest, images=len(store.ids))
