"""Draw the procedural data set."""

from pathlib import Path

from umtfss.common.log import job_log
from umtfss.common.manifests import write_manifest
from umtfss.data.shapes import write_shapes
from umtfss.plan.jobs.make_shapes import MakeShapes

with job_log(snakemake.log[0]):
    settings = MakeShapes.read(snakemake.params.job).settings
    digest = write_shapes(Path(snakemake.output[0]).parent / "raw", settings, snakemake.threads)
    write_manifest(snakemake.output[0], "shapes", digest, settings=settings.model_dump())
