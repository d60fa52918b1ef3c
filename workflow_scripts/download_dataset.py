"""Fetch the official files of a data set."""

from umtfss.common.digests import digest_json
from umtfss.common.log import job_log
from umtfss.common.manifests import write_manifest
from umtfss.data.download import download
from umtfss.plan.jobs.download_dataset import DownloadDataset

with job_log(snakemake.log[0]):
    dataset = DownloadDataset.read(snakemake.params.job).dataset
    checksums = download(dataset.kind, dataset.files())
    write_manifest(snakemake.output[0], "download", digest_json(checksums), archives=checksums)
