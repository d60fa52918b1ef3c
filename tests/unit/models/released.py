"""The released models by the rules of the golden files' README, in plain numpy.

Written from those rules alone, with loops, in float64: none of this shares a line or an idea with
umtfss/models. `umtfss`, `cyctr` (its version `repaired`) and `pfenet` take the arrays of a golden
file, or made-up ones with the same keys, and give every array that the file has below `results/`.
The README is in ../shared/golden (CyCTR: arXiv:2106.02320, PFENet: arXiv:2008.01449).

One episode is computed at a time. Maps are (channels, rows, columns), tokens (channels, tokens).
"""

import numpy as np

Array = np.ndarray
Arrays = dict[str, Array]


# Parts that all three models have.


def group(file: Arrays, name: str) -> Arrays:
    """The arrays of one group ("weights", "inputs", "draws"), floats as float64."""
    found = {k.removeprefix(f"{name}/"): v for k, v in file.items() if k.startswith(f"{name}/")}
    return {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in found.items()}


def relu(x: Array) -> Array:
    return np.maximum(x, 0)


def softmax(x: Array, axis: int) -> Array:
    raised = np.exp(x - x.max(axis, keepdims=True))
    return raised / raised.sum(axis, keepdims=True)


def linear(x: Array, weight: Array, bias: Array | float = 0.0) -> Array:
    """A linear layer or a 1x1 convolution: (out, ...) of (in, ...)."""
    result = np.tensordot(weight.reshape(len(weight), -1), x, 1)
    return result + np.reshape(bias, (-1,) + (1,) * (x.ndim - 1))


def conv(x: Array, weight: Array) -> Array:
    """A 3x3 convolution with zero padding."""
    rows, columns = x.shape[1:]
    framed = np.pad(x, ((0, 0), (1, 1), (1, 1)))
    taps = [(i, j) for i in range(3) for j in range(3)]
    return sum(
        linear(framed[:, i : i + rows, j : j + columns], weight[:, :, i, j]) for i, j in taps
    )


def two_convs(x: Array, first: Array, second: Array) -> Array:
    return relu(conv(relu(conv(x, first)), second))


def classified(x: Array, weights: Arrays, name: str) -> Array:
    """Two logits of every token: (2, rows, columns)."""
    hidden = relu(conv(x, weights[f"{name}.hidden.weight"]))
    return linear(hidden, weights[f"{name}.output.weight"], weights[f"{name}.output.bias"])


def norm(x: Array, weights: Arrays, name: str) -> Array:
    """LayerNorm over the channels."""
    scaled = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    scale, shift = weights[f"{name}.weight"], weights[f"{name}.bias"]
    return scaled * scale[:, None, None] + shift[:, None, None]


def lerp(source: int, target: int) -> Array:
    """(target, source) weights of a line's bilinear interpolation with aligned corners."""
    weights = np.zeros((target, source))
    for i in range(target):
        at = i * (source - 1) / (target - 1) if target > 1 else 0.0
        low = int(at)
        weights[i, low] += 1 - (at - low)
        if at > low:
            weights[i, low + 1] += at - low
    return weights


def interpolated(x: Array, shape: tuple[int, ...]) -> Array:
    """(..., shape) of (..., rows, columns), corners aligned."""
    return lerp(x.shape[-2], shape[0]) @ x @ lerp(x.shape[-1], shape[1]).T


def nearest(x: Array, grid: tuple[int, ...]) -> Array:
    """Pixel (floor(r S / G), floor(c S / G)) for every token (r, c), of (..., S, S)."""
    rows, columns = (
        [i * s // g for i in range(g)] for s, g in zip(x.shape[-2:], grid, strict=True)
    )
    return x[..., rows, :][..., columns]


def masked_mean(features: Array, mask: Array) -> Array:
    """(channels,) under a mask; a mask without a token gives zeros."""
    return (features * mask).sum((1, 2)) / (mask.sum() + 0.0005)


def prior_of_shot(query: Array, support: Array, mask: Array) -> Array:
    """(rows, columns) of one support's high feature: how near its object every query token is."""
    q, s = query.reshape(len(query), -1), (support * mask).reshape(len(support), -1)
    lengths = np.linalg.norm(q, axis=0)[:, None] * np.linalg.norm(s, axis=0)
    best = ((q.T @ s) / (lengths + 1e-7)).max(1)
    return ((best - best.min()) / (best.max() - best.min() + 1e-7)).reshape(query.shape[1:])


def head_of_all(inputs: Arrays, weights: Arrays, levels: tuple[str, str]) -> Arrays:
    """Steps 1 to 3 of one episode: projections, vectors, prior mask."""
    query_mid = np.concatenate([inputs[f"query_{level}"] for level in levels])
    support_mid = np.concatenate([inputs[f"support_{level}"] for level in levels], 1)
    grid = query_mid.shape[1:]
    query = relu(linear(query_mid, weights["query_projection.weight"]))
    support = [relu(linear(shot, weights["support_projection.weight"])) for shot in support_mid]
    masks = interpolated((inputs["support_label"] == 1).astype(float), grid)
    vectors = np.stack([masked_mean(*pair) for pair in zip(support, masks, strict=True)])
    shots = zip(inputs["support_layer4"], masks, strict=True)
    priors = np.stack([prior_of_shot(inputs["query_layer4"], *shot) for shot in shots])
    return {
        "query_projected": query,
        "support_projected": np.stack(support),
        "mask_on_grid": masks,
        "global_vector_of_each_shot": vectors,
        "global_vector": vectors.mean(0),
        "prior_mask_of_each_shot": priors,
        "prior_mask": priors.mean(0),
    }


def with_vector(x: Array, vector: Array, *more: Array) -> Array:
    """A map, a vector at each of its tokens, and further channels."""
    return np.concatenate([x, np.broadcast_to(vector[:, None, None], x.shape), *more])


def each_episode(file: Arrays) -> list[tuple[int, Arrays]]:
    """(number, inputs) of every episode."""
    inputs = group(file, "inputs")
    return [(b, {k: v[b] for k, v in inputs.items()}) for b in range(len(inputs["query_label"]))]


def stacked(episodes: list[Arrays]) -> Arrays:
    """All episodes' arrays; those of `element{b}` stay as they are."""
    results = {k: np.stack([e[k] for e in episodes]) for k in episodes[0] if "element" not in k}
    for episode in episodes:
        results |= {k: v for k, v in episode.items() if "element" in k}
    return results


# What UMTFSS and CyCTR share.


def merged(x: Arrays, weights: Arrays) -> Arrays:
    """Step 4 of UMTFSS."""
    query = with_vector(x["query_projected"], x["global_vector"], x["prior_mask"][None])
    pairs = zip(x["support_projected"], x["global_vector_of_each_shot"], strict=True)
    support = np.stack(
        [relu(linear(with_vector(*p), weights["support_merge.weight"])) for p in pairs]
    )
    return {
        "support_vector": x["global_vector_of_each_shot"],
        "query_merged": relu(linear(query, weights["query_merge.weight"])),
        "support_merged": support,
    }


def position_code(padding: Array, channels: int) -> Array:
    """Step 8: (channels, rows, columns) of the query's padded tokens."""
    valid = 1.0 - padding
    half = channels // 2
    code = np.zeros((channels, *valid.shape))
    for axis in (0, 1):
        counts = valid.cumsum(axis)
        at = counts / (valid.sum(axis, keepdims=True) + 1e-6) * 2 * np.pi
        for i in range(half):
            angle = at / 10000 ** (2 * (i // 2) / half)
            code[axis * half + i] = np.cos(angle) if i % 2 else np.sin(angle)
    return code


def bilinear(x: Array, row: float, column: float) -> Array:
    """(channels,) of a map at a point; what lies outside of it is zero."""
    result = np.zeros(len(x))
    top, left = int(np.floor(row)), int(np.floor(column))
    for r in (top, top + 1):
        for c in (left, left + 1):
            if 0 <= r < x.shape[1] and 0 <= c < x.shape[2]:
                result += (1 - abs(row - r)) * (1 - abs(column - c)) * x[:, r, c]
    return result


def deformable(
    x: Array, code: Array, padding: Array, weights: Arrays, name: str, heads: int
) -> Array:
    """Step 9: (channels, rows, columns)."""
    placed = x + code
    value = linear(x, weights[f"{name}.value.weight"]) * (1 - padding)
    value = value.reshape(heads, -1, *padding.shape)
    moves, shares = (
        linear(placed, weights[f"{name}.{part}.weight"], weights[f"{name}.{part}.bias"])
        for part in ("offsets", "weights")
    )
    moves = moves.reshape(heads, -1, 2, *padding.shape)
    shares = softmax(shares.reshape(heads, -1, *padding.shape), 1)
    result = np.zeros_like(value)
    for head, point, r, c in np.ndindex(shares.shape):
        column, row = moves[head, point, :, r, c]
        share = shares[head, point, r, c]
        result[head, :, r, c] += share * bilinear(value[head], r + row, c + column)
    return linear(result.reshape(x.shape), weights[f"{name}.output.weight"])


def block(x: Array, attended: Array, weights: Arrays, name: str) -> Arrays:
    """Step 10."""
    normed = norm(x + attended, weights, f"{name}.norm")
    wide = relu(linear(normed, weights[f"{name}.ffn_expand.weight"]))
    narrow = linear(wide, weights[f"{name}.ffn_reduce.weight"])
    after = norm(normed + narrow, weights, f"{name}.ffn_norm")
    return {f"{name}.attended": attended, f"{name}.normed": normed, f"{name}.block": after}


def affinity(x: Array, others: Array, weights: Arrays, name: str, heads: int) -> Array:
    """(heads, query tokens, others): scaled products of queries and keys."""
    query = linear(x.reshape(len(x), -1), weights[f"{name}.query.weight"]).reshape(
        heads, -1, x[0].size
    )
    key = linear(others, weights[f"{name}.key.weight"]).reshape(heads, -1, others.shape[1])
    return np.einsum("hcn,hcs->hns", query, key) * (len(x) // heads) ** -0.5


def attention(
    x: Array, others: Array, hidden: Array, weights: Arrays, name: str, heads: int
) -> tuple[Array, Array]:
    """Step 11: (channels, rows, columns) attended, and the heads' mean probability.

    Args:
        x: (channels, rows, columns) of the query.
        others: (channels, others) to attend to.
        hidden: (heads, others), 1 where a head does not see it.
        weights: Of the model.
        name: Of the layer.
        heads: Their number.
    """
    scores = affinity(x, others, weights, name, heads)
    probability = softmax(scores - 10000.0 * hidden[:, None], -1)
    value = linear(others, weights[f"{name}.value.weight"]).reshape(heads, -1, others.shape[1])
    mixed = np.einsum("hns,hcs->hcn", probability, value).reshape(x.shape)
    return linear(mixed, weights[f"{name}.output.weight"]), probability.mean(0)


def dice(logits: Array, label: Array) -> float:
    """Step 14, of one image: (2, S, S) logits and (S, S) label."""
    loss = 0.0
    for channel in (0, 1):
        p, t = 1 / (1 + np.exp(-logits[channel])), (label == channel).astype(float)
        loss += 1 - 2 * (p * t).sum() / max((p**2).sum() + (t**2).sum(), 1e-8)
    return loss


# UMTFSS.


def token_sets(label: Array, padding: Array, grid: tuple[int, ...]) -> tuple[Arrays, Array, Array]:
    """Step 5 of all shots of an episode: the flags, and the foreground's and background's lists."""
    foreground, padded = nearest(label, grid) == 1, nearest(padding, grid) == 255
    flags = {
        "token_foreground": foreground.astype(np.uint8),
        "token_padding": padded.astype(np.uint8),
    }
    in_front, behind = foreground.copy(), ~foreground
    rows, columns = grid
    for shot in range(len(label)):
        if not foreground[shot].any():
            middle = np.s_[shot, rows // 2 - 1 : rows // 2 + 1, columns // 2 - 1 : columns // 2 + 1]
            in_front[middle], behind[middle] = True, False
        elif foreground[shot].all():
            corners = np.s_[shot, :: rows - 1, :: columns - 1]
            in_front[corners], behind[corners] = False, True
    return flags, np.flatnonzero(in_front & ~padded), np.flatnonzero(behind & ~padded)


def grouped(tokens: Array, draws: Arrays, name: str, updates: int) -> tuple[Array, Array]:
    """Step 6 of (channels, tokens): bits of every token, and its group."""
    products = draws[f"{name}.planes"] @ tokens - draws[f"{name}.thresholds"][:, None]
    assert np.abs(products).min() > 1e-4, f"{name}: a bit is nearly a tie, take other draws"
    bits = (products > 0).T
    codes = bits[draws[f"{name}.initial_tokens"]]
    for update in range(updates + 1):
        groups = (bits[:, None] != codes[None]).sum(-1).argmin(1)
        if update < updates:
            members = [bits[groups == g] for g in range(len(codes))]
            assert all(map(len, members)), f"{name}: a group is empty, take other draws"
            codes = np.stack([2 * m.sum(0) > len(m) for m in members])
    return bits, groups


def prototypes_of(
    tokens: Array, draws: Arrays, name: str, number: int, updates: int
) -> tuple[Array, Arrays]:
    """Steps 6 and 7 of a set: (channels, prototypes), and what led to them."""
    if tokens.shape[1] <= number:
        return tokens, {}
    bits, groups = grouped(tokens, draws, name, updates)
    sizes = np.bincount(groups, minlength=number)
    sums = np.stack([tokens[:, groups == g].sum(1) for g in range(number)], 1)
    found = {"codes": bits.astype(np.uint8), "groups": groups, "group_sizes": sizes}
    return sums / (sizes + 0.001), {f"{name}.{k}": v for k, v in found.items()}


def prototypes(inputs: Arrays, x: Arrays, draws: Arrays, b: int, file: Arrays) -> Arrays:
    """Steps 5 to 7 of one episode."""
    support = x["support_merged"]
    all_tokens = support.transpose(1, 0, 2, 3).reshape(support.shape[1], -1)
    flags, *lists = token_sets(
        inputs["support_label"], inputs["support_padding"], support.shape[2:]
    )
    updates = int(file["settings/code_updates"])
    columns, results = [], flags
    for kind, tokens, key in zip(
        ("foreground", "background"), lists, ("k_fg", "k_bg"), strict=True
    ):
        name, number = f"element{b}.{kind}", int(file[f"settings/{key}"])
        found, steps = prototypes_of(all_tokens[:, tokens], draws, name, number, updates)
        columns.append(found)
        results |= {f"{name}.tokens": tokens, **steps}
    taken = np.concatenate(columns, 1)
    taken = taken / np.maximum(np.linalg.norm(taken, axis=0), 1e-12)
    slots = int(file["settings/k_fg"] + file["settings/k_bg"])
    every, hidden = np.zeros((slots, len(taken))), np.ones(slots, np.uint8)
    every[: taken.shape[1]], hidden[: taken.shape[1]] = taken.T, 0
    return results | {"prototypes": every, "prototype_hidden": hidden}


def umtfss(file: Arrays) -> Arrays:
    """Every array of UMTFSS, in the order of the steps."""
    weights, draws = group(file, "weights"), group(file, "draws")
    heads, episodes = int(file["settings/heads"]), []
    for b, inputs in each_episode(file):
        x = head_of_all(inputs, weights, ("layer2", "layer3"))
        x |= merged(x, weights)
        x |= prototypes(inputs, x, draws, b, file)
        at = x["query_merged"]
        padding = (nearest(inputs["query_padding"], at.shape[1:]) == 255).astype(np.uint8)
        code = position_code(padding, len(at))
        x |= {"query_token_padding": padding, "position_encoding": code}
        for layer in range(int(file["settings/layers"])):
            name = f"self_attention_{layer}"
            x |= block(at, deformable(at, code, padding, weights, name, heads), weights, name)
            at, name = x[f"{name}.block"], f"cross_attention_{layer}"
            hidden = np.tile(x["prototype_hidden"], (heads, 1))
            attended, mean = attention(at, x["prototypes"].T, hidden, weights, name, heads)
            x |= {f"{name}.probability_mean_of_heads": mean, **block(at, attended, weights, name)}
            at = x[f"{name}.block"]
        x["logits_on_grid"] = classified(at, weights, "classifier")
        x["logits"] = interpolated(x["logits_on_grid"], inputs["query_label"].shape)
        x["loss"] = np.array(dice(x["logits"], inputs["query_label"]))
        episodes.append(x)
    results = stacked(episodes)
    return results | {"loss": results["loss"].mean(keepdims=True)}


# CyCTR.


def drawn_tokens(foreground: Array, draws: Arrays, b: int, asked: tuple[int, int]) -> Array:
    """Step 1: token numbers of all shots' list, foreground first.

    Args:
        foreground: (shots, rows, columns) flags.
        draws: Positions in the list of each set, in the order of use; those at the front are used.
        b: The episode.
        asked: Tokens of the foreground and of the background, for all shots.
    """
    lists = np.flatnonzero(foreground), np.flatnonzero(~foreground)
    taken = list(asked)
    if len(lists[0]) < asked[0]:
        taken = [len(lists[0]), sum(asked) - len(lists[0])]
    elif len(lists[1]) < asked[1]:
        taken = [sum(asked) - len(lists[1]), len(lists[1])]
    drawn = []
    for kind, tokens, number in zip(("foreground", "background"), lists, taken, strict=True):
        order = draws[f"test.element{b}.{kind}"] if number < len(tokens) else np.arange(len(tokens))
        drawn.append(tokens[order[:number]])
    return np.concatenate(drawn)


def inconsistent(scores: Array, foreground: Array) -> Array:
    """Step 3: (heads, tokens) of (heads, query tokens, tokens), 1 where a cycle ends elsewhere."""
    result = np.zeros((len(scores), len(foreground)), np.uint8)
    for head, j in np.ndindex(result.shape):
        back = scores[head, scores[head, :, j].argmax()].argmax()
        result[head, j] = foreground[back] != foreground[j]
    return result


def back(inputs: Arrays, x: Arrays, weights: Arrays) -> Arrays:
    """Step 6 and its loss: the query's vector segments every support."""
    projected = relu(linear(x["fusion.sum"], weights["auxiliary.query_projection.weight"]))
    mask = interpolated((inputs["query_label"] == 1).astype(float), projected.shape[1:])
    vector = masked_mean(x["query_projected"] + projected, mask)
    first, second = weights["auxiliary.first.weight"], weights["auxiliary.second.weight"]
    logits, losses = [], []
    for shot, label in zip(x["support_projected"], inputs["support_label"], strict=True):
        m = relu(linear(with_vector(shot, vector), weights["auxiliary.merge.weight"]))
        logits.append(classified(m + two_convs(m, first, second), weights, "auxiliary.classifier"))
        losses.append(dice(interpolated(logits[-1], label.shape), label))
    return {
        "query_mask_on_grid": mask,
        "auxiliary.query_projected": projected,
        "auxiliary.query_vector": vector,
        "auxiliary.logits_on_grid": np.stack(logits),
        "loss_auxiliary": np.array(np.mean(losses)),
    }


def cyctr(file: Arrays) -> Arrays:
    """Every array of CyCTR with its own flags ("repaired"), tokens drawn once, in order."""
    weights, draws = group(file, "weights"), group(file, "draws")
    heads, episodes = int(file["settings/heads"]), []
    for b, inputs in each_episode(file):
        x = head_of_all(inputs, weights, ("layer2", "layer3"))
        x |= merged(x, weights)
        at, shots = x["query_merged"], len(inputs["support_label"])
        grid = at.shape[1:]
        foreground = nearest(inputs["support_label"], grid) == 1
        padded = nearest(inputs["support_padding"], grid) == 255
        padding = (nearest(inputs["query_padding"], grid) == 255).astype(np.uint8)
        code = position_code(padding, len(at))
        asked = (int(file[f"settings/tokens_{kind}"]) * shots for kind in ("fg", "bg"))
        tokens = drawn_tokens(foreground, draws, b, tuple(asked))
        support = x["support_merged"].transpose(1, 0, 2, 3).reshape(len(at), -1)[:, tokens]
        in_front, hidden = foreground.flat[tokens], padded.flat[tokens]
        x |= {
            "token_foreground": foreground.astype(np.uint8),
            "token_padding": padded.astype(np.uint8),
            "query_token_padding": padding,
            "position_encoding": code,
            f"element{b}.tokens": tokens,
            "cross_attention_0.support_tokens": support.T,
            "cross_attention_0.token_foreground": in_front.astype(np.uint8),
            "cross_attention_0.token_hidden": hidden.astype(np.uint8),
        }
        code = code + weights["level_vector"].reshape(-1, 1, 1)
        for layer in range(int(file["settings/layers"])):
            name = f"self_attention_{layer}"
            x |= block(at, deformable(at, code, padding, weights, name, heads), weights, name)
            at, name = x[f"{name}.block"], f"cross_attention_{layer}"
            away = inconsistent(affinity(at, support, weights, name, heads), in_front)
            attended, mean = attention(at, support, hidden | (away == 1), weights, name, heads)
            x |= {f"{name}.inconsistent": away, f"{name}.probability_mean_of_heads": mean}
            x |= block(at, attended, weights, name)
            at = x[f"{name}.block"]
        reduced = relu(linear(at, weights["fusion.reduce.weight"]))
        refined = two_convs(
            reduced, weights["fusion.first.weight"], weights["fusion.second.weight"]
        )
        x |= {"fusion.reduced": reduced, "fusion.refined": refined, "fusion.sum": reduced + refined}
        x["logits_on_grid"] = classified(x["fusion.sum"], weights, "classifier")
        x["logits"] = interpolated(x["logits_on_grid"], inputs["query_label"].shape)
        x["loss_main"] = np.array(dice(x["logits"], inputs["query_label"]))
        x |= back(inputs, x, weights)
        episodes.append(x)
    results = stacked(episodes)
    for key in ("loss_main", "loss_auxiliary"):
        results[key] = results[key].mean(keepdims=True)
    return results | {"loss": results["loss_main"] + results["loss_auxiliary"]}


# PFENet.


def pooled(x: Array, side: int) -> Array:
    """Adaptive average pooling to (channels, side, side)."""
    result = np.zeros((len(x), side, side))
    for i, j in np.ndindex(side, side):
        (top, bottom), (left, right) = (
            (k * size // side, -(-(k + 1) * size // side))
            for k, size in zip((i, j), x.shape[1:], strict=True)
        )
        result[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    return result


def scale(x: Arrays, weights: Arrays, j: int, side: int) -> Arrays:
    """Steps 2 to 4 of one scale."""
    name, grid = f"scale_{j}", x["prior_mask"].shape
    query = pooled(x["query_projected"], side)
    prior = interpolated(x["prior_mask"], (side, side))
    channels = with_vector(query, x["global_vector"], prior[None])
    inner = relu(linear(channels, weights[f"{name}.merge.weight"]))
    found = {"query": query, "prior_mask": prior, "merged": inner}
    if j:
        finer = interpolated(x[f"scale_{j - 1}.on_grid"], (side, side))
        both = np.concatenate([inner, finer])
        found |= {
            "finer": finer,
            "from_finer": relu(linear(both, weights[f"{name}.from_finer.weight"])),
        }
        inner = inner + found["from_finer"]
    kernels = (weights[f"{name}.refine_{which}.weight"] for which in ("first", "second"))
    found["refinement"] = two_convs(inner, *kernels)
    found["refined"] = inner + found["refinement"]
    found["logits_on_scale"] = classified(found["refined"], weights, f"{name}.classifier")
    found["on_grid"] = interpolated(found["refined"], grid)
    return {f"{name}.{key}": value for key, value in found.items()}


def cross_entropy(logits: Array, label: Array) -> float:
    """Mean over the pixels of all episodes that are not 255: (B, 2, S, S) and (B, S, S)."""
    truth = np.take_along_axis(softmax(logits, 1), (label == 1)[:, None].astype(int), 1)[:, 0]
    return float(-np.log(truth[label != 255]).mean())


def pfenet(file: Arrays) -> Arrays:
    """Every array of PFENet, in the order of the steps."""
    weights, episodes = group(file, "weights"), []
    configured = file["settings/scales_as_configured"]
    for _, inputs in each_episode(file):
        x = head_of_all(inputs, weights, ("layer3", "layer2"))
        side = len(x["prior_mask"])
        for j, wanted in enumerate(configured):
            x |= scale(x, weights, j, int(wanted) if wanted > 1 else int(wanted * side))
        maps = np.concatenate([x[f"scale_{j}.on_grid"] for j in range(len(configured))])
        x["joined"] = relu(linear(maps, weights["join.weight"]))
        kernels = weights["last_first.weight"], weights["last_second.weight"]
        x["last_refinement"] = two_convs(x["joined"], *kernels)
        x["last"] = x["joined"] + x["last_refinement"]
        x["logits_on_grid"] = classified(x["last"], weights, "classifier")
        x["logits"] = interpolated(x["logits_on_grid"], inputs["query_label"].shape)
        episodes.append(x)
    results = stacked(episodes)
    label = file["inputs/query_label"]
    straight = (results[f"scale_{j}.logits_on_scale"] for j in range(len(configured)))
    losses = [cross_entropy(interpolated(logits, label.shape[1:]), label) for logits in straight]
    main, auxiliary = cross_entropy(results["logits"], label), np.mean(losses)
    return results | {
        "loss_main": np.array([main]),
        "loss_of_each_scale": np.array(losses),
        "loss_auxiliary": np.array([auxiliary]),
        "loss": np.array([main + auxiliary]),
    }
