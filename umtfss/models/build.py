"""From the name of a meta-learner to an untrained model."""

from importlib import import_module

from umtfss.common.errors import ConfigError
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.models import MODELS
from umtfss.models.base import MetaLearner


def build_model(
    name: str, settings: ModelConfig, mid_channels: int, align_corners: bool = False
) -> MetaLearner:
    """The meta-learner of that name, untrained.

    Args:
        name: A key of `umtfss.plan.run.MODELS`.
        settings: The model block of an experiment.
        mid_channels: Channels of the mid feature.
        align_corners: How the backbone's grid maps to pixels; decides the loss.

    Raises:
        ConfigError: There is no such meta-learner.
    """
    if name not in MODELS:
        raise ConfigError(
            f"there is no meta-learner {name!r}",
            expected=f"one of {', '.join(MODELS)}",
            found=name,
            fix="correct the run's model, or add it as docs/add_a_model.md says",
        )
    kind = getattr(import_module(f"umtfss.models.{name}"), MODELS[name])
    model: MetaLearner = kind(settings, mid_channels)
    model.align_corners = align_corners
    return model
