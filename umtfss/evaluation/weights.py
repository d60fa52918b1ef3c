"""Check that a run has weights from a training with the experiment's settings."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from umtfss.common.errors import StoreError
from umtfss.common.manifests import read_manifest
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec

SHOWN_KEYS = 5  # of the changed settings, in the message


def check_weights(plan: Plan, run: RunSpec) -> None:
    """Refuse a run without weights, or with weights of other settings; training-free runs pass.

    Args:
        plan: The plan of the experiment.
        run: A run of the experiment.

    Raises:
        StoreError: The run has not been trained, or was trained before a setting changed.
    """
    for manifest in plan.paths.training_manifest(run):
        if not Path(manifest).is_file():
            raise StoreError(
                f"the run {run.path} of experiment {plan.experiment.name} has not been trained "
                "here",
                expected=Path(manifest).resolve(),
                fix=f"in the project's folder: {_command(plan, manifest)}\n"
                "            or take the matcher, which needs no training: --run prototype, in "
                "Python floor_run(plan.experiment)",
            )
        _check_settings(plan, run, manifest)


def _check_settings(plan: Plan, run: RunSpec, manifest: str) -> None:
    """Refuse weights of a training with other settings than the experiment's."""
    today = _flat(TrainModel.of_run(plan, run).made_with())
    then = _flat(read_manifest(manifest, "training")["settings"])
    changed = sorted(key for key in {*today, *then} if today.get(key) != then.get(key))
    if not changed:
        return
    shown, rest = changed[:SHOWN_KEYS], len(changed[SHOWN_KEYS:])
    raise StoreError(
        f"the run {run.path} was trained before the settings of experiment "
        f"{plan.experiment.name} changed",
        expected=", ".join(f"{key} {then.get(key)}" for key in shown),
        found=", ".join(f"{key} {today.get(key)}" for key in shown)
        + (f", and {rest} more" if rest else ""),
        fix=f"change them back, or train again: {_command(plan, manifest)}",
    )


def _command(plan: Plan, target: str) -> str:
    return f"snakemake --cores all --config experiment={plan.experiment.name} -- {target}"


def _flat(settings: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The settings with keys such as "features.model.backbone"."""
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        inner = isinstance(value, Mapping) and bool(value)
        flat |= _flat(value, f"{above}{key}.") if inner else {f"{above}{key}": value}
    return flat
