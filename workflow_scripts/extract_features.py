"""Write one shard of a split's frozen features."""

from pathlib import Path

from umtfss.backbones.build import build_extractor
from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.data.index import DatasetIndex
from umtfss.data.open import open_dataset
from umtfss.features.extract import extract_features
from umtfss.features.shard import same_shards, shard_ids
from umtfss.plan.jobs.extract_features import ExtractFeatures

with job_log(snakemake.log[0]):
    job = ExtractFeatures.read(snakemake.params.job)
    device = prepare_process(snakemake.threads)
    index = DatasetIndex.load(snakemake.input[0])
    folder = Path(snakemake.output[0]).parent
    extract_features(
        open_dataset(job.dataset),
        shard_ids(index.image_ids, job.shard, job.shards),
        build_extractor(job.backbone, job.levels, job.weights, job.mirrored),
        job.long_side,
        folder,
        elsewhere=same_shards(folder),
        source=index.checksum,
        batch_size=job.batch_size,
        precision=job.precision,
        device=device,
    )
