"""Pictures behind a number: one test episode, or the best and the worst episodes."""

from pathlib import Path

import torch

from umtfss.common.errors import ConfigError, StoreError
from umtfss.figures.episode import EpisodeView, Prediction, draw_contact_sheet, draw_episode
from umtfss.figures.tested import EpisodeSet, Found, TestedRun
from umtfss.plan.cells import floor_run
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec

FLOOR = "training-free floor"


def default_dataset(plan: Plan, run: RunSpec) -> str:
    """The first data set that the tables test a run on.

    Raises:
        ConfigError: No table tests the run.
    """
    tested = [spec.dataset for spec in plan.runs.evaluations.values() if spec.run == run]
    if not tested:
        raise ConfigError(
            f"no table of experiment {plan.experiment.name} tests the run {run.path}",
            expected=f"a data set, one of {sorted(plan.experiment.datasets)}",
            fix="name it with --dataset",
        )
    return tested[0]


def show_episode(
    plan: Plan,
    run: RunSpec,
    tested: EpisodeSet,
    number: int,
    path: str | Path,
    device: torch.device,
) -> None:
    """Draw one test episode with the predictions of the training-free floor and of a run.

    Args:
        plan: The experiment.
        run: One of its runs.
        tested: The episodes.
        number: Number of the episode.
        path: Picture.
        device: Where the models run.

    Raises:
        ConfigError: The experiment does not test the fold with this run.
        StoreError: A file is missing or was made with other files, or there is no such episode.
        DataError: The raw images are missing.
    """
    steps = plan.experiment.evaluation.refine.steps
    model = TestedRun(plan, run, tested, steps, device)
    if number >= len(model.episodes):
        raise StoreError(
            f"{tested} has no episode {number}",
            expected=f"0 to {len(model.episodes) - 1}",
            fix="correct --episode",
        )
    predictions = [_prediction(run.model, model.find([number])[0])]
    floor = floor_run(plan.experiment)
    if (floor, ()) != (run, steps):  # the floor's score stays as it is
        found = TestedRun(plan, floor, tested, (), device).find([number])[0]
        predictions.insert(0, _prediction(FLOOR, found))
    view = _view(model, number, tuple(predictions))
    title = f"{tested}, episode {number}: {view.class_name}\n{run.path}"
    draw_episode(view, title, path)


def show_extremes(
    plan: Plan,
    run: RunSpec,
    tested: EpisodeSet,
    count: int,
    path: str | Path,
    device: torch.device,
) -> None:
    """Draw the test episodes with the highest and the lowest IoU, half of each.

    Args:
        plan: The experiment.
        run: One of its runs.
        tested: The episodes.
        count: How many are drawn at most; if there are no more, all are, the best first.
        path: Picture.
        device: Where the model runs.

    Raises:
        ConfigError: The experiment does not test the fold with this run.
        StoreError: A file is missing, or the evaluation file was made with other files.
        DataError: The raw images are missing.
    """
    model = TestedRun(plan, run, tested, plan.experiment.evaluation.refine.steps, device)
    order = (-model.ious).argsort(kind="stable").tolist()
    sections = {
        title: [
            _view(model, row, (_prediction(run.model, found),))
            for row, found in zip(rows, model.find(rows), strict=True)
        ]
        for title, rows in extremes(order, count).items()
    }
    draw_contact_sheet(sections, f"{tested}: {run.path}", path)


def extremes(order: list[int], count: int) -> dict[str, list[int]]:
    """The title of each part of a contact sheet -> its episodes.

    Args:
        order: All episodes, the best first.
        count: How many are taken at most; of an odd number, one more of the best.
    """
    total = len(order)
    if total <= count:
        return {f"all {total} episodes, the best first": order}
    best, worst = (count + 1) // 2, count // 2
    parts = {f"the best {best} of {total} episodes, the best first": order[:best]}
    if worst:
        parts[f"the worst {worst} of {total} episodes, the worst first"] = order[: -worst - 1 : -1]
    return parts


def _prediction(title: str, found: Found) -> Prediction:
    return Prediction(title, found.mask, found.iou)


def _view(model: TestedRun, row: int, predictions: tuple[Prediction, ...]) -> EpisodeView:
    episode, images = model.episodes[row], model.images
    return EpisodeView(
        row,
        model.class_names[episode.class_id],
        tuple(
            (images.image(name), model.masks.mask(name, episode.class_id))
            for name in episode.supports
        ),
        images.image(episode.query),
        model.truth(row),
        predictions,
    )
