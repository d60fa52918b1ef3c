"""Meta-learners: few-shot segmenters on frozen features."""

from umtfss.config import ModelConfig
from umtfss.errors import ConfigError
from umtfss.models.base import MetaLearner
from umtfss.models.prototype import PrototypeMatcher
from umtfss.models.umtfss import UMTFSS

__all__ = ["MetaLearner", "build_model"]


def build_model(
    name: str,
    settings: ModelConfig,
    mid_channels: int,
    high_channels: int,
    align_corners: bool = False,
) -> MetaLearner:
    """The meta-learner of that name, untrained.

    Args:
        name: "umtfss", or "prototype" (training-free floor; it has no settings).
        settings: The model block of an experiment.
        mid_channels: Channels of the mid feature.
        high_channels: Channels of the high feature; no model has weights on it so far.
        align_corners: How the backbone's grid maps to pixels; decides the loss.

    Raises:
        ConfigError: There is no such meta-learner.
    """
    model: MetaLearner
    if name == "umtfss":
        model = UMTFSS(settings, mid_channels)
    elif name == "prototype":
        model = PrototypeMatcher()
    else:
        raise ConfigError(
            f"there is no meta-learner {name!r}",
            expected="umtfss or prototype",
            found=name,
            fix="correct the run's model",
        )
    model.align_corners = align_corners
    return model
