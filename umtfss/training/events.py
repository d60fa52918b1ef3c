"""Training curves for TensorBoard."""

import csv
from pathlib import Path

from umtfss.common.errors import StoreError
from umtfss.plan.plan import Plan


def write_events(plan: Plan, folder: Path) -> list[Path]:
    """Write event files of the trainings of an experiment, finished or running.

    Args:
        plan: The plan of the experiment.
        folder: Holds a folder for each run, named by the run's path; its event files are replaced.

    Returns:
        The folders of the runs.

    Raises:
        StoreError: No training has begun.
    """
    logs = {run.path: Path(plan.paths.training_log(run)) for run in plan.runs.trained_runs}
    begun = {name: log for name, log in logs.items() if log.is_file()}
    if not begun:
        name = plan.experiment.name
        raise StoreError(
            f"no training of experiment {name} has begun",
            expected=Path(plan.paths.root, "training", "**", "log.csv").absolute(),
            fix=f"snakemake --cores all --config experiment={name} -- all_training",
        )
    for name, log in begun.items():
        write_curve(log, folder / name)
    return [folder / name for name in begun]


def write_curve(log: Path, folder: Path) -> None:
    """Write the columns of a `log.csv` as scalars of one event file, in place of earlier files.

    Args:
        log: The curve; a last line without its end is still being written, and is left out.
        folder: Folder of the run.
    """
    from torch.utils.tensorboard import SummaryWriter  # an extra has its package

    whole_lines = log.read_text().rpartition("\n")[0]
    for earlier in folder.glob("events.out.tfevents.*"):
        earlier.unlink()
    with SummaryWriter(str(folder)) as writer:
        for row in csv.DictReader(whole_lines.splitlines()):
            step = int(row.pop("step"))
            for name, value in row.items():
                writer.add_scalar(name, float(value), step, new_style=True)
