"""Fetch the official files of a data set."""

from umtfss.common.digests import digest_json
from umtfss.common.log import job_log
from umtfss.common.manifests import write_manifest
from umtfss.data.download import download
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    kind = plan.experiment.datasets[snakemake.wildcards.dataset].kind
    checksums = download(kind, plan.dataset_root(snakemake.wildcards.dataset))
    write_manifest(snakemake.output[0], "download", digest_json(checksums), files=checksums)
