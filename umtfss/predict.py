"""Segmentation of a user's own photos: K photos with masks show an object to find in others.

No data set, index or cache is needed, as features are computed when they are read.

Shapes: H W pixels, K shots.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from umtfss.common.errors import DataError, StoreError
from umtfss.common.files import atomic_path
from umtfss.data.folder import SUFFIXES, FolderDataset
from umtfss.data.images import read_image, read_object_mask
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.images import EpisodeImages
from umtfss.evaluation.scores import ScoringOptions, predicted_scores
from umtfss.evaluation.trained import live_features, on_trained_scale, trained_model
from umtfss.evaluation.weights import check_weights
from umtfss.figures.overlay import PREDICTED, overlay
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.pseudo_masks.superpixels import felzenszwalb_superpixels

OBJECT = 1  # class id of the object in the masks


@dataclass(frozen=True)
class Query:
    """A photo to segment.

    Attributes:
        path: The photo.
        name: Name of the results below the output folder, without suffix.
    """

    path: Path
    name: str


class SupportImages:
    """Photos by path, some with masks; the catalog of `EpisodeImages`.

    Args:
        masks: Photo -> its mask file.
        value: The object's pixel value in the masks; None: every value but 0.
    """

    def __init__(self, masks: dict[str, Path], value: int | None) -> None:
        self.masks, self.value = masks, value

    def image(self, qualified: str) -> np.ndarray:
        """The photo, (H, W, 3) uint8 RGB, turned upright."""
        return read_image(Path(qualified), upright=True)

    def mask(self, qualified: str) -> np.ndarray:
        """The mask of a support photo, (H, W) uint8: 0 or `OBJECT`, 255 ignored.

        Raises:
            DataError: The mask has another size than the photo, or is empty or full.
        """
        path = self.masks[qualified]
        mask = read_object_mask(path, self.value)
        size = self.image(qualified).shape[:2]
        if mask.shape != size:
            turned = mask.shape[::-1] == size
            raise DataError(
                f"the mask {path} does not fit its photo {qualified}",
                expected=f"{size[1]} x {size[0]} px, width x height of the upright photo",
                found=f"{mask.shape[1]} x {mask.shape[0]} px",
                fix="turn the mask as the photo is shown" if turned else "draw it on this photo",
            )
        part, rest = (float((mask == value).mean()) for value in (OBJECT, 0))
        if not part or not rest:
            raise DataError(
                f"the mask {path} shows {'no background' if part else 'no object'}",
                expected="black background, and an object of another value on a part of the photo",
                found=f"{100 * part:.0f} % object, {100 * rest:.0f} % background"
                + ("" if self.value is None else f", which has the value {self.value}"),
                fix="draw the object in white on black, or name its value with --mask-value",
            )
        return mask


def find_queries(
    paths: Sequence[Path], folder: Path, supports: Sequence[tuple[Path, Path]] = ()
) -> list[Query]:
    """Find the photos to segment, each with its own results below `folder`.

    Args:
        paths: Photos, or folders that are searched with their sub-folders. Files in `folder` are
            results and are left out.
        folder: Folder of the results; no photo or mask is overwritten.
        supports: Photos and masks of the supports.

    Raises:
        DataError: A path does not exist, a folder holds no photo, two photos would have the same
            result file, or a result would overwrite an input.
    """
    queries: list[Query] = []
    for path in paths:
        if path.is_dir():
            ids = FolderDataset("queries", path).ids("all")
            if path.resolve() in folder.resolve().parents:
                results = folder.resolve().relative_to(path.resolve())
                ids = [i for i in ids if results not in Path(i).parents]
            queries += [Query(path / i, str(Path(i).with_suffix(""))) for i in ids]
        elif path.is_file() and path.suffix.lower() in SUFFIXES:
            queries.append(Query(path, path.stem))
        else:
            raise DataError(
                f"{path} is no photo and no folder of photos",
                expected=f"a file ending in {', '.join(sorted(SUFFIXES))}, or a folder",
                found="another kind of file" if path.exists() else "nothing there",
                fix="correct the path",
            )
    written: dict[Path, Path] = {}
    for query in queries:
        for path in output_paths(folder, query):
            if path.resolve() in written:
                raise DataError(
                    f"two results would be written to {path}",
                    found=f"those of {written[path.resolve()]} and {query.path}",
                    fix="rename one of them, or segment them into different --out folders",
                )
            written[path.resolve()] = query.path
    read = [query.path for query in queries] + [path for pair in supports for path in pair]
    if lost := sorted(str(path) for path in read if path.resolve() in written):
        raise DataError(
            f"a result would overwrite {lost[0]}",
            expected="another folder than that of the photos and masks",
            found=str(folder),
            fix="give another --out",
        )
    return queries


def output_paths(folder: Path, query: Query) -> tuple[Path, Path]:
    """The paths of a photo's mask and overlay."""
    return folder / f"{query.name}.png", folder / f"{query.name}-overlay.png"


def segment(
    plan: Plan,
    run: RunSpec,
    supports: Sequence[tuple[Path, Path]],
    queries: Sequence[Path],
    *,
    value: int | None = None,
    device: torch.device | str = "cpu",
) -> Iterator[np.ndarray]:
    """Segment photos one after the other, (H, W) bool each, at the upright photo's size.

    The mask of a photo does not depend on the other photos to segment.

    Args:
        plan: The plan of the experiment whose features and model are used.
        run: A run of the experiment; the training-free matcher needs no training.
        supports: K photos and their masks.
        queries: The photos to segment.
        value: The object's pixel value in the masks; None: every value but 0.
        device: Where the model runs.

    Raises:
        DataError: A photo or mask cannot be used.
        StoreError: The run has not been trained, or was trained with other settings.
        WeightsError: Weights are missing or altered.
    """
    masks = {str(image): mask for image, mask in supports}
    if len(masks) < len(supports) or not masks:
        raise DataError(
            "the support photos cannot be used",
            expected="one photo or more, each once, each with its mask",
            found=", ".join(str(image) for image, _ in supports) or "none",
            fix="give a --support-image and a --support-mask for every shot",
        )
    catalog = SupportImages(masks, value)
    for image in masks:  # fail before the backbone is loaded
        catalog.mask(image)
    _check_photos(queries)
    check_weights(plan, run)
    diffusion_map = plan.paths.diffusion_map(plan.features.run_features(run))
    if plan.features.diffuses(run) and not Path(diffusion_map).is_file():
        name = plan.experiment.name
        raise StoreError(
            f"the photos that experiment {name} diffuses over have not been mapped here",
            expected=Path(diffusion_map).resolve(),
            fix=f"in the project's folder: snakemake --cores all --config experiment={name} -- "
            f"{diffusion_map}",
        )
    device, settings = torch.device(device), plan.experiment.evaluation
    read = plan.features.model_features(run)
    weights = next(iter(plan.paths.training_manifest(run)), None)
    model = trained_model(run.model, plan.runs.model_settings(run), read, weights)
    options = ScoringOptions(
        read.mid, read.high, settings.batch_size, device, settings.amp, settings.refine
    )
    features = live_features(
        plan.features.extracted(plan.features.run_features(run)),
        catalog,
        device,
        diffusion_map if plan.features.diffuses(run) else None,
    )
    images = EpisodeImages(
        catalog,
        on_trained_scale(features, weights),
        read_superpixels=lambda image_id: felzenszwalb_superpixels(
            catalog.image(image_id), plan.experiment.pseudo_masks
        ),
    )
    rows = [list(range(1, len(masks) + 1))]
    for query in queries:
        episode = EpisodeList([str(query), *masks], [0], [OBJECT], rows, "predict")  # type: ignore[arg-type]
        yield next(predicted_scores(model, episode, images, options)) > 0


def _check_photos(paths: Sequence[Path]) -> None:
    """Check that all photos can be read, before the first is segmented.

    Raises:
        DataError: Photos cannot be read; the message names all of them.
    """
    broken = []
    for path in paths:
        try:
            read_image(path, upright=True)
        except DataError as error:
            broken.append(str(error))
    if broken:
        raise DataError(
            f"{len(broken)} of {len(paths)} photos cannot be segmented, and none was:\n  "
            + "\n  ".join(broken),
            fix="mend them or leave them out, then run again",
        )


def write_prediction(mask: np.ndarray, query: Query, folder: Path) -> None:
    """Write a photo's mask (0 or 255) and an overlay on the photo (see `output_paths`).

    Args:
        mask: (H, W) bool.
        query: The photo.
        folder: Folder of the results.
    """
    picture = overlay(read_image(query.path, upright=True), mask.astype(np.uint8), PREDICTED)
    results = (mask.astype(np.uint8) * 255, (picture * 255).round().astype(np.uint8))
    for path, pixels in zip(output_paths(folder, query), results, strict=True):
        with atomic_path(path) as temporary:
            Image.fromarray(pixels).save(temporary)
