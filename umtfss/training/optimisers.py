"""The two optimisers of a meta-learner: AdamW for its transformer, SGD for all the rest."""

from collections.abc import Iterable

from torch import nn
from torch.optim import SGD, AdamW, Optimizer

from umtfss.config import TrainingConfig
from umtfss.errors import TrainingError


def build_optimisers(
    model: nn.Module, transformer: Iterable[nn.Parameter], settings: TrainingConfig
) -> dict[str, Optimizer]:
    """The optimisers by name, "sgd" and "adamw" (protocol section 5); one without work is left out.

    AdamW decays no bias and no norm weight, that is no parameter of fewer than two dimensions, and
    its rate is constant. The SGD rate changes with every step: see `set_sgd_rate`.

    Args:
        model: Its trainable parameters are optimised.
        transformer: Those of them that AdamW takes.
        settings: Rates and weight decays.

    Raises:
        TrainingError: The model has no trainable parameter.
    """
    attention = {id(parameter) for parameter in transformer}
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise TrainingError(
            f"the model {type(model).__name__} has no trainable parameter",
            fix="evaluate it without training",
        )
    rest = [parameter for parameter in trainable if id(parameter) not in attention]
    weights = [p for p in trainable if id(p) in attention and p.ndim > 1]
    biases = [p for p in trainable if id(p) in attention and p.ndim <= 1]
    optimisers: dict[str, Optimizer] = {}
    if rest:
        optimisers["sgd"] = SGD(
            rest,
            lr=settings.sgd_lr * settings.lr_multiplier,
            momentum=settings.momentum,
            weight_decay=settings.sgd_weight_decay,
        )
    if weights or biases:
        optimisers["adamw"] = AdamW(
            [
                {"params": weights, "weight_decay": settings.adamw_weight_decay},
                {"params": biases, "weight_decay": 0.0},
            ],
            lr=settings.adamw_lr,
        )
    return optimisers


def set_sgd_rate(optimisers: dict[str, Optimizer], rate: float) -> None:
    """Set the rate of SGD, where there is one."""
    if "sgd" in optimisers:
        for group in optimisers["sgd"].param_groups:
            group["lr"] = rate
