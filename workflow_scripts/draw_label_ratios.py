"""Draw mIoU over the label ratio, from Table 2."""

from umtfss.common.log import job_log
from umtfss.figures.label_ratios import label_ratio_curves

with job_log(snakemake.log[0]):
    label_ratio_curves(snakemake.input[0], snakemake.output[0])
