"""Checks of the models against the arrays of a golden file, or of one like it.

Run a model on the weights, inputs and draws of the file, and compare every array that the file has.
"""

from itertools import product

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import umtfss.models.cyctr as cyctr_module
import umtfss.models.layers.guidance as guidance
import umtfss.models.layers.prototype_attention as attention_module
import umtfss.models.pfenet as pfenet_module
import umtfss.models.umtfss as umtfss_module
from tests.unit.models.golden_run import (
    Arrays,
    Comparison,
    Recorder,
    as_ours,
    drawn,
    golden_batch,
    golden_model,
    our_name,
    to_map,
)
from umtfss.models.base import MetaLearner

SETS = ("foreground", "background")


def compare_gradients(compare: Comparison, model: MetaLearner, name: str, prefix: str = "") -> None:
    own = dict(model.named_parameters())
    start = f"gradients/{prefix}"
    points = int(compare.file.get("settings/points", np.array(9)))
    for key in [key for key in compare.file if key.startswith(start)]:
        golden_name = key.removeprefix(start)
        gradient = own[our_name(name, golden_name)].grad
        assert gradient is not None, key
        if ".offsets." in golden_name:  # back to the file's order of rows
            rows = as_ours(golden_name, np.arange(len(gradient)), points).long()
            gradient = torch.empty_like(gradient).index_copy(0, rows, gradient)
        compare.equal(key, gradient)


def compare_upsampled(compare: Comparison, key: str, on_grid: Tensor, side: int) -> None:
    compare.equal(key, F.interpolate(on_grid, (side, side), mode="bilinear", align_corners=True))


def record_branches(record: Recorder, model: MetaLearner) -> None:
    record.module("query_projected", model.branches.query_mid)
    record.module("support_projected", model.branches.support_mid)
    record.module("branches", model.branches)
    record.function("pooling_mask", guidance)
    record.function("support_guidance", guidance)
    record.probabilities(F)
    for kind, blocks in (("self", model.query_self), ("cross", model.cross)):
        for layer, block in enumerate(blocks):
            name = f"{kind}_attention_{layer}"
            record.module(f"{name}.attended", block.attention)
            record.module(f"{name}.normed", block.attention_norm)
            record.module(f"{name}.block", block)


def compare_branches(compare: Comparison, record: Recorder, grid: int) -> None:
    """The arrays that UMTFSS and CyCTR share, before the transformer."""
    of = record.of
    compare.equal("results/query_projected", of["query_projected"][0])
    compare.equal("results/support_projected", of["support_projected"][0])
    compare.equal("results/mask_on_grid", of["pooling_mask"][0])
    said = of["support_guidance"][0]
    compare.equal("results/global_vector_of_each_shot", said.own)
    compare.equal("results/support_vector", said.own)
    compare.equal("results/global_vector", said.mean)
    compare.equal("results/prior_mask", said.prior)
    compare.equal("results/prior_mask_of_each_shot", said.prior)  # of one shot
    compare.equal("results/query_merged", to_map(of["branches"][0].query, grid))
    compare.equal("results/support_merged", to_map(of["branches"][0].support, grid))


def compare_blocks(compare: Comparison, record: Recorder, grid: int, prefix: str = "") -> None:
    """The arrays of every attention layer."""
    for kind in ("self", "cross"):
        for layer in range(len(record.of["probability"])):
            for part in ("attended", "normed", "block"):
                name = f"{kind}_attention_{layer}.{part}"
                value = to_map(record.of[name][0], grid)
                compare.equal(f"results/{prefix}{name}", value)
                compare.equal(f"results/{name}", value)  # what all versions share
    for layer, weights in enumerate(record.of["probability"]):
        key = f"results/{prefix}cross_attention_{layer}.probability_mean_of_heads"
        compare.equal(key, weights)


def compare_tokens(compare: Comparison, record: Recorder, file: Arrays) -> None:
    foreground, valid = record.of["foreground_tokens"][0]
    compare.equal("results/token_foreground", foreground)
    compare.equal("results/token_padding", ~valid)
    compare.equal(
        "results/query_token_padding", ~golden_batch("umtfss", file).squared().query_valid
    )


def check_umtfss(file: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """UMTFSS equals the file's results and gradients."""
    setting = {k.removeprefix("settings/"): int(v) for k, v in file.items() if "settings/" in k}
    model = golden_model(
        "umtfss",
        file,
        k_bg=setting["k_bg"],
        hash_bits=setting["hash_bits"],
        hamming_iterations=setting["code_updates"],
    ).train()
    batch, grid, side = golden_batch("umtfss", file), setting["grid"], setting["image_side"]
    record = Recorder(monkeypatch)
    record_branches(record, model)
    for name in ("hash_codes", "hamming_kmeans"):
        record.function(name, attention_module)
    for name in ("prototypes", "set_numbers", "position_encoding", "foreground_tokens"):
        record.function(name, umtfss_module)
    record.module("head", model.head)

    elements = range(setting["batch"])
    planes = torch.zeros(len(elements), 2, setting["width"], setting["hash_bits"])
    thresholds = torch.zeros(len(elements), 2, setting["hash_bits"])
    order = torch.full((len(elements), batch.squared().support_mask[0].numel()), 10**6)
    for b, (number, which) in product(elements, enumerate(SETS)):
        start = f"draws/element{b}.{which}"
        if f"{start}.planes" in file:  # sets of few tokens are not grouped
            planes[b, number] = torch.from_numpy(file[f"{start}.planes"].T)
            thresholds[b, number] = torch.from_numpy(file[f"{start}.thresholds"])
            tokens = file[f"results/element{b}.{which}.tokens"][file[f"{start}.initial_tokens"]]
            order[b, torch.from_numpy(tokens)] = torch.arange(len(tokens))
    with (
        drawn(monkeypatch, attention_module, "hash_planes", lambda *_: (planes, thresholds)),
        drawn(monkeypatch, umtfss_module, "token_priority", lambda *_: order),
    ):
        outputs = model.outputs(batch)
    loss = model.total_loss(outputs, batch)
    loss.backward()

    compare, of = Comparison(file), record.of
    compare_branches(compare, record, grid)
    compare_tokens(compare, record, file)
    sets, codes, groups = of["set_numbers"][0], of["hash_codes"][0], of["hamming_kmeans"][0]
    for b in elements:
        for number, which in enumerate(SETS):
            tokens = (sets[b] == number).nonzero()[:, 0]
            start, count = (
                (0, setting["k_fg"]) if number == 0 else (setting["k_fg"], setting["k_bg"])
            )
            key = f"results/element{b}.{which}"
            compare.equal(f"{key}.tokens", tokens)
            compare.equal(f"{key}.codes", codes[b, tokens])
            group = groups[b, tokens] - start
            compare.equal(f"{key}.groups", group)
            compare.equal(f"{key}.group_sizes", group.bincount(minlength=count))
    prototypes, shown = of["prototypes"][0]
    slots = (~shown).long().argsort(dim=1, stable=True)  # ours of the background start at K_fg
    compare.equal("results/prototypes", prototypes.take_along_dim(slots[..., None], 1))
    compare.equal("results/prototype_hidden", ~shown.gather(1, slots))
    of["probability"] = [one.take_along_dim(slots[:, None], 2) for one in of["probability"]]
    compare.equal("results/position_encoding", to_map(of["position_encoding"][0], grid))
    compare_blocks(compare, record, grid)
    compare.equal("results/logits_on_grid", of["head"][0])
    compare_upsampled(compare, "results/logits", outputs[0], side)
    compare.equal("results/loss", loss)
    compare_gradients(compare, model, "umtfss")
    compare.nothing_left()
    compare.print()


def cyctr_order(file: Arrays, kind: str, elements: range) -> Tensor:
    """(B, N) priorities that give the tokens of a version, e.g. of "repaired", in their order."""
    total = file["inputs/support_label"].shape[1] * file["inputs/support_layer4"].shape[-1] ** 2
    order = torch.full((len(elements), total), 10**6)
    for b in elements:
        tokens = torch.from_numpy(file[f"results/{kind}.element{b}.tokens"])
        order[b, tokens] = torch.arange(len(tokens))
    return order


def check_cyctr(file: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """CyCTR equals the version `repaired`; the release's flags are another token's."""
    setting = {k.removeprefix("settings/"): int(v) for k, v in file.items() if "settings/" in k}
    grid, side, elements = setting["grid"], setting["image_side"], range(setting["batch"])
    model = golden_model(
        "cyctr",
        file,
        cycle_tokens=setting["tokens_fg"],
        cycle_spared=0,
        cycle_tokens_vary=False,
    ).train()
    batch = golden_batch("cyctr", file)
    record = Recorder(monkeypatch)
    record_branches(record, model)
    for name in ("consistent_tokens", "sample_tokens", "position_encoding", "masked_average"):
        record.function(name, cyctr_module)
    record.function("foreground_tokens", cyctr_module)
    record.function("_sample", model)
    record.function("_query_mask", model)
    for name in ("refine", "head", "back_projection", "back_head"):
        record.module(name, getattr(model, name))

    def counts(both: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The model's own counts, in the file's proportion; the model asks for as many of both."""
        return both[0], both[1] * setting["tokens_bg"] // setting["tokens_fg"]

    sample = cyctr_module.sample_tokens
    with (
        drawn(
            monkeypatch,
            cyctr_module,
            "token_priority",
            lambda *_: cyctr_order(file, "repaired", elements),
        ),
        drawn(
            monkeypatch,
            cyctr_module,
            "sample_tokens",
            lambda sets, order, both: sample(sets, order, counts(both)),
        ),
    ):
        outputs = model.outputs(batch)
    loss = model.total_loss(outputs, batch)
    loss.backward()

    compare, of, version = Comparison(file), record.of, "repaired."
    compare_branches(compare, record, grid)
    compare_tokens(compare, record, file)
    compare.equal("results/query_mask_on_grid", of["_query_mask"][0])
    compare.equal("results/position_encoding", to_map(of["position_encoding"][0], grid))
    compare_blocks(compare, record, grid, version)
    (drawn_tokens,) = of["sample_tokens"]
    (seen,) = of["_sample"]
    for b in elements:
        compare.equal(f"results/{version}element{b}.tokens", drawn_tokens.index[b])
    for layer in range(setting["layers"]):
        key = f"results/{version}cross_attention_{layer}"
        compare.equal(f"{key}.support_tokens", seen.tokens)
        compare.equal(f"{key}.token_foreground", seen.foreground)
        compare.equal(f"{key}.token_hidden", ~seen.shown)
        compare.equal(f"{key}.inconsistent", ~of["consistent_tokens"][layer])
    fused = of["refine"][0].permute(0, 3, 1, 2)
    reduced = of["refine.input"][0][0].permute(0, 3, 1, 2)
    compare.equal(f"results/{version}fusion.reduced", reduced)
    compare.equal(f"results/{version}fusion.refined", fused - reduced)
    compare.equal(f"results/{version}fusion.sum", fused)
    compare.equal(f"results/{version}logits_on_grid", of["head"][0])
    compare_upsampled(compare, f"results/{version}logits", outputs[0], side)
    back = of["back_projection"][0].relu().permute(0, 3, 1, 2)
    compare.equal(f"results/{version}auxiliary.query_projected", back)
    compare.equal(f"results/{version}auxiliary.query_vector", of["masked_average"][0])
    compare.equal(f"results/{version}auxiliary.logits_on_grid", of["back_head"][0])
    main = model.loss(outputs[0], batch.target)
    compare.equal(f"results/{version}loss_main", main)
    compare.equal(f"results/{version}loss_auxiliary", loss - main)
    compare.equal(f"results/{version}loss", loss)
    compare_gradients(compare, model, "cyctr", version)
    others = ("released", "released_training")
    compare.nothing_left(*(rf"(results|gradients)/{one}\." for one in others))
    compare.print()


def check_pfenet(file: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    """PFENet equals the file's results and gradients."""
    sides, grid = file["settings/scale_sides"].tolist(), int(file["settings/grid"])
    configured = file["settings/scales_as_configured"].tolist()
    scales = [number / grid if number > 1 else number for number in configured]
    model = golden_model("pfenet", file, pyramid_scales=scales).train()
    batch, side = golden_batch("pfenet", file), int(file["settings/image_side"])
    record = Recorder(monkeypatch)
    record.module("query_projected", model.query_mid)
    record.module("support_projected", model.support_mid)
    record.function("pooling_mask", guidance)
    record.function("support_guidance", pfenet_module)
    record.function("guided_query", pfenet_module)
    for name in ("pool", "shrink", "grow"):
        record.function(name, pfenet_module.WholeScale)
    for name in ("join", "last", "head"):
        record.module(name, getattr(model, name))
    for j in range(len(sides)):
        record.module(f"refine{j}", model.refine[j])
        record.module(f"inner{j}", model.inner[j])
        if j:
            record.module(f"between{j}", model.between[j - 1])
    outputs = model.outputs(batch)
    loss = model.total_loss(outputs, batch)
    loss.backward()

    compare, of = Comparison(file), record.of

    def first(grid_last: Tensor) -> Tensor:
        return grid_last.permute(0, 3, 1, 2)

    compare.equal("results/query_projected", of["query_projected"][0])
    compare.equal("results/support_projected", of["support_projected"][0])
    compare.equal("results/mask_on_grid", of["pooling_mask"][0])
    own, mean, prior = of["support_guidance"][0]
    compare.equal("results/global_vector_of_each_shot", own)
    compare.equal("results/global_vector", mean)
    compare.equal("results/prior_mask_of_each_shot", prior)  # of one shot
    compare.equal("results/prior_mask", prior)
    shrunk = iter(of["shrink"])
    for j in range(len(sides)):
        key = f"results/scale_{j}"
        compare.equal(f"{key}.query", first(of["pool"][j]))
        compare.equal(f"{key}.prior_mask", next(shrunk)[..., 0])
        compare.equal(f"{key}.merged", to_map(of["guided_query"][j], sides[j]))
        if j:
            compare.equal(f"{key}.finer", first(next(shrunk)))
            compare.equal(f"{key}.from_finer", first(of[f"between{j}"][0].relu()))
        refined, before = of[f"refine{j}"][0], of[f"refine{j}.input"][0][0]
        compare.equal(f"{key}.refinement", first(refined - before))
        compare.equal(f"{key}.refined", first(refined))
        compare.equal(f"{key}.logits_on_scale", of[f"inner{j}"][0])
        compare.equal(f"{key}.on_grid", first(of["grow"][j]))
    joined = of["last.input"][0][0]
    compare.equal("results/joined", first(joined))
    compare.equal("results/last_refinement", first(of["last"][0] - joined))
    compare.equal("results/last", first(of["last"][0]))
    compare.equal("results/logits_on_grid", of["head"][0])
    compare_upsampled(compare, "results/logits", outputs[0], side)
    main, *inner = (model.loss(one, batch.target) for one in outputs)
    compare.equal("results/loss_main", main)
    compare.equal("results/loss_of_each_scale", torch.stack(inner))
    compare.equal("results/loss_auxiliary", loss - main)
    compare.equal("results/loss", loss)
    compare_gradients(compare, model, "pfenet")
    compare.nothing_left()
    compare.print()
