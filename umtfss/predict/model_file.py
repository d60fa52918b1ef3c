"""One file with all of a segmenter but its backbone's weights: safetensors with metadata.

The metadata has the settings, the digest of the backbone's weights, and where the model comes from.
The backbone's own weights are found as its experiment says (packaged, or a file).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from umtfss.common.errors import StoreError, WeightsError
from umtfss.common.files import atomic_path
from umtfss.experiment.features import DiffusionConfig
from umtfss.features.diffusion import DiffusionMap
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model
from umtfss.predict.recipe import Recipe

FORMAT = "umtfss-model-1"
MODEL, MAP = "model.", "diffusion."  # what names of tensors begin with
ARRAYS = ("segments", "image", "coordinates", "axes", "cells")  # of a diffusion map


@dataclass(frozen=True)
class ModelFile:
    """The content of a model file.

    Attributes:
        recipe: All settings.
        weights: The meta-learner's weights by name.
        backbone: Digest of the backbone's weights.
        diffusion: The map of diffused features; None: features are not diffused.
        provenance: Where the model comes from.
    """

    recipe: Recipe
    weights: Mapping[str, torch.Tensor]
    backbone: str
    diffusion: DiffusionMap | None
    provenance: Mapping[str, Any]

    def build(self) -> MetaLearner:
        """The meta-learner with its weights.

        Raises:
            WeightsError: The weights do not fit the model.
        """
        recipe = self.recipe
        model = build_model(recipe.model, recipe.settings, recipe.features.mid_channels)
        try:
            model.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            raise WeightsError(
                f"the weights do not fit the model {recipe.model}: {error}",
                fix="export the model with this version of umtfss",
            ) from error
        return model

    def save(self, path: Path) -> None:
        """Write the file, atomically; equal content gives equal bytes."""
        tensors = {MODEL + name: value.cpu().contiguous() for name, value in self.weights.items()}
        facts = {"recipe": self.recipe.as_json(), "backbone": self.backbone}
        facts["provenance"] = json.dumps(self.provenance)
        if (diffusion := self.diffusion) is not None:
            for name in ARRAYS:
                tensors[MAP + name] = torch.from_numpy(getattr(diffusion, name)).contiguous()
            # half precision holds them exactly
            tensors[MAP + "segments"] = tensors[MAP + "segments"].half()
            facts["diffusion"] = diffusion.settings.model_dump_json()
            facts["diffusion_level"] = diffusion.level
            facts["diffusion_ids"] = json.dumps(diffusion.ids)
        with atomic_path(path) as temporary:
            # one key, as safetensors writes several in any order
            temporary.write_bytes(save(tensors, {FORMAT: json.dumps(facts)}))


def read_model(path: Path) -> ModelFile:
    """The content of a model file.

    Raises:
        StoreError: The file is missing, damaged or of another format.
    """
    wrong = StoreError(
        f"{path} is no model file of umtfss",
        expected=f"a file that `umtfss export` wrote, of format {FORMAT}",
        found="another file" if path.is_file() else "nothing there",
        fix="correct the path, or export the model again",
    )
    try:
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(FORMAT)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise wrong from error
    if text is None:
        raise wrong
    facts = json.loads(text)
    return ModelFile(
        Recipe.from_json(facts["recipe"]),
        {n.removeprefix(MODEL): v for n, v in tensors.items() if n.startswith(MODEL)},
        facts["backbone"],
        _diffusion(facts, tensors),
        json.loads(facts["provenance"]),
    )


def _diffusion(
    facts: Mapping[str, str], tensors: Mapping[str, torch.Tensor]
) -> DiffusionMap | None:
    """The map of diffused features in a model file."""
    if "diffusion" not in facts:
        return None
    arrays = {name: tensors[MAP + name].numpy() for name in ARRAYS}
    arrays["segments"] = arrays["segments"].astype("float32")
    return DiffusionMap(
        tuple(json.loads(facts["diffusion_ids"])),
        facts["diffusion_level"],
        DiffusionConfig.model_validate_json(facts["diffusion"]),
        **arrays,
    )
