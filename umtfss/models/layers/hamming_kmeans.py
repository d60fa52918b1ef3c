"""Locality-sensitive hashing and k-means in Hamming space, for a whole batch of token sets.

This is the paper's section "Feature-to-Prototype Assignment": tokens are hashed to b bits by the
sign of random projections, then clustered by k-means with the Hamming distance. All random numbers
are integer hashes of the episode's key and a counter. So an episode has the same planes and initial
codes in any batch and on any device.

Shapes: B batch, N tokens, C channels, b bits, S token sets (e.g. foreground and background),
G groups of all sets together.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

# splitmix64 (Steele, Lea, Flood 2014), its constants as signed 64-bit integers.
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def _mix(x: Tensor) -> Tensor:
    """The splitmix64 finaliser of int64; masks make the shifts logical, products wrap."""
    x = (x ^ ((x >> 30) & ((1 << 34) - 1))) * _FIRST
    x = (x ^ ((x >> 27) & ((1 << 37) - 1))) * _SECOND
    return x ^ ((x >> 31) & ((1 << 33) - 1))


def keyed_hash(key: Tensor, stream: int, counter: Tensor) -> Tensor:
    """Random bits that depend on the key, the stream and the counter alone, (B, n) int64.

    Args:
        key: (B,) int64.
        stream: Number of the purpose of the bits; streams of one key are independent.
        counter: (n,) int64.
    """
    start = _mix(_mix(key + _GAMMA) + stream)
    return _mix(start[:, None] + (counter + 1) * _GAMMA)


def keyed_normals(key: Tensor, stream: int, count: int) -> Tensor:
    """Nearly normal numbers of zero mean and unit variance, (B, count) float32.

    A number is the sum of the four 16-bit parts of a hash. The sum is exact, so it is the same on
    every device; logarithms and cosines are not. A projection of many channels is normal anyway.
    """
    bits = keyed_hash(key, stream, torch.arange(count, device=key.device))
    parts = torch.stack([(bits >> shift) & 0xFFFF for shift in (0, 16, 32, 48)]).sum(0)
    return (parts - 2 * 0xFFFF).float() * (3**0.5 / 2**16)


def hash_planes(key: Tensor, channels: int, bits: int, count: int) -> tuple[Tensor, Tensor]:
    """The normals of random planes of every set, (B, S, C, b), and their thresholds, (B, S, b).

    Args:
        key: (B,) int64.
        channels: C.
        bits: b.
        count: S.
    """
    planes = keyed_normals(key, 0, count * channels * bits)
    return planes.view(-1, count, channels, bits), keyed_normals(key, 1, count * bits).view(
        -1, count, bits
    )


@torch.no_grad()
def hash_codes(tokens: Tensor, sets: Tensor, planes: Tensor, thresholds: Tensor) -> Tensor:
    """The codes: whether a token's product with a normal exceeds the threshold, (B, N, b) bool.

    Args:
        tokens: (B, N, C).
        sets: (B, N) int64, set 0 .. S - 1 of a token, which selects its planes, or -1 for none.
        planes: (B, S, C, b), from `hash_planes`.
        thresholds: (B, S, b).
    """
    batch, count, channels, bits = planes.shape
    with torch.autocast(tokens.device.type, enabled=False):
        product = torch.bmm(tokens.float(), planes.transpose(1, 2).reshape(batch, channels, -1))
    above = product.view(batch, -1, count, bits) > thresholds[:, None]
    chosen = sets.clamp(min=0)[:, :, None, None].expand(-1, -1, 1, bits)
    return above.gather(2, chosen)[:, :, 0]


def _initial_tokens(
    codes: Tensor, sets: Tensor, groups: Sequence[int], priority: Tensor
) -> tuple[Tensor, Tensor]:
    """The tokens whose codes initialise the groups, (B, G), and whether there is one, (B, G) bool.

    Every set takes its tokens in the order of priority and skips codes that it already has.
    """
    bits = codes.shape[-1]
    powers = 1 << torch.arange(bits, device=codes.device)
    packed = torch.where(sets < 0, -1, (codes * powers).sum(-1) + (sets << bits))
    order = priority.masked_fill(sets < 0, torch.iinfo(torch.int64).max).argsort(dim=1, stable=True)
    sorted_codes, position = packed.gather(1, order).sort(dim=1, stable=True)
    is_new = torch.ones_like(sorted_codes, dtype=torch.bool)
    is_new[:, 1:] = sorted_codes[:, 1:] != sorted_codes[:, :-1]
    is_new = torch.zeros_like(is_new).scatter(1, position, is_new)
    ordered_sets = sets.gather(1, order)
    total, start = sum(groups), 0
    slot = torch.full_like(sets, total)
    for index, count in enumerate(groups):
        candidate = is_new & (ordered_sets == index)
        rank = candidate.cumsum(1) - 1
        slot = torch.where(candidate & (rank < count), start + rank, slot)
        start += count
    token = order.new_zeros(len(sets), total + 1).scatter(1, slot, order)[:, :total]
    used = is_new.new_zeros(len(sets), total + 1).scatter(1, slot, is_new)[:, :total]
    return token, used


@torch.no_grad()
def hamming_kmeans(
    codes: Tensor, sets: Tensor, groups: Sequence[int], priority: Tensor, iterations: int
) -> Tensor:
    """The group of each token, (B, N) int64; G = sum(groups) for tokens of no set.

    Every set is clustered separately: set 0 has groups 0 .. groups[0] - 1, set 1 the next
    groups[1], and so on. If a set has no more tokens than groups, each token is a group, in token
    order. Otherwise the groups are initialised with the first distinct codes in the order of
    priority; groups without a code stay empty. Tokens are assigned to the nearest code (ties go to
    the lower group). An iteration replaces a group's code by the majority of its tokens' bits (ties
    give 0) and assigns the tokens again.

    Args:
        codes: (B, N, b) bool.
        sets: (B, N) int64, set 0 .. S - 1 of a token, or -1 for none.
        groups: Number of groups of each set; b + log2(S) must not exceed 63.
        priority: (B, N) int64, random order of the tokens.
        iterations: Number of iterations.
    """
    batch, count, bits = codes.shape
    total, kinds = sum(groups), len(groups)
    token, used = _initial_tokens(codes, sets, groups, priority)

    # One product of small exact integers gives score = scale * agreement - group, plus `bonus` if
    # token and group are of the same set. So the largest score decides the group, ties included.
    scale = 1 << (total - 1).bit_length()
    bonus = scale << (2 * bits).bit_length()
    features = codes.new_zeros(batch, count, bits + kinds + 1, dtype=torch.float32)
    torch.sub(codes.float() * 2, 1, out=features[..., :bits])
    for index in range(kinds):
        features[..., bits + index] = sets == index
    features[..., -1] = 1
    features *= (sets >= 0)[..., None]  # tokens of no set add nothing to their group

    first_row = torch.arange(batch, device=codes.device)[:, None] * total
    rows = features.view(-1, features.shape[-1])
    centres = rows[(token + torch.arange(batch, device=codes.device)[:, None] * count).view(-1)]
    centres = centres.view(batch, total, -1) * used[..., None]
    centres[..., :bits] *= scale
    centres[..., bits:-1] *= bonus
    centres[..., -1] = -torch.arange(total, device=codes.device, dtype=torch.float32)

    scores = features.new_empty(batch, count, total)
    sums = torch.empty_like(centres)

    def assign() -> Tensor:
        with torch.autocast(codes.device.type, enabled=False):
            torch.bmm(features, centres.transpose(1, 2), out=scores)
        return torch.remainder(-scores.amax(-1), scale).long()

    group = assign()
    for _ in range(iterations):
        sums.zero_().view(batch * total, -1).index_add_(0, (group + first_row).view(-1), rows)
        centres[..., :bits] = torch.where(sums[..., :bits] > 0, float(scale), -float(scale))
        group = assign()

    start = 0
    for index, size in enumerate(groups):
        member = sets == index
        alone = member & (member.sum(1, keepdim=True) <= size)
        group = torch.where(alone, start + member.cumsum(1) - 1, group)
        start += size
    return group.masked_fill(sets < 0, total)
