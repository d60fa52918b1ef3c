"""CyCTR and PFENet by the rules of the golden files' README: see released.py."""

import numpy as np

from tests.unit.models.released import (
    Array,
    Arrays,
    affinity,
    attention,
    before_layers,
    classified,
    completed,
    deformable,
    dice,
    each_episode,
    group,
    guidance,
    interpolated,
    layer,
    linear,
    masked_mean,
    relu,
    softmax,
    stacked,
    tokens_of,
    two_convs,
    with_vector,
)


def drawn_tokens(foreground: Array, draws: Arrays, b: int, asked: tuple[int, int]) -> Array:
    """Token numbers, foreground first, step 1 of CyCTR.

    Args:
        foreground: (shots, rows, columns) bool, sets completed.
        draws: Positions in each set's list in the order of use, as many as are used or more.
        b: The episode.
        asked: F and N of all shots together.
    """
    front, rest = np.flatnonzero(foreground), np.flatnonzero(~foreground)
    wanted = asked
    if len(front) < asked[0]:
        wanted = len(front), sum(asked) - len(front)
    elif len(rest) < asked[1]:
        wanted = sum(asked) - len(rest), len(rest)
    front = front[draws[f"test.element{b}.foreground"][: wanted[0]]]
    rest = rest[draws[f"test.element{b}.background"][: wanted[1]]]
    return np.concatenate([front, rest])


def inconsistent(scores: Array, foreground: Array) -> Array:
    """(heads, tokens) 1 where a cycle changes sides, of (heads, query tokens, tokens), step 3."""
    result = np.zeros((len(scores), len(foreground)), np.uint8)
    for head, j in np.ndindex(result.shape):
        end = scores[head, scores[head, :, j].argmax()].argmax()
        result[head, j] = foreground[end] != foreground[j]
    return result


def auxiliary(inputs: Arrays, x: Arrays, weights: Arrays) -> Arrays:
    """The query's vector segments every support, step 6, and its loss."""
    projected = relu(linear(x["fusion.sum"], weights, "auxiliary.query_projection"))
    mask = interpolated((inputs["query_label"] == 1).astype(float), projected.shape[1:])
    vector = masked_mean(x["query_projected"] + projected, mask)
    logits, losses = [], []
    for shot, label in zip(x["support_projected"], inputs["support_label"], strict=True):
        m = relu(linear(with_vector(shot, vector), weights, "auxiliary.merge"))
        h = m + two_convs(m, weights, "auxiliary.first", "auxiliary.second")
        logits.append(classified(h, weights, "auxiliary.classifier"))
        losses.append(dice(interpolated(logits[-1], label.shape), label))
    return {
        "query_mask_on_grid": mask,
        "auxiliary.query_projected": projected,
        "auxiliary.query_vector": vector,
        "auxiliary.logits_on_grid": np.stack(logits),
        "loss_auxiliary": np.array(np.mean(losses)),
    }


def cyctr(file: Arrays) -> Arrays:
    """Every array of CyCTR, version `repaired`."""
    weights, draws = group(file, "weights"), group(file, "draws")
    heads, episodes = int(file["settings/heads"]), []
    for b, inputs in enumerate(each_episode(file)):
        x = before_layers(inputs, weights)
        foreground = completed(x["token_foreground"])
        shots = len(foreground)
        asked = int(file["settings/tokens_fg"]) * shots, int(file["settings/tokens_bg"]) * shots
        tokens = drawn_tokens(foreground, draws, b, asked)
        support = tokens_of(x["support_merged"])[:, tokens]
        in_front, hidden = foreground.flat[tokens], x["token_padding"].flat[tokens]
        x |= {
            f"element{b}.tokens": tokens,
            "cross_attention_0.support_tokens": support.T,
            "cross_attention_0.token_foreground": in_front.astype(np.uint8),
            "cross_attention_0.token_hidden": hidden,
        }
        code = x["position_encoding"] + weights["level_vector"].reshape(-1, 1, 1)
        now, padding = x["query_merged"], x["query_token_padding"]
        for number in range(int(file["settings/layers"])):
            name = f"self_attention_{number}"
            x |= layer(now, deformable(now, code, padding, weights, name, heads), weights, name)
            now, name = x[f"{name}.block"], f"cross_attention_{number}"
            away = inconsistent(affinity(now, support, weights, name, heads), in_front)
            x |= {f"{name}.inconsistent": away}
            x |= attention(now, support, hidden | away, weights, name)
            now = x[f"{name}.block"]
        reduced = relu(linear(now, weights, "fusion.reduce"))
        refined = two_convs(reduced, weights, "fusion.first", "fusion.second")
        x |= {"fusion.reduced": reduced, "fusion.refined": refined, "fusion.sum": reduced + refined}
        x["logits_on_grid"] = classified(x["fusion.sum"], weights, "classifier")
        x["logits"] = interpolated(x["logits_on_grid"], inputs["query_label"].shape)
        x["loss_main"] = np.array(dice(x["logits"], inputs["query_label"]))
        episodes.append(x | auxiliary(inputs, x, weights))
    results = stacked(episodes)
    for key in ("loss_main", "loss_auxiliary"):
        results[key] = results[key].mean(keepdims=True)
    return results | {"loss": results["loss_main"] + results["loss_auxiliary"]}


def pooled(x: Array, side: int) -> Array:
    """(channels, side, side) adaptive means, step 2 of PFENet."""
    result = np.zeros((len(x), side, side))

    def covered(cell: int, tokens: int) -> slice:
        return slice(cell * tokens // side, -(-(cell + 1) * tokens // side))

    for i, j in np.ndindex(side, side):
        cell = x[:, covered(i, x.shape[1]), covered(j, x.shape[2])]
        result[:, i, j] = cell.mean((1, 2))
    return result


def scale(x: Arrays, weights: Arrays, j: int, side: int) -> Arrays:
    """Steps 2 to 4 of scale j."""
    name, grid = f"scale_{j}", x["prior_mask"].shape
    query = pooled(x["query_projected"], side)
    prior = interpolated(x["prior_mask"], (side, side))
    now = relu(
        linear(with_vector(query, x["global_vector"], prior[None]), weights, f"{name}.merge")
    )
    found = {"query": query, "prior_mask": prior, "merged": now}
    if j:
        found["finer"] = interpolated(x[f"scale_{j - 1}.on_grid"], (side, side))
        both = np.concatenate([now, found["finer"]])
        found["from_finer"] = relu(linear(both, weights, f"{name}.from_finer"))
        now = now + found["from_finer"]
    found["refinement"] = two_convs(now, weights, f"{name}.refine_first", f"{name}.refine_second")
    found["refined"] = now + found["refinement"]
    found["logits_on_scale"] = classified(found["refined"], weights, f"{name}.classifier")
    found["on_grid"] = interpolated(found["refined"], grid)
    return {f"{name}.{key}": value for key, value in found.items()}


def cross_entropy(logits: Array, label: Array) -> float:
    """Of (B, 2, S, S) logits and (B, S, S) label, step 6."""
    probability = softmax(logits, 1)
    of_truth = np.where(label == 1, probability[:, 1], probability[:, 0])
    return float(-np.log(of_truth[label != 255]).mean())


def pfenet(file: Arrays) -> Arrays:
    """Every array of PFENet."""
    weights, episodes = group(file, "weights"), []
    configured = file["settings/scales_as_configured"]
    for inputs in each_episode(file):
        x = guidance(inputs, weights, ("layer3", "layer2"))
        grid = len(x["prior_mask"])
        for j, side in enumerate(configured):
            x |= scale(x, weights, j, int(side) if side > 1 else int(side * grid))
        every = np.concatenate([x[f"scale_{j}.on_grid"] for j in range(len(configured))])
        x["joined"] = relu(linear(every, weights, "join"))
        x["last_refinement"] = two_convs(x["joined"], weights, "last_first", "last_second")
        x["last"] = x["joined"] + x["last_refinement"]
        x["logits_on_grid"] = classified(x["last"], weights, "classifier")
        x["logits"] = interpolated(x["logits_on_grid"], inputs["query_label"].shape)
        episodes.append(x)
    results, label = stacked(episodes), file["inputs/query_label"]
    inner = [results[f"scale_{j}.logits_on_scale"] for j in range(len(configured))]
    losses = [cross_entropy(interpolated(one, label.shape[1:]), label) for one in inner]
    main = cross_entropy(results["logits"], label)
    return results | {
        "loss_main": np.array([main]),
        "loss_of_each_scale": np.array(losses),
        "loss_auxiliary": np.array([np.mean(losses)]),
        "loss": np.array([main + np.mean(losses)]),
    }
