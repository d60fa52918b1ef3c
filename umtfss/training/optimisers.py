"""The optimisers of a meta-learner: one for all parameters, or a second for the transformer."""

from collections.abc import Iterable, Sequence

from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from umtfss.common.errors import TrainingError
from umtfss.experiment.training import TrainingConfig

MAIN = "main"  # the optimiser whose rate follows the schedule
TRANSFORMER = "transformer"  # the optimiser of constant rate


def build_optimisers(
    model: nn.Module, transformer: Iterable[nn.Parameter], settings: TrainingConfig
) -> dict[str, Optimizer]:
    """The optimisers by name, "main" and "transformer"; one without parameters is left out.

    * `sgd_adamw`, as in the paper: "main" is SGD for all parameters but the transformer's;
      "transformer" is AdamW at a constant rate.
    * `adamw`: "main" is AdamW for all parameters.
    * `adam`: "main" is Adam with L2 decay in the gradient for all parameters, as in MaskSplit's
      released training (arXiv:2110.12207).

    AdamW decays no parameter of fewer than two dimensions; the release decays norms, too. SGD and
    Adam decay every parameter.

    Args:
        model: The model whose trainable parameters are optimised.
        transformer: The parameters that AdamW optimises with `sgd_adamw`.
        settings: The optimiser, rates and weight decays.

    Raises:
        TrainingError: The model has no trainable parameter.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trainable:
        raise TrainingError(
            f"the model {type(model).__name__} has no trainable parameter",
            fix="evaluate it without training",
        )
    fused = trainable[0].is_cuda or None  # one kernel for all parameters; None: torch's choice
    if settings.optimiser == "adamw":
        return {MAIN: _adamw(trainable, settings)}
    if settings.optimiser == "adam":
        decay = settings.adamw_weight_decay
        return {MAIN: Adam(trainable, lr=settings.adamw_lr, weight_decay=decay, fused=fused)}
    attention = {id(parameter) for parameter in transformer}
    rest = [parameter for parameter in trainable if id(parameter) not in attention]
    attended = [parameter for parameter in trainable if id(parameter) in attention]
    optimisers: dict[str, Optimizer] = {}
    if rest:
        optimisers[MAIN] = SGD(
            rest,
            lr=settings.sgd_lr * settings.lr_multiplier,
            momentum=settings.momentum,
            weight_decay=settings.sgd_weight_decay,
            fused=fused,
        )
    if attended:
        optimisers[TRANSFORMER] = _adamw(attended, settings)
    return optimisers


def _adamw(parameters: Sequence[nn.Parameter], settings: TrainingConfig) -> AdamW:
    """AdamW with weight decay only on parameters of two or more dimensions."""
    groups = [
        {
            "params": [parameter for parameter in parameters if parameter.ndim > 1],
            "weight_decay": settings.adamw_weight_decay,
        },
        {
            "params": [parameter for parameter in parameters if parameter.ndim <= 1],
            "weight_decay": 0.0,
        },
    ]
    return AdamW(groups, lr=settings.adamw_lr, fused=parameters[0].is_cuda or None)


def set_main_rate(optimisers: dict[str, Optimizer], rate: float) -> None:
    """Set the learning rate of the main optimiser, if there is one."""
    if MAIN in optimisers:
        for group in optimisers[MAIN].param_groups:
            group["lr"] = rate
