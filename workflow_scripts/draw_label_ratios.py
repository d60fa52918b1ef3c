"""Draw mIoU over the label ratio, from Table 2, and the floor, from the headline."""

from umtfss.common.log import job_log
from umtfss.figures.label_ratios import label_ratio_curves

with job_log(snakemake.log[0]):
    files = snakemake.input
    label_ratio_curves(files.table, snakemake.output[0], next(iter(files.headline), None))
