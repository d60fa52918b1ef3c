"""Draw Table 4 as a heat map, ours beside the paper's."""

from umtfss.common.log import job_log
from umtfss.figures.heatmap import table4_heatmap

with job_log(snakemake.log[0]):
    table4_heatmap(snakemake.input[0], snakemake.output[0])
