"""Verify every image and mask of a split, and list their contents."""

from umtfss.common.log import job_log
from umtfss.data.disjoint import refuse_test_images
from umtfss.data.index import DatasetIndex, build_index
from umtfss.data.open import open_dataset
from umtfss.plan.jobs.index_split import IndexSplit

with job_log(snakemake.log[0]):
    job = IndexSplit.read(snakemake.params.job)
    dataset = open_dataset(job.dataset)
    index = build_index(dataset, job.split, job.expected, snakemake.threads)
    refuse_test_images(index, map(DatasetIndex.load, snakemake.input.tested))
    index.save(snakemake.output[0])
