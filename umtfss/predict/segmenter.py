"""The few-shot segmenter of own photos: K photos with masks show each object to find in others.

No data set, index or cache is needed, as features are computed when they are read.

Shapes: H W pixels, h w feature grid, K shots, C objects, D channels of the high feature.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from scipy.special import expit

from umtfss.backbones.extractor import Extractor
from umtfss.backbones.weights import digest_state
from umtfss.common.digests import digest_json
from umtfss.common.errors import StoreError, WeightsError
from umtfss.common.manifests import read_manifest
from umtfss.data.images import IGNORE
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.images import EpisodeImages
from umtfss.evaluation.scores import ScoringOptions, predicted_scores
from umtfss.evaluation.trained import live_extractor, trained_model
from umtfss.evaluation.weights import check_weights
from umtfss.features.diffusion import DiffusedFeatures, DiffusionMap
from umtfss.features.geometry import mask_to_grid
from umtfss.features.kept import KeptFeatures
from umtfss.features.live import LiveFeatures
from umtfss.features.standard import Standardised
from umtfss.features.store import FeatureSource
from umtfss.models.base import MetaLearner
from umtfss.models.prototype import PrototypeMatcher
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.predict.labels import enlarged, labels_of
from umtfss.predict.model_file import ModelFile, read_model
from umtfss.predict.pictures import Pictures
from umtfss.predict.recipe import Recipe
from umtfss.predict.supports import (
    DEFAULT_NAME,
    OBJECT,
    Picture,
    check_fit,
    check_lists,
    read_support_mask,
)
from umtfss.pseudo_masks.superpixels import felzenszwalb_superpixels

# (backbone, level) -> lowest score of an object in a photo, with 1 shot and with 5; 95 % of the
# objects in VOC's training photos score higher (`python -m benchmarks.presence`).
MIN_SCORES = {
    ("vits14_lite2", "fused"): (0.146, 0.289),
}
MEASURED_SHOTS = (1, 5)
EPISODES = "predict"  # keys the random choices inside a model
NO_MIN_SCORE = -1.0  # the lowest cosine: nothing is left out
COSINE_SCALE = 20.0  # of the matcher's cosines, before a sigmoid (PANet, arXiv:1908.06391)
MEMORY_MB = 512


@dataclass(frozen=True)
class Segmentation:
    """What is found in a photo.

    Attributes:
        labels: (H, W) uint8, 0 nothing, i the object `classes_[i - 1]`; no connected region is
            smaller than a cell of the feature grid, as the features do not tell what is smaller.
        scores: (C,) float32, the mean cosine between the tokens where an object is found, before
            objects compete, and the mean token of the object in the supports; 0 if nothing is
            found.
        soft: (C, H, W) float32 in [0, 1]; above 0.5 is the object, before objects compete.
    """

    labels: np.ndarray
    scores: np.ndarray
    soft: np.ndarray


class Segmenter:
    """A few-shot segmenter in the manner of scikit-learn.

    Args:
        recipe: All settings.
        model: The meta-learner with its weights.
        device: Where backbone and meta-learner run.
        diffusion: The map of diffused features; None: features are not diffused.
        backbone: Digest that the backbone's weights must have; empty: any.
        min_score: An object with a lower score is not in the photo; None: as measured for the
            features (`MIN_SCORES`), where they were.
        features_folder: Where features of photos are kept, so that each photo's are computed once;
            None: they are computed whenever they are needed.

    Attributes:
        classes_: Names of the objects, sorted, after `fit`.
    """

    def __init__(
        self,
        recipe: Recipe,
        model: MetaLearner,
        device: torch.device | str = "cpu",
        diffusion: DiffusionMap | None = None,
        backbone: str = "",
        min_score: float | None = None,
        features_folder: Path | None = None,
    ) -> None:
        self.recipe, self.device, self.min_score = recipe, torch.device(device), min_score
        self.features_folder = features_folder
        self._model, self._diffusion, self._backbone = model, diffusion, backbone
        self._photos = Pictures()
        self._images: EpisodeImages | None = None
        self._supports: list[list[str]] = []  # ids by object
        self._prototypes = np.empty((0, 0), np.float32)
        self.classes_: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str | Path, device: torch.device | str = "cpu") -> Self:
        """The segmenter in a file that `umtfss export` has written.

        Raises:
            StoreError: The file is missing or is no such file.
            WeightsError: The weights do not fit the model.
        """
        return cls.of_file(read_model(Path(path)), device)

    @classmethod
    def of_file(cls, file: ModelFile, device: torch.device | str = "cpu") -> Self:
        """The segmenter of a model file's content."""
        return cls(file.recipe, file.build(), device, file.diffusion, file.backbone)

    @classmethod
    def of_run(cls, plan: Plan, run: RunSpec, device: torch.device | str = "cpu") -> Self:
        """The segmenter of a run of an experiment; the training-free matcher needs no training.

        Raises:
            StoreError: The run has not been trained, or was trained with other settings, or the
                map of its diffused features is missing.
            WeightsError: The weights were altered.
        """
        check_weights(plan, run)
        weights = next(iter(plan.paths.training_manifest(run)), None)
        read = plan.features.model_features(run)
        model = trained_model(run.model, plan.runs.model_settings(run), read, weights)
        scales = dict(read_manifest(weights, "training")["mid_scales"]) if weights else {}
        return cls(Recipe.of_run(plan, run, scales), model, device, diffusion_map(plan, run))

    def fit(
        self,
        images: Sequence[Picture],
        masks: Sequence[Picture],
        names: Sequence[str] | None = None,
        *,
        mask_value: int | None = None,
    ) -> Self:
        """Learn what the objects look like.

        Args:
            images: K photos of every object, K may differ; files or arrays (H, W, 3) uint8 RGB.
            masks: The mask of the object on each photo, a file or an array (H, W).
            names: The name of the object on each photo; None: all show the same object.
            mask_value: The object's value in the masks; None: every value but 0.

        Raises:
            DataError: A photo or mask cannot be used; nothing is computed then.
            WeightsError: The backbone's weights are missing or altered.
        """
        check_lists(images=images, masks=masks, names=names)
        check_fit(images, masks, names)
        names = [DEFAULT_NAME] * len(images) if names is None else list(names)
        photos = Pictures()
        supports: list[list[str]] = [[] for _ in set(names)]
        classes = tuple(sorted(set(names)))
        for number, (image, mask, name) in enumerate(zip(images, masks, names, strict=True)):
            found = read_support_mask(mask, image, mask_value, number)
            supports[classes.index(name)].append(photos.add(f"support/{number}", image, found))
        self._photos, self._supports, self.classes_ = photos, supports, classes
        self._images = self._images_of(photos)
        self._prototypes = np.stack([self._prototype(ids) for ids in self._supports])
        return self

    def predict(
        self, photo: Picture, return_scores: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """The object of every pixel, (H, W) uint8: 0 none, i the object `classes_[i - 1]`.

        Args:
            photo: A file or an array (H, W, 3) uint8 RGB.
            return_scores: Whether to return the scores of the objects, (C,) float32, too.

        Raises:
            DataError: The photo cannot be read.
            ValueError: `fit` was not called.
        """
        found = self.segment(photo)
        return (found.labels, found.scores) if return_scores else found.labels

    def segment(self, photo: Picture) -> Segmentation:
        """What is found in a photo: labels, scores and soft masks (see `predict`).

        The result does not depend on other photos to segment.
        """
        images = self._images
        if images is None:
            raise ValueError("expected a fitted segmenter: call fit(images, masks) first")
        query = self._photos.add_query(photo)
        differences = np.stack([self._difference(images, query, ids) for ids in self._supports])
        cosines = np.moveaxis(self._tokens(query) @ self._prototypes.T, 2, 0)
        scores = self._scores(query, cosines, differences > 0)
        pixels = enlarged(cosines, differences.shape[1:], images.geometry.align_corners)
        cell = pixels[0].size / cosines[0].size
        self._photos.drop(query)
        shown = scores >= self.lowest_scores
        scale = COSINE_SCALE if isinstance(self._model, PrototypeMatcher) else 1.0
        return Segmentation(
            labels_of(pixels, (differences > 0) & shown[:, None, None], cell),
            scores,
            expit(scale * differences),
        )

    def leave_one_out(self) -> dict[str, list[float]]:
        """Object -> IoU of each of its supports, found by its other supports.

        An object with one support is left out. Objects do not compete, no score is too low
        and no region too small.

        Raises:
            ValueError: `fit` was not called.
        """
        images = self._images
        if images is None:
            raise ValueError("expected a fitted segmenter: call fit(images, masks) first")
        return {
            name: [self._iou(images, one, [i for i in ids if i != one]) for one in ids]
            for name, ids in zip(self.classes_, self._supports, strict=True)
            if len(ids) > 1
        }

    def _iou(self, images: EpisodeImages, support: str, others: list[str]) -> float:
        """The IoU of a support, found by others, where its mask does not say `IGNORE`."""
        found, mask = self._difference(images, support, others) > 0, self._photos.mask(support)
        hit = (found & (mask == OBJECT)).sum()
        union = ((found | (mask == OBJECT)) & (mask != IGNORE)).sum()
        return float(hit / union)

    def extract(self, photo: Picture) -> None:
        """Compute the features of a photo, if `features_folder` has them not.

        Raises:
            DataError: The photo cannot be read.
        """
        photos = Pictures()
        images = self._images_of(photos)
        images.read(photos.add_query(photo), self.recipe.features.high)

    @property
    def shots(self) -> list[int]:
        """The number of supports of each object."""
        return [len(ids) for ids in self._supports]

    @property
    def lowest_scores(self) -> np.ndarray:
        """The score below which each object is not in a photo, (C,)."""
        if self.min_score is not None:
            return np.full(len(self._supports), self.min_score)
        read = self.recipe.extracted.backbone, self.recipe.features.high
        measured = MIN_SCORES.get(read, (NO_MIN_SCORE, NO_MIN_SCORE))
        return np.interp(self.shots, MEASURED_SHOTS, measured)

    def _difference(self, images: EpisodeImages, query: str, supports: list[str]) -> np.ndarray:
        """The foreground's score minus the background's, of one object, (H, W) float32."""
        read, recipe = self.recipe.features, self.recipe
        options = ScoringOptions(read.mid, read.high, 1, self.device, recipe.amp, recipe.refine)
        rows = np.arange(1, len(supports) + 1)[None]
        episode = EpisodeList([query, *supports], np.array([0]), np.array([OBJECT]), rows, EPISODES)
        return next(predicted_scores(self._model, episode, images, options))

    def _prototype(self, supports: list[str]) -> np.ndarray:
        """The mean direction of an object's tokens over its supports, (D,) float32 of length 1."""
        sums = [
            np.tensordot(self._part(one, self._photos.mask(one)), self._tokens(one), 2)
            for one in supports
        ]
        return _unit(np.sum(sums, 0))

    def _scores(self, query: str, cosines: np.ndarray, masks: np.ndarray) -> np.ndarray:
        """The score of every object in a photo, (C,) float32.

        Args:
            query: The photo.
            cosines: (C, h, w), of tokens to the objects.
            masks: (C, H, W) bool, where the objects are found.
        """
        parts = np.stack([self._part(query, mask.astype(np.uint8)) for mask in masks])
        area = parts.sum((1, 2))
        return ((parts * cosines).sum((1, 2)) / np.where(area > 0, area, 1)).astype(np.float32)

    def _tokens(self, image_id: str) -> np.ndarray:
        """The tokens of an image in its high feature, (h, w, D) float32 of length 1."""
        assert self._images is not None
        return _unit(self._images.read(image_id, self.recipe.features.high).astype(np.float32))

    def _part(self, image_id: str, mask: np.ndarray) -> np.ndarray:
        """The part of every token that the object covers, (h, w)."""
        assert self._images is not None
        images = self._images
        part, valid = mask_to_grid(mask, images.grid(image_id), images.geometry.align_corners)
        return part * valid

    def _images_of(self, photos: Pictures) -> EpisodeImages:
        """The features of photos, as the recipe says."""
        recipe, live = self.recipe, (self._extractor, photos, self.recipe.extracted.long_side)
        folder = self.features_folder
        features: FeatureSource = KeptFeatures(*live, folder) if folder else LiveFeatures(*live)
        if self._diffusion is not None:
            features = DiffusedFeatures(features, self._diffusion)
        if recipe.mid_scales:
            features = Standardised(features, recipe.mid_scales)
        return EpisodeImages(
            photos,
            features,
            MEMORY_MB,
            lambda image_id: felzenszwalb_superpixels(photos.image(image_id), recipe.superpixels),
        )

    def model_file(self, provenance: Mapping[str, Any]) -> ModelFile:
        """The segmenter, without what it was fitted to, as the content of a model file.

        Args:
            provenance: Where it comes from.
        """
        weights = self._model.state_dict()
        return ModelFile(self.recipe, weights, self._extractor.digest, self._diffusion, provenance)

    @property
    def digest(self) -> str:
        """Digest of all that decides what a fitted segmenter finds."""
        diffusion, photos = self._diffusion, self._photos
        arrays = [] if diffusion is None else [diffusion.segments, diffusion.coordinates]
        for image_id in (one for ids in self._supports for one in ids):
            arrays += [photos.image(image_id), photos.mask(image_id)]
        return digest_json(
            [
                self.recipe.as_json(),
                digest_state({n: value.cpu() for n, value in self._model.state_dict().items()}),
                self._extractor.digest,
                [self.classes_, self._supports, self.lowest_scores.tolist()],
                [sha256(np.ascontiguousarray(one).data).hexdigest() for one in arrays],
            ]
        )

    @cached_property
    def _extractor(self) -> Extractor:
        """The backbone, loaded when it is first needed."""
        extractor = live_extractor(self.recipe.extracted, self.device)
        if self._backbone not in ("", extractor.digest):
            raise WeightsError(
                f"the weights of the backbone {extractor.name} are not those of the model",
                expected=f"digest {self._backbone}",
                found=f"digest {extractor.digest}",
                fix="install the packages that the model's card names, or export the model again",
            )
        return extractor


def diffusion_map(plan: Plan, run: RunSpec) -> DiffusionMap | None:
    """The map of a run's diffused features; None: its features are not diffused.

    Raises:
        StoreError: The pool has not been mapped.
    """
    if not plan.features.diffuses(run):
        return None
    name = plan.experiment.name
    path = plan.paths.diffusion_map(plan.features.run_features(run), ".json")
    if not Path(path).is_file():
        raise StoreError(
            f"the photos that experiment {name} diffuses over have not been mapped here",
            expected=Path(path).resolve(),
            fix=f"in the project's folder: snakemake --cores all --config experiment={name} -- "
            f"{path}",
        )
    return DiffusionMap.load(path)


def _unit(vectors: np.ndarray) -> np.ndarray:
    """The vectors (..., D) at length 1; a zero vector stays."""
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(length, 1e-12)
