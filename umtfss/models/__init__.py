"""Meta-learners: few-shot segmenters on frozen features. One file here and a line in runs.py."""

from importlib import import_module

from umtfss.config import ModelConfig
from umtfss.errors import ConfigError
from umtfss.models.base import MetaLearner
from umtfss.runs import MODELS

__all__ = ["MetaLearner", "build_model"]


def build_model(
    name: str, settings: ModelConfig, mid_channels: int, align_corners: bool = False
) -> MetaLearner:
    """The meta-learner of that name, untrained.

    Args:
        name: A key of `umtfss.runs.MODELS`.
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
