"""Write one shard of a split's frozen features."""

from pathlib import Path

from umtfss.backbones.extractor import build_extractor
from umtfss.data.dataset import open_dataset
from umtfss.data.index import DatasetIndex
from umtfss.device import prepare_process
from umtfss.evaluation.closer import Crops, crop_ids
from umtfss.experiment_file import load_experiment
from umtfss.features.extract import extract_features
from umtfss.features.shard import shard_ids
from umtfss.log import job_log
from umtfss.plan import Plan
from umtfss.provenance import digest_code, digest_json

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    of, settings, files = snakemake.wildcards, plan.experiment.features, snakemake.input
    cache = plan.cache_named(of.dataset, of.split, of.cache)
    device = prepare_process(snakemake.threads)
    index, data = DatasetIndex.load(files.index), plan.experiment.datasets[of.dataset]
    photos = open_dataset(of.dataset, data, plan.dataset_root(of.dataset))
    cropped = cache.closer and digest_code("umtfss/evaluation/closer.py")
    ids = crop_ids(files.boxes) if cache.closer else index.image_ids
    extract_features(
        Crops(photos, of.dataset) if cache.closer else photos,
        shard_ids(ids, int(of.shard), settings.shards),
        build_extractor(cache.backbone, cache.levels, settings.weights, settings.mirrored),
        cache.long_side,
        Path(snakemake.output[0]).parent,
        source=digest_json([index.checksum, cropped]) if cropped else index.checksum,
        batch_size=settings.batch_size,
        precision=settings.precision,
        part_mb=settings.part_mb,
        device=device,
        view=cache.view,
        augment=settings.model.augment,
    )
