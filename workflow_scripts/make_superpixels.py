"""Find the superpixels of one shard of a split's images."""

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.data.catalog import Catalog
from umtfss.data.index import DatasetIndex
from umtfss.data.open import open_datasets
from umtfss.features.shard import shard_ids
from umtfss.plan.jobs.make_superpixels import MakeSuperpixels
from umtfss.pseudo_masks.superpixels import write_superpixels

with job_log(snakemake.log[0]):
    prepare_process(snakemake.threads)
    job = MakeSuperpixels.read(snakemake.params.job)
    catalog = Catalog(open_datasets([job.dataset]))
    index = DatasetIndex.load(snakemake.input[0])
    ids = shard_ids(index.image_ids, job.shard, job.shards)
    images = ((one, catalog.image(one)) for one in ids)
    write_superpixels(images, job, snakemake.output.superpixels)
