"""Fetch the official files of a data set."""

from umtfss.data.download import download
from umtfss.experiment_file import load_experiment
from umtfss.log import job_log
from umtfss.plan import Plan
from umtfss.provenance import digest_json, write_manifest

with job_log(snakemake.log[0]):
    plan = Plan(load_experiment(snakemake.config["experiment"], snakemake.config["seed"]))
    kind = plan.experiment.datasets[snakemake.wildcards.dataset].kind
    checksums = download(kind, plan.dataset_root(snakemake.wildcards.dataset))
    write_manifest(snakemake.output[0], "download", digest_json(checksums), files=checksums)
