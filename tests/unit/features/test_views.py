"""umtfss.features.views: the geometry of augmented views, and their features in a cache."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from umtfss.episodes.geometry import square_pixels
from umtfss.features.extract import extract_features
from umtfss.features.settings import ViewConfig
from umtfss.features.store import FeatureStore, View
from umtfss.features.views import (
    OUTSIDE,
    area_scale,
    cached_view,
    crop,
    draw_view,
    shown_grid,
    uncropped_image,
    view_mask,
)
from umtfss.provenance import read_manifest
from umtfss.randomness import generator

PIXELS = 90
WIDE = ViewConfig(scale_min=0.7, scale_max=1.4, rotate_degrees=30, rotate=0.8)
MEAN = [0.5, 0.5, 0.5]


def blobs(size: tuple[int, int]) -> np.ndarray:
    """A mask with foreground and ignored areas, (H, W) in {0, 1, 255}."""
    row, column = np.indices(size)
    mask = ((row - 0.4 * size[0]) ** 2 + (column - 0.6 * size[1]) ** 2 < 300).astype(np.uint8)
    mask[-12:, :15] = 255
    return mask


def warped(mask: np.ndarray, view: View) -> np.ndarray:
    """The mask by one affine map from view to image, with scipy instead of torchvision."""
    height, width = (max(1, round(s * view.scale * PIXELS / max(mask.shape))) for s in mask.shape)
    centre = np.array([height / 2, width / 2])
    angle = np.deg2rad(view.angle)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    zoom = np.diag([mask.shape[0] / height, mask.shape[1] / width])
    mirror = np.diag([1.0, -1.0 if view.flip else 1.0])
    # edge coordinates: view -> uncropped -> mirrored and turned back about the centre -> image
    matrix = zoom @ turn @ mirror
    corner = np.array([view.top, view.left])
    offset = matrix @ (corner + 0.5 - centre) + zoom @ centre - 0.5
    found = ndimage.affine_transform(
        mask, matrix, offset, (PIXELS, PIXELS), order=0, mode="constant", cval=OUTSIDE
    )
    found[max(0, height - view.top) :] = OUTSIDE  # what is turned out of the image is lost
    found[:, max(0, width - view.left) :] = OUTSIDE
    return found


@pytest.mark.parametrize("size", [(60, 90), (90, 50), (131, 131)])
@pytest.mark.parametrize("number", range(1, 8))
def test_a_mask_follows_the_geometry(size: tuple[int, int], number: int) -> None:
    view = cached_view("a/0", number, size, WIDE, PIXELS)._replace(flip=number % 2 == 0)
    mask = blobs(size)
    found, expected = view_mask(mask, view, PIXELS), warped(mask, view)
    assert found.dtype == np.uint8
    differs = found != expected
    # two roundings to the nearest pixel instead of one: at borders only
    low, high = (f(expected, 5, mode="nearest") for f in (ndimage.minimum_filter,
                 ndimage.maximum_filter))  # fmt: skip
    assert not differs[low == high].any()
    assert differs.mean() < 0.06
    assert (found == 1).sum() == pytest.approx((expected == 1).sum(), rel=0.1)


def test_the_foreground_grows_with_the_area() -> None:
    mask = blobs((60, 90))
    for scale in (0.8, 1.0):
        view = View(scale, 0.0, False, False, 0, 0)
        found = (view_mask(mask, view, PIXELS) == 1).sum()
        expected = (mask == 1).sum() * area_scale((60, 90), view, PIXELS)
        assert found == pytest.approx(expected, rel=0.05)


def test_a_view_depends_on_image_and_number_alone() -> None:
    first = cached_view("a/0", 1, (60, 90), WIDE, PIXELS)
    assert first == cached_view("a/0", 1, (60, 90), WIDE, PIXELS)
    others = {cached_view(f"a/{i}", n, (60, 90), WIDE, PIXELS) for i in range(3) for n in (1, 2)}
    assert len(others) == 6
    assert not any(view.flip for view in others)
    assert all(0.7 <= view.scale <= 1.4 and abs(view.angle) <= 30 for view in others)


@pytest.mark.parametrize("size", [(60, 90), (375, 500), (30, 40)])
def test_what_is_scaled_is_the_original_or_the_fitted_image(size: tuple[int, int]) -> None:
    settings = {"scale_min": 0.8, "scale_max": 1.25}
    for kind, length in (("fitted", PIXELS), ("original", max(size))):
        for key in range(20):
            drawn = generator("scale", key).uniform(0.8, 1.25)
            view, _ = draw_view(
                ViewConfig(scale_of=kind, **settings), generator("scale", key), size, PIXELS
            )
            scaled = area_scale(size, view, PIXELS) * size[0] * size[1]
            ratio = length * drawn / max(size)
            assert scaled == pytest.approx(size[0] * size[1] * ratio**2, rel=0.05)


def test_crops_lie_anywhere_in_the_padded_image() -> None:
    twice = ViewConfig(scale_min=2, scale_max=2, rotate=0)
    views = [cached_view(f"a/{i}", 1, (40, 90), twice, PIXELS) for i in range(300)]
    assert {view.top for view in views} == {0}  # 80 rows are padded to 90
    columns = [view.left for view in views]
    assert (min(columns), max(columns)) == (0, 90)
    assert np.mean(columns) == pytest.approx(45, abs=6)


@pytest.mark.parametrize("align", [False, True])
def test_the_grid_shown_ends_where_half_of_a_token_is_padding(align: bool) -> None:
    pixels = 91 if align else 90
    side = 10 if align else 9
    for scale in np.linspace(0.3, 1.2, 40):
        view = View(float(scale), 0.0, False, False, 0, 0)
        inside = view_mask(np.zeros((60, 90), np.uint8), view, pixels) != OUTSIDE
        rows, columns = inside.any(1), inside.any(0)
        centres = np.arange(side) * 10 if align else np.arange(side) * 10 + 5
        if align:  # a token is its pixel
            expected = rows[centres].sum(), columns[centres].sum()
        else:  # half of its patch: the five pixels before its centre
            expected = rows[centres - 1].sum(), columns[centres - 1].sum()
        assert shown_grid((60, 90), view, pixels, side, align) == expected


def run(dataset, extractor, folder, view=1, **changes):
    settings = {"source": "checksum", "batch_size": 3, "progress": False, "augment": WIDE}
    return extract_features(
        dataset, dataset.qualified, extractor, 40, folder, view=view, **(settings | changes)
    )


def test_a_cache_holds_the_features_of_the_view_and_its_geometry(dataset, extractor, tmp_path):
    store = FeatureStore([run(dataset, extractor, tmp_path)])
    pixels = square_pixels(40, 4, False)
    for image_id, image in dataset.images.items():
        qualified = f"toy/{image_id}"
        view = cached_view(qualified, 1, image.shape[:2], WIDE, pixels)
        assert store.view(qualified) == view
        assert store.image_size(qualified) == image.shape[:2]
        shown = crop(uncropped_image(image, view, pixels, MEAN), view, pixels)
        assert shown.shape == (3, 40, 40)
        expected = extractor(shown[None])["both"][0].permute(1, 2, 0).half().numpy()
        h, w = shown_grid(image.shape[:2], view, pixels, 10, False)
        assert store.grid(qualified) == (h, w)
        np.testing.assert_array_equal(store.read(qualified, "both"), expected[:h, :w])


def test_content_does_not_depend_on_batches_parts_and_shards(dataset, extractor, tmp_path):
    one = read_manifest(run(dataset, extractor, tmp_path / "a"), "features")
    settings = {"batch_size": 7, "part_mb": 1}
    two = read_manifest(run(dataset, extractor, tmp_path / "b", **settings), "features")
    other = read_manifest(run(dataset, extractor, tmp_path / "c", view=2), "features")
    assert one["digest"] == two["digest"] != other["digest"]
    assert (one["spec"]["view"], other["spec"]["view"]) == (1, 2)


def test_the_plain_image_is_view_zero(dataset, extractor, tmp_path):
    plain = read_manifest(run(dataset, extractor, tmp_path / "a", view=0), "features")
    again = read_manifest(run(dataset, extractor, tmp_path / "b", view=0, augment=None), "features")
    assert plain == again
    assert FeatureStore([tmp_path / "a" / "manifest.json"]).view("toy/a/00") is None


def test_the_geometry_is_part_of_the_content(dataset, extractor, tmp_path):
    """Images of one colour look alike in every view; their caches must not."""
    for name in dataset.images:
        dataset.images[name] = np.full((40, 40, 3), 128, np.uint8)
    still = ViewConfig(rotate=0, blur=0, scale_min=1.5, scale_max=1.5)
    paths = [run(dataset, extractor, tmp_path / str(v), view=v, augment=still) for v in (1, 2)]
    one, two = (FeatureStore([path]) for path in paths)
    assert torch.equal(*(torch.from_numpy(s.read("toy/a/00", "fine")) for s in (one, two)))
    assert len({read_manifest(path, "features")["digest"] for path in paths}) == 2
