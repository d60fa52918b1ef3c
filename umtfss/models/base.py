"""The interface of meta-learners to training and evaluation.

Shapes: B batch, h w feature grid, S S target grid. If a batch has a `side` (`EpisodeBatch.side`),
the logits of the query fill the square grid of the target.
"""

from collections.abc import Iterator

from torch import Tensor, nn

from umtfss.episodes.batch import EpisodeBatch
from umtfss.models.layers.dice import dice_loss


class MetaLearner(nn.Module):
    """A few-shot segmenter on frozen features.

    Attributes:
        align_corners: How the backbone's grid maps to pixels: True for a dilated ResNet, False
            (default) for a ViT.
        ignore_in_loss: Whether label 255 is left out of the loss.
        reads_support_target: Whether the loss reads `EpisodeBatch.support_target`.
        reads_high_background: Whether the model reads `EpisodeBatch.support_high` at tokens without
            foreground. If not, live features need not be computed there.
        reads_classes: Whether the model tells the classes of its training tasks apart, and so reads
            `EpisodeBatch.query_classes` and `class_index` in training.
    """

    align_corners: bool = False
    ignore_in_loss: bool = True
    reads_support_target: bool = False
    reads_high_background: bool = True
    reads_classes: bool = False

    def forward(self, batch: EpisodeBatch) -> Tensor:
        """(B, 2, h, w) logits, background then foreground; padding repeats the nearest logits."""
        raise NotImplementedError  # every model defines it

    def outputs(self, batch: EpisodeBatch) -> tuple[Tensor, ...]:
        """The inputs of the loss: the logits of `forward`, then auxiliary logits, if any."""
        return (self(batch),)

    def total_loss(self, outputs: tuple[Tensor, ...], batch: EpisodeBatch) -> Tensor:
        """The training loss, a scalar; a model with auxiliary outputs adds their losses.

        Args:
            outputs: Result of `outputs`, in float32.
            batch: The batch, with its target.
        """
        assert batch.target is not None
        return self.loss(outputs[0], batch.target)

    def loss(self, logits: Tensor, target: Tensor) -> Tensor:
        """The dice loss of the logits, upsampled to the target.

        Args:
            logits: (B, 2, h, w).
            target: (B, S, S) int64 in {0, 1, 255}.
        """
        return dice_loss(logits, target, self.ignore_in_loss, self.align_corners)

    def tell_apart(self, classes: int, are_clusters: bool) -> None:
        """Prepare a model that reads classes for its training tasks.

        Args:
            classes: Number of classes of the training tasks, background not counted.
            are_clusters: Whether the classes are clusters, which may hold novel objects, too.
        """
        raise NotImplementedError  # a model whose `reads_classes` is true defines it

    def transformer_parameters(self) -> Iterator[nn.Parameter]:
        """The parameters that AdamW optimises; SGD optimises the others."""
        return iter(())
