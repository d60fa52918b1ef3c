"""The number of multiplications of cross-attention: vanilla and prototype-aware.

Legend: N tokens of an image, K shots, d model width, b hash bits, r iterations of Hamming k-means.
"""

from dataclasses import dataclass

from umtfss.experiment.model import ModelConfig


@dataclass(frozen=True)
class AttentionCost:
    """The multiplications of all cross-attention layers for one episode.

    Attributes:
        shot: K.
        tokens: N, tokens of an image.
        vanilla: 2 N (K N) d per layer: every query token attends to every support token.
        prototype: 2 N (K_fg + K_bg) d per layer, and once for all layers the hashing, K N b d, and
            the Hamming k-means, r K N (K_fg + K_bg) b. Operations on bits count as multiplications.
    """

    shot: int
    tokens: int
    vanilla: int
    prototype: int


def attention_cost(model: ModelConfig, tokens: int, shot: int) -> AttentionCost:
    """Count multiplications as in the paper's section on prototype-aware attention, plus grouping.

    Args:
        model: The model block; all its cross-attention layers are counted.
        tokens: N.
        shot: K.
    """
    own = model.umtfss
    support, groups = shot * tokens, own.k_fg + own.k_bg
    vanilla = model.layers * 2 * tokens * support * model.width
    prototype = model.layers * 2 * tokens * groups * model.width
    prototype += support * own.hash_bits * model.width
    prototype += own.hamming_iterations * support * groups * own.hash_bits
    return AttentionCost(shot, tokens, vanilla, prototype)
