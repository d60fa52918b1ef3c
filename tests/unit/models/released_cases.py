"""Made-up inputs, weights and draws with the keys of a golden file, for the cases that those lack.

A shot is of one kind:

* plain: an object with pixels of 255 in and around it;
* small: an object of one or two tokens;
* between: an object between the pixels that tokens take, so that no token is of it;
* buried: the same, and the grid's central tokens are padding;
* whole: nothing but the object, no padding; its high feature is opposite to the query's;
* framed: nothing but the object and padding.

All but whole ones are padded at the right and at the bottom, each by another width, and features
there are as large as elsewhere. A support's pixels of 255 are its padding, as in the releases.
"""

from collections.abc import Iterator

import numpy as np

from tests.unit.models.released import (
    Array,
    Arrays,
    before_layers,
    completed,
    each_episode,
    group,
    grouped,
    tokens_of,
)

CHANNELS = {"layer2": 5, "layer3": 7, "layer4": 9}
WIDTH, HEADS, POINTS, BITS = 32, 8, 9, 32
PAIR = ("first", "second")
Shapes = Iterator[tuple[str, tuple[int, ...]]]


def classifier_shapes(name: str) -> Shapes:
    yield f"{name}.hidden.weight", (WIDTH, WIDTH, 3, 3)
    yield f"{name}.output.weight", (2, WIDTH, 1, 1)
    yield f"{name}.output.bias", (2,)


def layer_shapes(number: int) -> Shapes:
    """The weights of a self-attention and of a cross-attention layer."""
    name = f"self_attention_{number}"
    for part, rows in (("offsets", 2 * HEADS * POINTS), ("weights", HEADS * POINTS)):
        yield f"{name}.{part}.weight", (rows, WIDTH)
        yield f"{name}.{part}.bias", (rows,)
    square = [f"{name}.value", f"{name}.output"]
    square += [f"cross_attention_{number}.{part}" for part in ("query", "key", "value", "output")]
    yield from ((f"{one}.weight", (WIDTH, WIDTH)) for one in square)
    for kind in ("self", "cross"):
        name = f"{kind}_attention_{number}"
        for part in ("norm", "ffn_norm"):
            yield f"{name}.{part}.weight", (WIDTH,)
            yield f"{name}.{part}.bias", (WIDTH,)
        yield f"{name}.ffn_expand.weight", (3 * WIDTH, WIDTH)
        yield f"{name}.ffn_reduce.weight", (WIDTH, 3 * WIDTH)


def shapes(model: str, scales: int) -> Shapes:
    """Name and shape of every weight."""
    mid = CHANNELS["layer2"] + CHANNELS["layer3"]
    ones = {"query_projection": mid, "support_projection": mid}
    threes: list[str] = []
    if model == "pfenet":
        for j in range(scales):
            ones |= {f"scale_{j}.merge": 2 * WIDTH + 1}
            ones |= {f"scale_{j}.from_finer": 2 * WIDTH} if j else {}
            threes += [f"scale_{j}.refine_first", f"scale_{j}.refine_second"]
            yield from classifier_shapes(f"scale_{j}.classifier")
        ones |= {"join": scales * WIDTH}
        threes += ["last_first", "last_second"]
    else:
        ones |= {"query_merge": 2 * WIDTH + 1, "support_merge": 2 * WIDTH}
        for number in (0, 1):
            yield from layer_shapes(number)
    if model == "cyctr":
        yield "level_vector", (1, WIDTH)
        ones |= {"fusion.reduce": WIDTH, "auxiliary.query_projection": WIDTH}
        ones |= {"auxiliary.merge": 2 * WIDTH}
        threes += [f"{name}.{part}" for name in ("fusion", "auxiliary") for part in PAIR]
        yield from classifier_shapes("auxiliary.classifier")
    yield from ((f"{name}.weight", (WIDTH, channels, 1, 1)) for name, channels in ones.items())
    yield from ((f"{name}.weight", (WIDTH, WIDTH, 3, 3)) for name in threes)
    yield from classifier_shapes("classifier")


def made_weight(name: str, shape: tuple[int, ...], random: np.random.Generator) -> Array:
    """Noise of a size at which every part of a model matters."""
    noise = random.standard_normal(shape)
    if "norm.weight" in name:
        return 1 + 0.2 * noise
    if len(shape) == 1:
        return noise * (2 if "offsets" in name else 0.3)
    return noise * 1.4 * np.prod(shape[1:]) ** -0.5


def made_label(kind: str, grid: int, random: np.random.Generator) -> tuple[Array, Array]:
    """(S, S) label and padding of a shot of one kind, with S = 8 (grid - 1) + 1."""
    side = 8 * (grid - 1) + 1
    label, padding = np.zeros((2, side, side), np.uint8)
    if kind in ("whole", "framed"):
        label[:] = 1
    elif kind in ("between", "buried"):
        label[3:6, 3:6] = 1
    elif kind == "small":
        row, column = random.integers(1, grid // 2, 2) * side // grid
        label[row - 1 : row + 8, column - 1 : column + 3] = 1
    else:
        top, left = random.integers(4, 12, 2)
        bottom, right = random.integers(26, 34, 2)
        label[top - 3 : bottom + 3, left - 3 : right + 3] = 255
        label[top:bottom, left:right] = 1
        label[top + 6 : top + 12, left + 5 : left + 16] = 255
    rows, columns = (20, 18) if kind == "buried" else random.integers(40, side - 6, 2)
    if kind != "whole":
        padding[rows:] = padding[:, columns:] = 255
        label[padding == 255] = 255
    return label, padding


def made_inputs(kinds: list[list[str]], grid: int, random: np.random.Generator) -> Arrays:
    """Features, labels and padding of episodes, each a list of the kinds of its shots."""
    inputs = {}
    for level, channels in CHANNELS.items():
        for role, lead in (("query", ()), ("support", (len(kinds[0]),))):
            size = len(kinds), *lead, channels, grid, grid
            inputs[f"{role}_{level}"] = random.standard_normal(size).astype(np.float32)
    for role in ("query", "support"):
        of_role = kinds if role == "support" else [["plain"]] * len(kinds)
        made = [[made_label(kind, grid, random) for kind in episode] for episode in of_role]
        both = np.array(made) if role == "support" else np.array(made)[:, 0]
        inputs[f"{role}_label"], inputs[f"{role}_padding"] = np.moveaxis(both, -3, 0)
    ignored = inputs["support_label"] == 255
    inputs["support_padding"] = np.where(ignored, 255, 0).astype(np.uint8)
    for b, episode in enumerate(kinds):
        for shot, kind in enumerate(episode):
            if kind == "whole":
                inputs["query_layer4"][b] = abs(inputs["query_layer4"][b])
                inputs["support_layer4"][b, shot] = -abs(inputs["support_layer4"][b, shot])
    return inputs


def cut(inputs: Arrays, rows: int, columns: int) -> None:
    """Makes all but the first rows and columns of tokens padding with features of zeros."""
    grid = inputs["query_layer4"].shape[-1]
    for name, value in inputs.items():
        side, fill = value.shape[-1], 0 if "layer" in name else 255
        value[..., rows * side // grid :, :] = fill
        value[..., columns * side // grid :] = fill


def made_draws(file: Arrays, model: str, random: np.random.Generator) -> Arrays:
    """Draws of every set, without a near tie and without empty groups."""
    weights, draws = group(file, "weights"), {}
    for b, inputs in enumerate(each_episode(file)):
        x = before_layers(inputs, weights)
        foreground, valid = completed(x["token_foreground"]), x["token_padding"] == 0
        for kind, members in (("foreground", foreground), ("background", ~foreground)):
            if model == "cyctr":
                draws[f"test.element{b}.{kind}"] = random.permutation(members.sum())
                continue
            tokens = tokens_of(x["support_merged"])[:, np.flatnonzero(members & valid)]
            count = int(file["settings/k_fg" if kind == "foreground" else "settings/k_bg"])
            if tokens.shape[1] > count:
                draws |= hash_draws(tokens, f"element{b}.{kind}", count, file, random)
    return draws


def hash_draws(
    tokens: Array, name: str, count: int, file: Arrays, random: np.random.Generator
) -> Arrays:
    """The first draws of a set's planes, thresholds and tokens by which `grouped` groups it."""
    for _ in range(1000):
        own = {
            f"{name}.planes": random.standard_normal((BITS, WIDTH)).astype(np.float32),
            f"{name}.thresholds": random.standard_normal(BITS).astype(np.float32),
            f"{name}.initial_tokens": random.permutation(tokens.shape[1])[:count],
        }
        try:
            grouped(tokens, own, name, int(file["settings/code_updates"]))
        except ValueError:
            continue
        return own
    raise ValueError(f"{name}: no draws without a tie or an empty group in 1000 tries")


def made_case(
    model: str,
    kinds: list[list[str]],
    grid: int = 9,
    tokens: tuple[int, int] | None = None,
    seed: int = 0,
    **settings: object,
) -> Arrays:
    """The arrays of a golden file but for its results.

    Args:
        model: "umtfss", "cyctr" or "pfenet".
        kinds: Of every shot of every episode.
        grid: G.
        tokens: Rows and columns beyond which all is padding; none: no further padding.
        seed: Of everything.
        settings: What the model's golden file has below `settings/` in addition.
    """
    random = np.random.default_rng(seed)
    sizes = {"batch": len(kinds), "shot": len(kinds[0]), "grid": grid, "width": WIDTH, "layers": 2}
    sizes |= {"heads": HEADS, "points": POINTS, "image_side": 8 * (grid - 1) + 1}
    file = {f"settings/{k}": np.array(v) for k, v in (sizes | settings).items()}
    inputs = made_inputs(kinds, grid, random)
    if tokens is not None:
        cut(inputs, *tokens)
    file |= {f"inputs/{k}": v for k, v in inputs.items()}
    scales = len(file.get("settings/scale_sides", ()))
    for name, shape in shapes(model, scales):
        file[f"weights/{name}"] = made_weight(name, shape, random).astype(np.float32)
    if model != "pfenet":
        file |= {f"draws/{k}": v for k, v in made_draws(file, model, random).items()}
    return file
