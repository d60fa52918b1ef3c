"""Draw the rules of the experiment, and which rule reads another rule's output."""

from umtfss.common.log import job_log
from umtfss.figures.rule_graph import draw_rule_graph

with job_log(snakemake.log[0]):
    draw_rule_graph(**snakemake.params.graph, path=snakemake.output[0])
