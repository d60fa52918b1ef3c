"""A run as one file, with a card that says where it comes from."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from umtfss.common.files import atomic_path
from umtfss.common.manifests import package_versions, read_manifest
from umtfss.evaluation.miou import EpisodeScores, summarise
from umtfss.evaluation.results import load_result
from umtfss.experiment.backbones import backbone_spec, parts_of
from umtfss.experiment.models import MODELS
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec, TaskSource
from umtfss.predict.model_file import ModelFile
from umtfss.predict.segmenter import Segmenter

CARD = """# {title}

A few-shot segmenter, exported by umtfss: K photos with masks show an object, and it finds the
object in other photos. The file beside this card has the meta-learner's weights and all settings.

* **Model**: {title}, run `{run}` of experiment `{experiment}`.
* **Backbone**: {backbone}. Its weights are not in the file; they are found as the settings say
  ({weights}) and checked (digest `{digest}`). They have terms of their own.
* **Trained** {trained}.
* **Versions**: {versions}.

{metrics}

```python
from umtfss.predict.segmenter import Segmenter

segmenter = Segmenter.load("{file}").fit(["dog.jpg"], ["dog-mask.png"])
labels = segmenter.predict("another.jpg")  # (H, W) uint8, 1 where the dog is
```
"""


def export_run(plan: Plan, run: RunSpec, path: Path) -> ModelFile:
    """Write a run's model file to `path` and its card beside it, `NAME.md`; return the content.

    Args:
        plan: The plan of the run's experiment.
        run: The run, trained or training-free.
        path: The model file; its suffix should be `.safetensors`.

    Raises:
        StoreError: The run has not been trained, or was trained with other settings.
        WeightsError: Weights are missing or altered.
    """
    segmenter = Segmenter.of_run(plan, run)
    provenance = _provenance(plan, run)
    file = segmenter.model_file(provenance)
    file.save(path)
    extracted = file.recipe.extracted
    sources = [
        extracted.weights[name].source
        if name in extracted.weights
        else backbone_spec(name).source or "no source"
        for name in parts_of(extracted.backbone)
    ]
    card = CARD.format(
        title=MODELS[run.model],
        run=run.path,
        experiment=plan.experiment.name,
        backbone=backbone_spec(extracted.backbone).title,
        weights=", ".join(sources),
        digest=file.backbone[:12],
        trained=_training(plan, run),
        versions=", ".join(f"{n} {v}" for n, v in provenance["versions"].items()),
        metrics=_metrics(provenance["tested"]),
        file=path.name,
    )
    with atomic_path(path.with_suffix(".md")) as temporary:
        temporary.write_text(card)
    return file


def _provenance(plan: Plan, run: RunSpec) -> dict[str, Any]:
    """Where a run comes from: digests, settings, versions and results."""
    trained = [read_manifest(one, "training") for one in plan.paths.training_manifest(run)]
    return {
        "experiment": plan.experiment.name,
        "run": run.path,
        "weights": [one["digest"] for one in trained],
        "settings": [one["settings"] for one in trained],
        "versions": package_versions("umtfss", "torch", "numpy"),
        "tested": list(_tested(plan, run)),
    }


def _tested(plan: Plan, run: RunSpec) -> Iterator[dict[str, Any]]:
    """The results of a run that lie in its experiment's folder."""
    for spec in plan.runs.evaluations.values():
        path = Path(plan.paths.evaluation(spec))
        if spec.run == run and path.is_file():
            folds = load_result(path).folds
            scores: Mapping[int, EpisodeScores] = {k: one.pooled() for k, one in folds.items()}
            yield {
                "dataset": spec.dataset,
                "shot": spec.shot,
                "refine": list(spec.refine),
                "miou": {k: round(100 * summarise(one).miou, 2) for k, one in scores.items()},
            }


def _training(plan: Plan, run: RunSpec) -> str:
    """How a run was trained, in words."""
    if not run.is_trained:
        return "not at all: it compares features with two prototypes"
    splits = ", ".join(plan.runs.training_splits(run))
    how = plan.runs.training_settings(run)
    tasks = "labels" if run.tasks is TaskSource.LABELS else "pseudo-tasks without labels"
    after = f", from the weights of {run.initial.path}" if run.initial else ""
    long = f"{how.steps} steps of {how.batch_size} episodes, seed {run.seed}"
    return f"on {tasks} of {splits}: {long}{after}"


def _metrics(tested: list[dict[str, Any]]) -> str:
    """The results as a table."""
    if not tested:
        return "It was not tested on labelled images."
    rows = [
        "| {} | {} | {} | {} | {} |".format(
            one["dataset"], "+".join(one["refine"]) or "none", one["shot"], fold, miou
        )
        for one in tested
        for fold, miou in one["miou"].items()
    ]
    head = "| data set | refinement | shots | fold | mIoU, percent |\n|---|---|---|---|---|\n"
    return head + "\n".join(rows)
