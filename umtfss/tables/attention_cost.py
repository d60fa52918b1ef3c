"""The multiplications of cross-attention, counted: vanilla beside prototype-aware.

Legend: N tokens of an image, K shots, d model width, b hash bits, r iterations of Hamming k-means.
"""

from dataclasses import dataclass

from umtfss.experiment.model import ModelConfig


@dataclass(frozen=True)
class AttentionCost:
    """Multiplications of one cross-attention layer and what it needs, for one episode.

    Attributes:
        shot: K.
        tokens: Tokens of an image.
        vanilla: 2 N (K N) d: every query token looks at every support token.
        prototype: 2 N (K_fg + K_bg) d, and once for all layers the hashing, K N b d, and the
            Hamming k-means, r K N (K_fg + K_bg) b, whose operations on bits count as
            multiplications here.
    """

    shot: int
    tokens: int
    vanilla: int
    prototype: int


def attention_cost(model: ModelConfig, tokens: int, shot: int) -> AttentionCost:
    """The count of the paper's section on prototype-aware attention, with the grouping included.

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
