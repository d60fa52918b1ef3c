"""The command line beside Snakemake: the cost of an experiment, and predictions of its models."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console

from umtfss import __version__
from umtfss.common.errors import UmtfssError
from umtfss.common.files import WORKFLOW_ROOT
from umtfss.experiment.load import load_experiment, read_config
from umtfss.experiment.new_project import new_project
from umtfss.plan.cells import floor_run
from umtfss.plan.plan import Plan, table_names
from umtfss.plan.rates import cpu_rates, gpu_rates
from umtfss.plan.summary import summary_notes, summary_tables
from umtfss.predict.arguments import PhotosTogether

if TYPE_CHECKING:
    import torch

    from umtfss.predict.segmenter import Segmenter

# Package of an extra -> what installs it; any other package is of the pipeline.
REMEDIES = {
    "onnxruntime": "pip install 'umtfss[onnx]'",
    "onnxscript": "pip install 'umtfss[onnx]'",
    "tensorboard": "pip install 'umtfss[tensorboard]'",
}
BEST = "best"
RUN_HELP = (
    "a path that `plan` prints, or `prototype` (training-free, on the floor's features); "
    "default: the trained run that most cells share"
)
RunOption = Annotated[str, typer.Option(help=RUN_HELP)]
BEST_HELP = (
    f"{RUN_HELP}; `{BEST}`: this or `prototype`, whichever finds each support better by the other "
    "supports"
)
RunOrBestOption = Annotated[str, typer.Option(help=BEST_HELP)]

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)


def _print_version(asked: bool) -> None:
    if asked:
        print(f"umtfss {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="print it")
    ] = False,
) -> None:
    """Label-efficient few-shot segmentation, as a pipeline. Snakemake runs it."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="folder of the project, e.g. my_project")],
) -> None:
    """Lay down a project: Snakefile, config.yaml, an experiment for your own photos, a README."""
    with _errors_as_text():
        files = new_project(folder)
    Console(soft_wrap=True).print("\n".join(map(str, files)), markup=False, highlight=False)


@app.command()
def plan(
    experiment: Annotated[str, typer.Option(help="default: the one in config.yaml")] = "",
    table: Annotated[list[str] | None, typer.Option(help="only these, e.g. table4")] = None,
    gpu: Annotated[
        Path | None,
        typer.Option(help="what `python -m benchmarks.gpu` wrote: hours of such a GPU"),
    ] = None,
) -> None:
    """Print the distinct runs, how many cells share each, and the estimated cost."""
    with _errors_as_text():
        chosen = _plan(experiment, table_names(table or []))
        rates = cpu_rates() if gpu is None else gpu_rates(gpu)
        tables, notes = list(summary_tables(chosen, rates)), list(summary_notes(chosen, rates))
    if gpu is None:
        notes.append("hours are of CPUs; --gpu FILE takes the rates of a measured GPU")
    console = Console(width=None)
    console.print(*tables, sep="\n")
    for line in notes:
        console.print(f"Note: {line}.", soft_wrap=True, markup=False, highlight=False)


DeviceOption = Annotated[
    str, typer.Option(help="cpu, cuda, cuda:1 or mps; default: cuda if there is one, else cpu")
]
ThreadsOption = Annotated[
    int, typer.Option(min=0, help="CPU threads; default: $OMP_NUM_THREADS, else the usable cores")
]

ModelOption = Annotated[
    Path | None, typer.Option(help="a file of `export`, in place of --experiment and --run")
]
MinScoreOption = Annotated[
    float | None, typer.Option(help="objects with a lower score are left out; -1: none")
]


@app.command(cls=PhotosTogether)
def predict(
    queries: Annotated[list[Path], typer.Argument(help="photos to segment, or folders of them")],
    supports: Annotated[
        Path | None,
        typer.Option(help="folder with a sub-folder for each object: photos, masks beside them"),
    ] = None,
    support_image: Annotated[
        list[Path] | None,
        typer.Option(help="a photo that shows the object; repeat it for more shots"),
    ] = None,
    support_mask: Annotated[
        list[Path] | None,
        typer.Option(help="its mask: black background; one for each --support-image"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of the results")] = Path("predictions"),
    model: ModelOption = None,
    experiment: Annotated[str, typer.Option(help="default: the one in config.yaml")] = "",
    run: RunOrBestOption = "",
    mask_value: Annotated[
        int | None,
        typer.Option(help="the object's value in the masks; default: all that is not black"),
    ] = None,
    min_score: MinScoreOption = None,
    scores: Annotated[bool, typer.Option("--scores", help="write soft masks, too")] = False,
    labelme: Annotated[bool, typer.Option("--labelme", help="write LabelMe files, too")] = False,
    coco: Annotated[
        Literal["polygons", "rle"],
        typer.Option(help="regions in coco.json: polygons (holes filled), or exact rle"),
    ] = "polygons",
    device: DeviceOption = "",
    threads: ThreadsOption = 0,
) -> None:
    """Segment your own photos, given K photos of each object with their masks."""
    from umtfss.predict.choose import both_runs, try_runs, verdict
    from umtfss.predict.outputs import Outputs
    from umtfss.predict.photos import check_folder, find_queries
    from umtfss.predict.segment_photos import describe_lowest, segment_photos
    from umtfss.predict.supports import check_supports, named_supports

    console = Console(soft_wrap=True)
    with _errors_as_text():
        shown = named_supports(supports, support_image or (), support_mask or ())
        outputs = Outputs(out, tuple(sorted({one.name for one in shown})), scores, labelme, coco)
        found = find_queries(queries, outputs, shown)
        check_folder(out)
        check_supports(shown, mask_value)
        chosen = _device(device, threads)
        if run == BEST and model is None:
            source = _plan(experiment)
            tried = try_runs(source, both_runs(source), shown, mask_value, chosen)
            console.print(verdict(tried), markup=False, highlight=False)
            segmenter = tried[0].segmenter
            title = f"{tried[0].name} of {source.experiment.name}"
        else:
            segmenter, title = _segmenter(model, experiment, run, chosen)
        segmenter.min_score = min_score
        line = f"{', '.join(outputs.names)}: {len(shown)} supports; {title}"
        console.print(line, markup=False, highlight=False)
        if not segmenter.classes_:
            segmenter.fit(*zip(*shown, strict=True), mask_value=mask_value)
        console.print(describe_lowest(segmenter), markup=False, highlight=False)
        records = segment_photos(segmenter, found, outputs)
    if bad := sum("error" in record for record in records):
        raise _failed(f"{bad} of {len(records)} photos were not segmented; see above")


@app.command()
def serve(
    photos: Annotated[
        list[Path] | None, typer.Argument(help="photos to begin with, or folders of them")
    ] = None,
    out: Annotated[Path, typer.Option(help="folder of the session")] = Path("served"),
    model: ModelOption = None,
    experiment: Annotated[str, typer.Option(help="an experiment's name")] = "own_photos",
    run: RunOrBestOption = "prototype",
    min_score: MinScoreOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8765,
    device: DeviceOption = "",
    threads: ThreadsOption = 0,
) -> None:
    """Show a page on this machine: mark an object on photos, find it in others, correct, export."""
    from umtfss.predict.choose import both_runs
    from umtfss.predict.segmenter import Segmenter
    from umtfss.predict.serve import server

    console = Console(soft_wrap=True)

    def report(address: str) -> None:
        text = f"{title}\nOpen {address} in a browser on this machine; Ctrl-C ends it."
        console.print(text, markup=False, highlight=False)

    with _errors_as_text():
        chosen = _device(device, threads)
        if run == BEST and model is None:
            source = _plan(experiment)
            runs = both_runs(source)
            segmenters = {one.path: Segmenter.of_run(source, one, chosen) for one in runs}
            title = f"the better of {' or '.join(segmenters)}, of {source.experiment.name}"
        else:
            segmenter, title = _segmenter(model, experiment, run, chosen)
            segmenters = {title: segmenter}
        for one in segmenters.values():
            one.min_score = min_score
        server.serve(segmenters, photos or (), out, port, report)


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="file to write, NAME.safetensors")],
    experiment: Annotated[str, typer.Option(help="default: the one in config.yaml")] = "",
    run: RunOption = "",
    onnx: Annotated[
        str,
        typer.Option(help="WIDTHxHEIGHT of photos, e.g. 640x480: write backbone and head as ONNX"),
    ] = "",
    shots: Annotated[int, typer.Option(min=1, help="supports of the ONNX head")] = 1,
) -> None:
    """Write a run's model as one file for `predict --model`, and its card beside it."""
    from umtfss.predict.choose import run_named
    from umtfss.predict.export import export_run

    size = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", onnx)
    if onnx and not size:
        raise typer.BadParameter(f"--onnx is {onnx}: give width and height, as in 640x480")
    if path.suffix != ".safetensors":
        raise typer.BadParameter(f"{path}: name a file that ends in .safetensors")
    with _errors_as_text():
        _device("cpu", 0)
        source = _plan(experiment)
        file = export_run(source, run_named(source, run), path)
        print(path, path.with_suffix(".md"), sep="\n")
        if size:
            from umtfss.predict.onnx_files import export_onnx

            for written in export_onnx(file, path, (int(size[2]), int(size[1])), shots):
                print(written)


@app.command()
def show(
    fold: Annotated[int, typer.Option(help="fold tested")],
    episode: Annotated[int | None, typer.Option(min=0, help="number of the episode")] = None,
    all_episodes: Annotated[
        bool, typer.Option("--all", help="the best and the worst episodes, in place of one")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="episode seed")] = 0,
    shots: Annotated[int, typer.Option(min=1, help="supports of an episode")] = 1,
    dataset: Annotated[str, typer.Option(help="default: the first that tables test it on")] = "",
    count: Annotated[int, typer.Option(min=1, help="episodes that --all shows at most")] = 48,
    run: RunOption = "",
    experiment: Annotated[str, typer.Option(help="default: the one in config.yaml")] = "",
    out: Annotated[Path, typer.Option(help="picture, .png or .pdf")] = Path("show.png"),
) -> None:
    """Draw test episodes: supports, query, truth, predictions, and their IoU."""
    if all_episodes == (episode is not None):
        raise typer.BadParameter("give either --episode NUMBER or --all")
    if out.suffix not in (".png", ".pdf"):
        raise typer.BadParameter(f"--out is {out}: name a file that ends in .png or .pdf")
    with _errors_as_text():
        from umtfss.evaluation.weights import check_weights
        from umtfss.figures.show import default_dataset, show_episode, show_extremes
        from umtfss.figures.tested import EpisodeSet
        from umtfss.predict.choose import run_named

        chosen = _plan(experiment)
        spec = run_named(chosen, run)
        check_weights(chosen, spec)
        tested = EpisodeSet(dataset or default_dataset(chosen, spec), shots, fold, seed)
        device = _device("", 0)
        if episode is None:
            show_extremes(chosen, spec, tested, count, out, device)
        else:
            show_episode(chosen, spec, tested, episode, out, device)
    Console(soft_wrap=True).print(str(out), markup=False, highlight=False)


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="a path that `plan` prints, or `prototype`")],
    second: Annotated[str, typer.Argument(help="the run that is compared with it")],
    dataset: Annotated[str, typer.Option(help="default: the first that tables test it on")] = "",
    shots: Annotated[int, typer.Option(min=1, help="supports of an episode")] = 1,
    experiment: Annotated[str, typer.Option(help="default: the one in config.yaml")] = "",
) -> None:
    """Print the difference of two runs on the same test episodes, in all, by fold and by class."""
    with _errors_as_text():
        from umtfss.figures.show import default_dataset
        from umtfss.tables.compare import class_names, compared, comparison_table, results_of

        plan = _plan(experiment)
        runs = [
            floor_run(plan.experiment) if name == "prototype" else plan.runs.run_at(name)
            for name in (first, second)
        ]
        tested = dataset or default_dataset(plan, runs[1])
        one, other = (results_of(plan, run, tested, shots) for run in runs)
        settings = plan.experiment.evaluation
        names, title = class_names(plan, tested), f"{tested} {shots}-shot"
        rows = compared(one, other, settings, names, title)
        table = comparison_table(rows, title, settings, runs, max(len(one), len(other)))
    Console(width=None).print(table)


@app.command()
def tensorboard(
    experiment: Annotated[str, typer.Option(help="default: the one in config.yaml")] = "",
    out: Annotated[Path, typer.Option(help="folder of the event files")] = Path("runs"),
) -> None:
    """Write the curves of trainings, finished or running, as event files of TensorBoard."""
    with _errors_as_text():
        from umtfss.training.events import write_events

        written = write_events(_plan(experiment), out)
    line = f"{len(written)} trainings; to look at them: tensorboard --logdir {out}"
    Console(soft_wrap=True).print(line, markup=False, highlight=False)


@app.command()
def verify(
    experiment: Annotated[str, typer.Option(help="default: the one in config.yaml")] = "",
    arrow: Annotated[str, typer.Option(help="only this folder, e.g. training")] = "",
) -> None:
    """Check every file of an experiment's results against its manifest; name what is damaged."""
    from umtfss.common.verify import verify as verified

    console = Console(soft_wrap=True, highlight=False)
    with _errors_as_text():
        folder = Path(_plan(experiment).paths.root, arrow)
        found = verified(folder)
    for problem in found.problems:
        console.print(str(problem), style="red", markup=False)
    console.print(
        f"{folder}: {found.sealed} manifests and sealed results, {found.files} files of "
        f"{found.size / 1e9:.2f} GB, {len(found.problems)} damaged or unknown",
        markup=False,
    )
    if found.problems:
        raise typer.Exit(1)


def _device(name: str, threads: int) -> "torch.device":
    """Set this process up, and return the device of a name; empty: the GPU if there is one."""
    from umtfss.common.device import named_device, prepare_process, usable_cores

    default = prepare_process(threads or usable_cores())
    return named_device(name) if name else default


def _failed(text: str) -> typer.Exit:
    """The end of a command with status 1, after a line on standard error."""
    Console(stderr=True, soft_wrap=True).print(text, style="red", markup=False, highlight=False)
    return typer.Exit(1)


def _segmenter(
    model: Path | None, experiment: str, run: str, device: "torch.device"
) -> tuple["Segmenter", str]:
    """The segmenter of a model file or a run, and what it is called."""
    from umtfss.predict.choose import run_named
    from umtfss.predict.segmenter import Segmenter

    if model is not None:
        return Segmenter.load(model, device), str(model)
    source = _plan(experiment)
    spec = run_named(source, run)
    return Segmenter.of_run(source, spec, device), f"{spec.path} of {source.experiment.name}"


def _plan(experiment: str, tables: list[str] | None = None) -> Plan:
    own, shipped = Path("config.yaml"), WORKFLOW_ROOT / "config.yaml"
    config = read_config(own if own.is_file() else shipped)
    return Plan(load_experiment(experiment or config["experiment"], config["seed"]), tables or ())


@contextmanager
def _errors_as_text() -> Iterator[None]:
    """Print a user's error without a call stack, and exit with status 1."""
    try:
        yield
    except UmtfssError as error:
        raise _failed(f"{type(error).__name__}: {error}") from None
    except ModuleNotFoundError as error:
        lacking = (error.name or "").split(".")[0]
        if lacking in ("", "umtfss"):
            raise
        remedy = REMEDIES.get(
            lacking, "pip install 'umtfss[pipeline,cpu]' (with an NVIDIA GPU: [pipeline,gpu])"
        )
        raise _failed(f"the package {lacking} is not installed\n  to do:    {remedy}") from None
