"""Write one shard of a split's frozen features."""

from pathlib import Path

from umtfss.backbones.build import build_extractor
from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.data.index import DatasetIndex
from umtfss.data.open import open_dataset
from umtfss.experiment.load import load_experiment
from umtfss.features.extract import extract_features
from umtfss.features.shard import shard_ids
from umtfss.plan.plan import Plan

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    of, settings = snakemake.wildcards, plan.experiment.features
    cache = plan.cache_named(of.dataset, of.split, of.cache)
    device = prepare_process(snakemake.threads)
    index = DatasetIndex.load(snakemake.input[0])
    extract_features(
        open_dataset(plan.source(of.dataset)),
        shard_ids(index.image_ids, int(of.shard), settings.shards),
        build_extractor(cache.backbone, cache.levels, settings.weights, settings.mirrored),
        cache.long_side,
        Path(snakemake.output[0]).parent,
        source=index.checksum,
        batch_size=settings.batch_size,
        precision=settings.precision,
        part_mb=settings.part_mb,
        device=device,
    )
