"""Table 5: training on one fold's images or on all, without labels, 1-shot, beside MaskSplit."""

from umtfss.experiment.evaluation import Metric
from umtfss.experiment.models import MASKSPLIT, MODELS
from umtfss.experiment.schema import Experiment
from umtfss.experiment.tables import Table5Config
from umtfss.plan.cells import Cell, Table, build_table, fold_cells, measure_runs, unsupervised_run
from umtfss.plan.run import Measurement, RunSpec, TaskSource
from umtfss.plan.tables.claim import Cells, Claim, Comparison, difference
from umtfss.plan.tables.paper import paper_benchmark, paper_numbers


def table5(experiment: Experiment, settings: Table5Config) -> Table[Measurement]:
    """A row for each choice of training images and each model, per fold, for each data set.

    A second row of each model has MaskSplit's own metric, the mean over classes of the mean IoU of
    a class's episodes, for comparison with the numbers of MaskSplit's paper.

    Keys: images ("fold", "all"), model, dataset, fold.
    """
    models = (MASKSPLIT, "umtfss") if settings.masksplit else ("umtfss",)
    metrics: dict[Metric, str] = {"miou": ""}
    if settings.masksplit:
        metrics["class_means"] = " (class means)"
    cells: list[Cell[Measurement]] = []
    for dataset, pool in settings.datasets.items():
        printed = paper_numbers()["table5"][paper_benchmark(experiment, dataset)]
        for images in settings.settings:
            for model in models:
                measured = _measure(experiment, dataset, pool, model, images)
                key = {"images": images, "model": model, "dataset": dataset}
                title = f"{images}: {MODELS[model]}"
                for metric, suffix in metrics.items():
                    paper = printed[images].get(MODELS[model]) if metric == "miou" else None
                    cells += fold_cells(
                        title + suffix, key, measured, group=dataset, paper=paper, metric=metric
                    )
    note = "The paper tests on PASCAL-5i and COCO-20i."
    if experiment.model.features in experiment.diffused:
        note = f"Features are diffused over the whole pool in every setting. {note}"
    if settings.masksplit:
        note = (
            "Class means: the mean over classes of the mean IoU of a class's episodes, which "
            f"MaskSplit reports. {note}"
        )
    return build_table(
        experiment,
        "table5",
        "Unsupervised few-shot segmentation, 1-shot: trained on the fold's images, or on all.",
        "setting",
        cells,
        note=note,
    )


def _measure(
    experiment: Experiment, dataset: str, pool: str, model: str, images: str
) -> tuple[Measurement, ...]:
    """Measurements of every fold, by a run on the fold's images or by one run on all images."""
    runs = {
        fold: _run(experiment, pool, model, None if images == "all" else fold)
        for fold in experiment.tables.folds
    }
    return measure_runs(experiment, runs, dataset, 1, experiment.evaluation.seeds)


def _run(experiment: Experiment, pool: str, model: str, fold: int | None) -> RunSpec:
    """A run without labels; MaskSplit trains on its own tasks."""
    if model == MASKSPLIT:
        return RunSpec(model, pool, TaskSource.SALIENCY, fold, seed=experiment.seed)
    return unsupervised_run(experiment, pool, fold)


def masksplit(cells: Cells) -> Claim[Measurement]:
    """UMTFSS against MaskSplit, for each choice of images and each data set."""
    comparisons: list[Comparison[Measurement]] = []
    for images in cells.values_of("table5", "images"):
        for dataset in cells.values_of("table5", "dataset"):
            one, other = (
                cells.cell("table5", images=images, model=model, dataset=dataset)
                for model in ("umtfss", MASKSPLIT)
            )
            comparisons += difference(f"{dataset}, {images}: UMTFSS minus MaskSplit", one, other)
    return Claim(
        "masksplit",
        "UMTFSS is better than MaskSplit.",
        "Without labels, UMTFSS is better than MaskSplit, in each setting of Table 5.",
        tuple(comparisons),
    )
