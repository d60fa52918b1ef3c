"""The training schedules of a table's models, as sentences of the table's note."""

from collections.abc import Iterable, Sequence

from umtfss.experiment.models import MODELS, WITH_TRANSFORMER
from umtfss.experiment.schema import Experiment
from umtfss.experiment.training import TrainingConfig

Stage = tuple[str, str, str, Sequence[str]]


def schedule_note(experiment: Experiment, stages: Iterable[Stage]) -> str:
    """Length, batch size and learning rates of every stage and model, as sentences.

    Args:
        experiment: The experiment.
        stages: (title, block, pool or data set, models trained in this stage), e.g.
            ("Fine-tuning", "fine_tuning", "pascal", ["umtfss"]).
    """
    sentences = []
    for title, block, name, models in stages:
        stage: TrainingConfig | None = getattr(experiment, block).get(name)
        if stage is None:
            continue
        schedules: dict[str, list[str]] = {}
        for model in models:
            schedules.setdefault(_schedule(stage.of_model(model), model), []).append(MODELS[model])
        parts = [f"{' and '.join(names)} {text}" for text, names in schedules.items()]
        if parts:
            sentences.append(f"{title}: {'; '.join(parts)}.")
    return " ".join(sentences)


def _schedule(stage: TrainingConfig, model: str) -> str:
    length = f"{stage.steps} steps" if stage.steps is not None else f"{stage.epochs} epochs"
    rates = [f"AdamW {stage.adamw_lr:g}"]
    if stage.optimiser == "adam":
        rates = [f"Adam {stage.adamw_lr:g}"]
    elif stage.optimiser == "sgd_adamw":
        rates = [f"SGD {stage.sgd_lr * stage.lr_multiplier:g}"]
        if model in WITH_TRANSFORMER:
            rates.append(f"AdamW {stage.adamw_lr:g} in the transformer")
    return f"{length} of {stage.batch_size} episodes at {', '.join(rates)}"
