"""Find the superpixels of one shard of a split's images."""

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.data.index import DatasetIndex
from umtfss.data.open import open_dataset
from umtfss.experiment.load import load_experiment
from umtfss.features.shard import shard_ids
from umtfss.plan.plan import Plan
from umtfss.pseudo_masks.superpixels import write_superpixels

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    name, experiment = snakemake.wildcards.dataset, plan.experiment
    prepare_process(snakemake.threads)
    dataset = open_dataset(plan.source(name))
    ids = DatasetIndex.load(snakemake.input[0]).image_ids
    shard = shard_ids(ids, int(snakemake.wildcards.shard), experiment.features.shards)
    images = ((one, dataset.image(one.partition("/")[2])) for one in shard)
    write_superpixels(images, experiment.pseudo_masks, snakemake.output[0])
