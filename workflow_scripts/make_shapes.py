"""Draw the procedural data set."""

from pathlib import Path

from umtfss.common.log import job_log
from umtfss.common.manifests import write_manifest
from umtfss.data.shapes import write_shapes
from umtfss.experiment.datasets import ShapesConfig

with job_log(snakemake.log[0]):
    settings = ShapesConfig.model_validate(snakemake.params.settings)
    digest = write_shapes(Path(snakemake.output[0]).parent / "raw", settings, snakemake.threads)
    write_manifest(snakemake.output[0], "shapes", digest, settings=settings.model_dump())
