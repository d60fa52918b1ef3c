"""Draw predictions beside supports and true masks."""

from umtfss.common.device import prepare_process
from umtfss.common.log import job_log
from umtfss.evaluation.evaluate_run import EvaluationFiles
from umtfss.figures.panel import qualitative_panel
from umtfss.figures.panel_items import panel_items
from umtfss.plan.jobs.draw_qualitative_panel import DrawQualitativePanel

with job_log(snakemake.log[0]):
    files = snakemake.input
    items = panel_items(
        DrawQualitativePanel.read(snakemake.params.job),
        EvaluationFiles(files.weights, files.features, files.superpixels, files.episodes),
        EvaluationFiles([], files.floor_features, [], files.episodes),
        batch_size=snakemake.resources.batch_size,
        device=prepare_process(snakemake.threads),
    )
    qualitative_panel(items, snakemake.output[0])
