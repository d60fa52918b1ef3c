"""The released models by the rules of the golden files' README, in plain numpy.

Written from those rules alone, with loops, in float64; nothing here is taken from umtfss/models.
`umtfss` (here), `cyctr` and `pfenet` (released_others.py) take the arrays of a golden file, or
made-up ones of any number of shots, grid, padding and labels with the same keys, and give every
array that a file has below `results/`. The README lies in ../shared/golden.

One episode is computed at a time: a map is (channels, rows, columns), `weights` holds the model's
weights by name, a result is a dictionary of arrays by the file's names.
"""

import numpy as np

Array = np.ndarray
Arrays = dict[str, Array]


def group(file: Arrays, name: str) -> Arrays:
    """The arrays of one group ("weights", "inputs", "draws"), floats as float64."""
    found = {k.removeprefix(f"{name}/"): v for k, v in file.items() if k.startswith(f"{name}/")}
    return {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in found.items()}


def each_episode(file: Arrays) -> list[Arrays]:
    """The inputs of every episode."""
    inputs = group(file, "inputs")
    return [{k: v[b] for k, v in inputs.items()} for b in range(len(inputs["query_label"]))]


def stacked(episodes: list[Arrays]) -> Arrays:
    """All episodes' arrays in one; what only one episode has stays as it is."""
    results: Arrays = {}
    for episode in episodes:
        results |= {k: v for k, v in episode.items() if "element" in k}
    alike = [k for k in episodes[0] if k not in results]
    return results | {k: np.stack([episode[k] for episode in episodes]) for k in alike}


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def softmax(x: Array, axis: int) -> Array:
    raised = np.exp(x - x.max(axis, keepdims=True))
    return raised / raised.sum(axis, keepdims=True)


def linear(x: Array, weights: Arrays, name: str) -> Array:
    """A linear layer or a 1x1 convolution: (out, ...) of (in, ...)."""
    weight = weights[f"{name}.weight"]
    result = np.tensordot(weight.reshape(len(weight), -1), x, 1)
    bias = weights.get(f"{name}.bias", np.zeros(len(weight)))
    return result + bias.reshape(-1, *[1] * (x.ndim - 1))


def conv(x: Array, weights: Arrays, name: str) -> Array:
    """A 3x3 convolution with zero padding."""
    weight, (rows, columns) = weights[f"{name}.weight"], x.shape[1:]
    framed = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    result = np.zeros((len(weight), rows, columns))
    for i, j in np.ndindex(3, 3):
        result += np.tensordot(weight[:, :, i, j], framed[:, i : i + rows, j : j + columns], 1)
    return result


def two_convs(x: Array, weights: Arrays, first: str, second: str) -> Array:
    return relu(conv(relu(conv(x, weights, first)), weights, second))


def classified(x: Array, weights: Arrays, name: str) -> Array:
    """Two logits of every token."""
    return linear(relu(conv(x, weights, f"{name}.hidden")), weights, f"{name}.output")


def norm(x: Array, weights: Arrays, name: str) -> Array:
    """LayerNorm over the channels."""
    scaled = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return scaled * scale[:, None, None] + shift[:, None, None]


def lerp(source: int, target: int) -> Array:
    """(target, source) weights of a line's linear interpolation with aligned corners."""
    weights = np.zeros((target, source))
    for i in range(target):
        at = i * (source - 1) / (target - 1) if target > 1 else 0.0
        low = int(at)
        weights[i, low] = 1 - (at - low)
        if at > low:
            weights[i, low + 1] = at - low
    return weights


def interpolated(x: Array, shape: tuple[int, ...]) -> Array:
    """(..., *shape) of (..., rows, columns), bilinear with aligned corners."""
    return lerp(x.shape[-2], shape[0]) @ x @ lerp(x.shape[-1], shape[1]).T


def nearest(x: Array, grid: tuple[int, ...]) -> Array:
    """(..., *grid) of (..., S, S): token (r, c) takes pixel (floor(r S / G), floor(c S / G))."""
    rows, columns = (
        [i * s // g for i in range(g)] for s, g in zip(x.shape[-2:], grid, strict=True)
    )
    return x[..., rows, :][..., columns]


# Steps 1 to 3, which all models have.


def masked_mean(features: Array, mask: Array) -> Array:
    """(channels,) mean of a map under a mask, step 2."""
    return (features * mask).sum((1, 2)) / (mask.sum() + 0.0005)


def prior_of_shot(query: Array, support: Array, mask: Array) -> Array:
    """(rows, columns) prior mask by one support, step 3."""
    q, s = query.reshape(len(query), -1), (support * mask).reshape(len(support), -1)
    lengths = np.linalg.norm(q, axis=0)[:, None] * np.linalg.norm(s, axis=0)
    best = ((q.T @ s) / (lengths + 1e-7)).max(1)
    return ((best - best.min()) / (best.max() - best.min() + 1e-7)).reshape(query.shape[1:])


def guidance(inputs: Arrays, weights: Arrays, levels: tuple[str, str]) -> Arrays:
    """Projections, vectors and prior mask of an episode."""
    query_mid = np.concatenate([inputs[f"query_{level}"] for level in levels])
    support_mid = np.concatenate([inputs[f"support_{level}"] for level in levels], 1)
    support = [relu(linear(shot, weights, "support_projection")) for shot in support_mid]
    masks = interpolated((inputs["support_label"] == 1).astype(float), query_mid.shape[1:])
    vectors = np.stack([masked_mean(x, mask) for x, mask in zip(support, masks, strict=True)])
    shots = zip(inputs["support_layer4"], masks, strict=True)
    priors = np.stack([prior_of_shot(inputs["query_layer4"], *shot) for shot in shots])
    return {
        "query_projected": relu(linear(query_mid, weights, "query_projection")),
        "support_projected": np.stack(support),
        "mask_on_grid": masks,
        "global_vector_of_each_shot": vectors,
        "global_vector": vectors.mean(0),
        "prior_mask_of_each_shot": priors,
        "prior_mask": priors.mean(0),
    }


def with_vector(x: Array, vector: Array, *more: Array) -> Array:
    """The channels of a map, of a vector at each of its tokens, and of further maps."""
    return np.concatenate([x, np.broadcast_to(vector[:, None, None], x.shape), *more])


# Steps 4 and 8 to 14, which UMTFSS and CyCTR have.


def merged(x: Arrays, weights: Arrays) -> Arrays:
    """Step 4."""
    query = with_vector(x["query_projected"], x["global_vector"], x["prior_mask"][None])
    own = x["global_vector_of_each_shot"]
    support = [with_vector(*pair) for pair in zip(x["support_projected"], own, strict=True)]
    return {
        "support_vector": own,
        "query_merged": relu(linear(query, weights, "query_merge")),
        "support_merged": np.stack(
            [relu(linear(one, weights, "support_merge")) for one in support]
        ),
    }


def flags(inputs: Arrays, grid: tuple[int, ...]) -> Arrays:
    """What is foreground and padding by the nearest pixel, as uint8."""
    found = {
        "token_foreground": nearest(inputs["support_label"], grid) == 1,
        "token_padding": nearest(inputs["support_padding"], grid) == 255,
        "query_token_padding": nearest(inputs["query_padding"], grid) == 255,
    }
    return {k: v.astype(np.uint8) for k, v in found.items()}


def completed(foreground: Array) -> Array:
    """(shots, rows, columns) bool: a shot's sets if one of them were empty, step 5."""
    result, (rows, columns) = foreground == 1, foreground.shape[1:]
    for shot in result:
        if not shot.any():
            shot[rows // 2 - 1 : rows // 2 + 1, columns // 2 - 1 : columns // 2 + 1] = True
        if shot.all():
            shot[:: rows - 1, :: columns - 1] = False
    return result


def tokens_of(maps: Array) -> Array:
    """(channels, tokens) of all shots, (shots, channels, rows, columns)."""
    return np.concatenate([shot.reshape(len(shot), -1) for shot in maps], 1)


def position_code(padding: Array, channels: int) -> Array:
    """(channels, rows, columns), step 8."""
    valid, half = 1.0 - padding, channels // 2
    code = np.zeros((channels, *valid.shape))
    for axis in (0, 1):
        at = valid.cumsum(axis) / (valid.sum(axis, keepdims=True) + 1e-6) * 2 * np.pi
        for i in range(half):
            angle = at / 10000 ** (2 * (i // 2) / half)
            code[axis * half + i] = np.cos(angle) if i % 2 else np.sin(angle)
    return code


def at_point(x: Array, row: float, column: float) -> Array:
    """(channels,) of a map at a point, bilinear, zero outside."""
    result, top, left = np.zeros(len(x)), int(np.floor(row)), int(np.floor(column))
    for r, c in [(top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)]:
        if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
            result += (1 - abs(row - r)) * (1 - abs(column - c)) * x[:, r, c]
    return result


def deformable(
    x: Array, code: Array, padding: Array, weights: Arrays, name: str, heads: int
) -> Array:
    """(channels, rows, columns) attended, step 9."""
    grid = padding.shape
    value = (linear(x, weights, f"{name}.value") * (1 - padding)).reshape(heads, -1, *grid)
    moves = linear(x + code, weights, f"{name}.offsets").reshape(heads, -1, 2, *grid)
    shares = softmax(linear(x + code, weights, f"{name}.weights").reshape(heads, -1, *grid), 1)
    result = np.zeros_like(value)
    for head, point, r, c in np.ndindex(shares.shape):
        right, down = moves[head, point, :, r, c]
        there = at_point(value[head], r + down, c + right)
        result[head, :, r, c] += shares[head, point, r, c] * there
    return linear(result.reshape(x.shape), weights, f"{name}.output")


def layer(x: Array, attended: Array, weights: Arrays, name: str) -> Arrays:
    """Step 10."""
    normed = norm(x + attended, weights, f"{name}.norm")
    wide = relu(linear(normed, weights, f"{name}.ffn_expand"))
    block = norm(normed + linear(wide, weights, f"{name}.ffn_reduce"), weights, f"{name}.ffn_norm")
    return {f"{name}.attended": attended, f"{name}.normed": normed, f"{name}.block": block}


def affinity(x: Array, others: Array, weights: Arrays, name: str, heads: int) -> Array:
    """(heads, query tokens, others) scaled products of the queries with (channels, others)."""
    query = linear(x, weights, f"{name}.query").reshape(heads, -1, x[0].size)
    key = linear(others, weights, f"{name}.key").reshape(heads, -1, others.shape[1])
    return np.einsum("hcn,hcs->hns", query, key) * query.shape[1] ** -0.5


def attention(x: Array, others: Array, hidden: Array, weights: Arrays, name: str) -> Arrays:
    """Steps 10 and 11, others (channels, others), hidden (heads, others) with 1 for hidden."""
    heads = len(hidden)
    scores = affinity(x, others, weights, name, heads) - 10000.0 * hidden[:, None]
    probability = softmax(scores, -1)
    value = linear(others, weights, f"{name}.value").reshape(heads, -1, others.shape[1])
    mixed = np.einsum("hns,hcs->hcn", probability, value).reshape(x.shape)
    after = layer(x, linear(mixed, weights, f"{name}.output"), weights, name)
    return {f"{name}.probability_mean_of_heads": probability.mean(0), **after}


def dice(logits: Array, label: Array) -> float:
    """Step 14 of one image: (2, S, S) logits and (S, S) label."""
    loss = 0.0
    for channel in (0, 1):
        p, t = 1 / (1 + np.exp(-logits[channel])), (label == channel).astype(float)
        loss += 1 - 2 * (p * t).sum() / max((p**2).sum() + (t**2).sum(), 1e-8)
    return loss


# Steps 5 to 7, which UMTFSS alone has.


def grouped(tokens: Array, draws: Arrays, name: str, updates: int) -> tuple[Array, Array]:
    """(tokens, bits) codes and (tokens,) groups of (channels, tokens), step 6.

    Raises:
        ValueError: These draws make a near tie, an empty group or two equal first codes.
    """
    products = draws[f"{name}.planes"] @ tokens - draws[f"{name}.thresholds"][:, None]
    bits = (products > 0).T
    codes = bits[draws[f"{name}.initial_tokens"]]
    if np.abs(products).min() < 1e-4 or len(np.unique(codes, axis=0)) < len(codes):
        raise ValueError(f"{name}: a bit is nearly a tie, or two first codes are equal")
    for update in range(updates + 1):
        groups = (bits[:, None] != codes).sum(-1).argmin(1)
        members = [bits[groups == g] for g in range(len(codes))]
        if not all(map(len, members)):
            raise ValueError(f"{name}: a group is empty")
        if update < updates:
            codes = np.stack([2 * own.sum(0) > len(own) for own in members])
    return bits, groups


def prototypes(inputs: Arrays, x: Arrays, draws: Arrays, b: int, file: Arrays) -> Arrays:
    """Steps 5 to 7 of episode b."""
    padding, foreground = x["token_padding"] == 1, completed(x["token_foreground"])
    tokens, number = tokens_of(x["support_merged"]), {}
    number["foreground"], number["background"] = file["settings/k_fg"], file["settings/k_bg"]
    slots, columns, results = int(sum(number.values())), [], {}
    for kind, members in (("foreground", foreground), ("background", ~foreground)):
        name, listed = f"element{b}.{kind}", np.flatnonzero(members & ~padding)
        own, count = tokens[:, listed], int(number[kind])
        results[f"{name}.tokens"] = listed
        if len(listed) > count:
            bits, groups = grouped(own, draws, name, int(file["settings/code_updates"]))
            sizes = np.bincount(groups, minlength=count)
            results |= {f"{name}.codes": bits, f"{name}.groups": groups}
            results[f"{name}.group_sizes"] = sizes
            own = np.stack([own[:, groups == g].sum(1) for g in range(count)], 1) / (sizes + 0.001)
        columns.append(own)
    taken = np.concatenate(columns, 1)
    every, hidden = np.zeros((slots, len(taken))), np.ones(slots, np.uint8)
    every[: taken.shape[1]] = (taken / np.maximum(np.linalg.norm(taken, axis=0), 1e-12)).T
    hidden[: taken.shape[1]] = 0
    return results | {"prototypes": every, "prototype_hidden": hidden}


def before_layers(inputs: Arrays, weights: Arrays) -> Arrays:
    """Steps 1 to 4, the flags of step 5, and step 8, of UMTFSS and CyCTR."""
    x = guidance(inputs, weights, ("layer2", "layer3"))
    x |= merged(x, weights)
    x |= flags(inputs, x["prior_mask"].shape)
    code = position_code(x["query_token_padding"], len(x["query_merged"]))
    return x | {"position_encoding": code}


def umtfss(file: Arrays) -> Arrays:
    """Every array of UMTFSS."""
    weights, draws = group(file, "weights"), group(file, "draws")
    heads, episodes = int(file["settings/heads"]), []
    for b, inputs in enumerate(each_episode(file)):
        x = before_layers(inputs, weights)
        x |= prototypes(inputs, x, draws, b, file)
        hidden = np.tile(x["prototype_hidden"], (heads, 1))
        now, code, padding = x["query_merged"], x["position_encoding"], x["query_token_padding"]
        for number in range(int(file["settings/layers"])):
            name = f"self_attention_{number}"
            x |= layer(now, deformable(now, code, padding, weights, name, heads), weights, name)
            now, name = x[f"{name}.block"], f"cross_attention_{number}"
            x |= attention(now, x["prototypes"].T, hidden, weights, name)
            now = x[f"{name}.block"]
        x["logits_on_grid"] = classified(now, weights, "classifier")
        x["logits"] = interpolated(x["logits_on_grid"], inputs["query_label"].shape)
        x["loss"] = np.array(dice(x["logits"], inputs["query_label"]))
        episodes.append(x)
    results = stacked(episodes)
    return results | {"loss": results["loss"].mean(keepdims=True)}
