"""From the name of a meta-learner to an untrained model."""

from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec

from umtfss.common.errors import ConfigError
from umtfss.common.onednn import accelerate
from umtfss.experiment.model import ModelConfig
from umtfss.models.base import MetaLearner


def build_model(
    name: str,
    settings: ModelConfig,
    mid_channels: Sequence[int],
    align_corners: bool = False,
) -> MetaLearner:
    """Build an untrained meta-learner.

    The function does not read the catalogue of models, so a new model there makes no training
    stale.

    Args:
        name: Name of the meta-learner's file in `umtfss/models`, without suffix.
        settings: The model block of an experiment.
        mid_channels: Channels of each level of the mid feature, from shallow to deep.
        align_corners: How the backbone's grid maps to pixels; the loss depends on it.

    Raises:
        ConfigError: There is no such meta-learner.
    """
    model = _meta_learner(name)(settings, mid_channels)
    model.align_corners = align_corners
    accelerate(model)
    return model


def _meta_learner(name: str) -> Callable[[ModelConfig, Sequence[int]], MetaLearner]:
    """The only class of a meta-learner that `umtfss/models/<name>.py` defines."""
    path = f"umtfss.models.{name}"
    defined = vars(import_module(path)).values() if find_spec(path) else ()
    kinds = [
        one
        for one in defined
        if isinstance(one, type) and issubclass(one, MetaLearner) and one.__module__ == path
    ]
    if len(kinds) != 1 or kinds == [MetaLearner]:
        raise ConfigError(
            f"there is no meta-learner {name!r}",
            expected=f"a file umtfss/models/{name}.py with one subclass of MetaLearner",
            found=[kind.__name__ for kind in kinds],
            fix="correct the run's model, or add it as docs/extending.md says",
        )
    return kinds[0]
