"""Segmenting a user's own photos."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as nnf

from umtfss.backbones.extractor import Extractor
from umtfss.common.errors import DataError, StoreError, WeightsError
from umtfss.common.manifests import write_manifest
from umtfss.evaluation import trained
from umtfss.experiment.backbones import BackboneSpec
from umtfss.experiment.load import load_experiment
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.plan.plan import Plan
from umtfss.plan.run import RunSpec
from umtfss.predict import find_queries, output_paths, segment, write_prediction
from umtfss.training.checkpoint import MANIFEST

MATCHER = RunSpec("prototype")

RED, GREEN = (220, 20, 20), (20, 160, 20)


class Colours(nn.Module):
    """A level is the mean colour of patches of 10 px."""

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return dict.fromkeys(("block14", "block20"), nnf.avg_pool2d(images, 10))


@pytest.fixture
def plan(monkeypatch) -> Plan:
    """The demo, whose backbone sees colours alone."""
    spec = BackboneSpec(
        name="colours", title="", stride=10, multiple=10, align_corners=False, mean=(0.5,) * 3,
        std=(1, 1, 1), channels={"block14": 3, "block20": 3}, pixel_flop={}, token_flop={},
        source=None, official="",
    )  # fmt: skip
    monkeypatch.setattr(
        trained,
        "live_extractor",
        lambda *_: Extractor(spec, ["block14", "block20"], Colours(), "d"),
    )
    return Plan(load_experiment("demo"))


def photo(path: Path, box: tuple[int, int, int, int], size=(200, 120), **save) -> np.ndarray:
    """Write a red box on green, and return where it is, (H, W) bool."""
    image = Image.new("RGB", size, GREEN)
    image.paste(RED, box)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **save)
    red = np.zeros(size[::-1], bool)
    red[box[1] : box[3], box[0] : box[2]] = True
    return red


def support(folder: Path, name: str = "support") -> tuple[Path, Path]:
    """A photo with the mask of its box, white on black."""
    image, mask = folder / f"{name}.png", folder / f"{name}-mask.png"
    red = photo(image, (20, 20, 100, 80))
    Image.fromarray(red.astype(np.uint8) * 255).save(mask)
    return image, mask


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


def test_the_object_is_found_at_the_photos_size(plan, tmp_path):
    supports = [support(tmp_path), support(tmp_path, "second")]
    queries = [tmp_path / "wide.png", tmp_path / "tall.png"]
    true = [photo(queries[0], (100, 0, 180, 60)), photo(queries[1], (0, 100, 90, 260), (130, 300))]
    found = list(segment(plan, MATCHER, supports, queries))
    for mask, expected in zip(found, true, strict=True):
        assert mask.shape == expected.shape
        assert iou(mask, expected) > 0.85
    alone = next(segment(plan, MATCHER, supports, queries[1:]))
    np.testing.assert_array_equal(alone, found[1])  # it does not depend on the other photos


def test_photos_are_turned_upright(plan, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: to be turned by 90 degrees
    photo(tmp_path / "turned.png", (100, 0, 180, 60), exif=exif)
    mask = next(segment(plan, MATCHER, [support(tmp_path)], [tmp_path / "turned.png"]))
    assert mask.shape == (200, 120)
    assert mask[110:170, 70:110].all()
    assert not mask[:90].any()


def test_a_value_of_a_palette_mask_is_picked(plan, tmp_path):
    image, path = support(tmp_path)
    mask = np.array(Image.open(path)) // 255 * 7
    mask[90:, :] = 3  # another class
    mask[85:90, :] = 255  # ignored
    labels = Image.fromarray(mask, mode="P")
    labels.putpalette(list(range(256)) * 3)
    labels.save(path)
    true = photo(tmp_path / "query.png", (100, 0, 180, 60))
    found = next(segment(plan, MATCHER, [(image, path)], [tmp_path / "query.png"], value=7))
    assert iou(found, true) > 0.85
    with pytest.raises(DataError, match=r"shows no object(?s:.*)has the value 4"):
        next(segment(plan, MATCHER, [(image, path)], [tmp_path / "query.png"], value=4))
    mask[mask != 7] = 255
    Image.fromarray(mask).save(path)
    with pytest.raises(DataError, match="shows no background"):
        next(segment(plan, MATCHER, [(image, path)], [tmp_path / "query.png"], value=7))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda mask: np.zeros_like(mask), "shows no object"),
        (lambda mask: np.full_like(mask, 255), "shows no background"),
        (lambda mask: mask[:, :-1], r"expected: 200 x 120 px(?s:.*)found:    199 x 120"),
        (lambda mask: mask.T, "turn the mask as the photo is shown"),
    ],
)
def test_a_mask_that_cannot_be_used_is_named(plan, tmp_path, spoil, message):
    image, path = support(tmp_path)
    Image.fromarray(np.ascontiguousarray(spoil(np.array(Image.open(path))))).save(path)
    with pytest.raises(DataError, match=rf"support-mask\.png(?s:.*){message}"):
        next(segment(plan, MATCHER, [(image, path)], [image]))


def test_a_photo_is_one_shot(plan, tmp_path):
    with pytest.raises(DataError, match="each once"):
        next(segment(plan, MATCHER, [support(tmp_path)] * 2, [tmp_path / "support.png"]))


def test_an_untrained_run_says_how_to_train_it(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"has not been trained(?s:.*)--config experiment=demo --"):
        next(segment(plan, plan.runs.main_run, [support(tmp_path)], [tmp_path / "support.png"]))


def test_weights_of_other_settings_are_refused(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, pair = plan.runs.main_run, support(tmp_path)
    behind = TrainModel.of_run(plan, run).made_with()
    manifest = Path(plan.paths.training_folder(run)) / MANIFEST

    def segment_after(settings):
        write_manifest(manifest, "training", "0", settings=settings)
        next(segment(plan, run, [pair], [pair[0]]))

    with pytest.raises(StoreError, match=r"pool\.clusters 99(?s:.*)experiment=demo --"):
        segment_after({**behind, "pool": {**behind["pool"], "clusters": 99}})
    with pytest.raises(WeightsError, match=r"weights\.safetensors"):  # which come next
        segment_after(behind)


def test_photos_that_cannot_be_read_are_named_before_any_is_segmented(plan, tmp_path):
    photo(tmp_path / "good.png", (0, 0, 9, 9))
    for name in ("bad.png", "worse.png"):
        (tmp_path / name).write_bytes(b"no picture")
    queries = [tmp_path / f"{name}.png" for name in ("good", "bad", "worse")]
    with pytest.raises(DataError, match=r"2 of 3 photos(?s:.*)bad\.png(?s:.*)worse\.png"):
        next(segment(plan, MATCHER, [support(tmp_path)], queries))


def test_folders_are_searched_and_results_have_names_of_their_own(tmp_path):
    for name in ("in/a.png", "in/deep/a.jpg", "b.JPG"):
        photo(tmp_path / name, (0, 0, 9, 9))
    found = find_queries([tmp_path / "in", tmp_path / "b.JPG"], tmp_path / "out")
    assert [query.name for query in found] == ["a", "deep/a", "b"]
    photo(tmp_path / "in/a.webp", (0, 0, 9, 9))
    with pytest.raises(DataError, match=r"out/a\.png(?s:.*)a\.png and .*a\.webp"):
        find_queries([tmp_path / "in"], tmp_path / "out")


@pytest.mark.parametrize(("name", "found"), [("no.jpg", "nothing there"), ("x.txt", "another")])
def test_what_is_no_photo_is_refused(tmp_path, name, found):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(DataError, match=found):
        find_queries([tmp_path / name], tmp_path / "out")


def test_no_photo_is_overwritten(tmp_path):
    photo(tmp_path / "a.png", (0, 0, 9, 9))
    with pytest.raises(DataError, match=r"overwrite .*a\.png"):
        find_queries([tmp_path / "a.png"], tmp_path)
    find_queries([tmp_path / "a.png"], tmp_path / "out")


def test_no_support_mask_is_overwritten(tmp_path):
    photo(tmp_path / "photos/dog.jpg", (0, 0, 9, 9))
    pair = support(tmp_path)
    mask = pair[1].rename(tmp_path / "dog.png")
    with pytest.raises(DataError, match=r"overwrite .*dog\.png"):
        find_queries([tmp_path / "photos"], tmp_path, [(pair[0], mask)])


def test_a_mask_does_not_replace_the_overlay_of_another_photo(tmp_path):
    for name in ("dog.jpg", "dog-overlay.jpg"):
        photo(tmp_path / "photos" / name, (0, 0, 9, 9))
    with pytest.raises(DataError, match=r"out/dog-overlay\.png(?s:.*)dog\.jpg and|and .*dog\.jpg"):
        find_queries([tmp_path / "photos"], tmp_path / "out")


def test_results_below_the_searched_folder_are_no_photos(tmp_path):
    photo(tmp_path / "photos/a.jpg", (0, 0, 9, 9))
    folder = tmp_path / "photos/found"
    for _ in range(2):
        (query,) = find_queries([tmp_path / "photos"], folder)
        write_prediction(np.ones((120, 200), bool), query, folder)
    assert {path.name for path in folder.iterdir()} == {"a.png", "a-overlay.png"}


def test_mask_and_overlay_are_written(tmp_path):
    red = photo(tmp_path / "in/deep/a.png", (100, 0, 180, 60))
    (query,) = find_queries([tmp_path / "in"], tmp_path / "out")
    write_prediction(red, query, tmp_path / "out")
    mask, picture = (Image.open(path) for path in output_paths(tmp_path / "out", query))
    assert mask.mode == "L"
    np.testing.assert_array_equal(np.array(mask), red * 255)
    assert picture.size == mask.size
    assert {p.name for p in (tmp_path / "out/deep").iterdir()} == {"a.png", "a-overlay.png"}
