"""The few-shot segmenter."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.unit.predict.conftest import MATCHER
from tests.unit.predict.drawn import BLUE, RED, colour_backbone, iou, photo, support
from umtfss.common.errors import DataError, StoreError, WeightsError
from umtfss.common.files import PACKAGE_ROOT
from umtfss.common.manifests import write_manifest
from umtfss.experiment.backbones import backbone_spec
from umtfss.experiment.load import load_experiment
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.plan.plan import Plan
from umtfss.predict import segmenter
from umtfss.predict.segmenter import Segmenter
from umtfss.training.checkpoint import MANIFEST, WEIGHTS


def fitted(matcher, *supports):
    images, masks, names = zip(*supports, strict=True)
    return matcher.fit(images, masks, names)


def test_the_object_is_found_at_the_photos_size(matcher, tmp_path):
    fitted(matcher, support(tmp_path), support(tmp_path, "second"))
    queries = [tmp_path / "wide.png", tmp_path / "tall.png"]
    true = [photo(queries[0], (100, 0, 180, 60)), photo(queries[1], (0, 100, 90, 260), (130, 300))]
    found = [matcher.predict(query) for query in queries]
    for labels, expected in zip(found, true, strict=True):
        assert labels.shape == expected.shape
        assert iou(labels == 1, expected) > 0.85
    np.testing.assert_array_equal(matcher.predict(str(queries[0])), found[0])  # no trace of others
    np.testing.assert_array_equal(matcher.predict(np.array(Image.open(queries[1]))), found[1])


def test_arrays_show_an_object_as_files_do(matcher, tmp_path):
    one = support(tmp_path)
    photo(tmp_path / "query.png", (100, 0, 180, 60))
    found = fitted(matcher, one).segment(tmp_path / "query.png")
    image = np.array(Image.open(one.image))
    for mask in (np.array(Image.open(one.mask)), np.array(Image.open(one.mask)) > 0):
        again = matcher.fit([image], [mask]).segment(tmp_path / "query.png")
        np.testing.assert_array_equal(again.labels, found.labels)
        np.testing.assert_array_equal(again.scores, found.scores)


def test_each_pixel_has_the_best_of_several_objects_or_none(two, tmp_path):
    red = photo(tmp_path / "q.png", (0, 0, 60, 60))
    image = Image.open(tmp_path / "q.png")
    image.paste(BLUE, (100, 50, 180, 110))
    image.save(tmp_path / "q.png")
    labels, scores = two.predict(tmp_path / "q.png", return_scores=True)
    assert two.classes_ == ("blue", "red")
    assert iou(labels == 2, red) > 0.85
    blue = np.zeros_like(red)
    blue[50:110, 100:180] = True
    assert iou(labels == 1, blue) > 0.85
    assert scores.shape == (2,)
    assert (scores > 0.9).all()


def test_the_score_is_the_mean_cosine_where_the_object_is_found(matcher, tmp_path):
    size = (280, 160)  # what the backbone sees, in patches of 10 px
    photo(tmp_path / "support.png", (100, 50, 180, 110), size)
    mask = np.zeros(size[::-1], bool)
    mask[50:110, 100:180] = True
    matcher.fit([tmp_path / "support.png"], [mask])
    photo(tmp_path / "query.png", (40, 20, 200, 100), size, (200, 60, 90))
    found = matcher.segment(tmp_path / "query.png")

    def patches(values):
        return values.reshape(16, 10, 28, 10, -1).mean((1, 3))

    tokens = patches(np.array(Image.open(tmp_path / "query.png")) / 255 - 0.5)
    tokens /= np.linalg.norm(tokens, axis=2, keepdims=True)
    red = np.array(RED) / 255 - 0.5
    weights = patches((found.labels == 1).astype(float))[..., 0]
    expected = (weights * (tokens @ red / np.linalg.norm(red))).sum() / weights.sum()
    assert found.scores[0] == pytest.approx(expected, abs=2e-3)
    assert 0.5 < found.scores[0] < 0.99


def test_an_object_with_a_low_score_leaves_its_pixels_to_others(two, tmp_path):
    photo(tmp_path / "q.png", (0, 0, 60, 60), colour=(150, 20, 120))  # between red and blue
    labels, scores = two.predict(tmp_path / "q.png", return_scores=True)
    best, other = (int(one) for one in np.argsort(-scores))
    assert (labels == best + 1).any()
    two.min_score = float(scores[best]) + 0.001
    assert not two.predict(tmp_path / "q.png").any()
    two.min_score = float(scores[best])
    assert set(np.unique(two.predict(tmp_path / "q.png"))) == {0, best + 1}
    assert scores[other] < scores[best]


def test_the_lowest_score_is_that_measured_for_the_features_and_shots(plan, matcher, tmp_path):
    fitted(matcher, support(tmp_path))
    assert matcher.lowest_scores.tolist() == [-1]  # not measured for the demo's features
    own = Plan(load_experiment("own_photos"))
    pair = Segmenter.of_run(own, replace(MATCHER, features="pair"))
    pair._supports = [["a"] * shots for shots in (1, 3, 5, 9)]
    assert pair.lowest_scores == pytest.approx([0.146, (0.146 + 0.289) / 2, 0.289, 0.289])
    pair.min_score = 0.5
    assert pair.lowest_scores.tolist() == [0.5] * 4


def test_soft_masks_cross_one_half_where_the_object_ends(two, tmp_path):
    red = photo(tmp_path / "q.png", (40, 20, 160, 100))
    found = two.segment(tmp_path / "q.png")
    np.testing.assert_array_equal(found.soft[1] > 0.5, found.labels == 2)
    assert found.soft[1][red].mean() > 0.9
    assert found.soft[1][~red].mean() < 0.2


def test_no_region_is_smaller_than_a_cell_of_the_grid(two, tmp_path, monkeypatch):
    difference = np.full((120, 200), -1.0, np.float32)
    difference[10:16, 10:19] = 1  # 54 px; a cell has 120 * 200 / (16 * 28) = 53.6 px
    difference[60:65, 50:60] = 1  # 50 px
    monkeypatch.setattr(two, "_difference", lambda *_: difference)
    photo(tmp_path / "q.png", (0, 0, 60, 60))
    expected = np.zeros_like(difference, bool)
    expected[10:16, 10:19] = True
    np.testing.assert_array_equal(two.predict(tmp_path / "q.png") > 0, expected)


def test_photos_are_turned_upright(matcher, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # stored lying: to be turned by 90 degrees
    photo(tmp_path / "turned.png", (100, 0, 180, 60), exif=exif)
    labels = fitted(matcher, support(tmp_path)).predict(tmp_path / "turned.png")
    assert labels.shape == (200, 120)
    assert labels[110:170, 70:110].all()
    assert not labels[:90].any()


def test_an_array_that_cannot_be_used_is_named_by_its_place(matcher, tmp_path):
    one = support(tmp_path)
    fitted(matcher, one)
    image, mask = (np.array(Image.open(path)) for path in (one.image, one.mask))
    for masks, message in (
        ([mask, 0 * mask], r"masks\[1\] shows no object"),
        ([mask], "2 images, 1 masks"),
    ):
        with pytest.raises(DataError, match=message):
            matcher.fit([image, image], masks)
    with pytest.raises(DataError, match="photo cannot be read as a colour image"):
        matcher.predict(image / 255)
    assert matcher.predict(image).any()  # it is what it was


def test_an_unfitted_segmenter_says_so(matcher, tmp_path):
    photo(tmp_path / "q.png", (0, 0, 9, 9))
    with pytest.raises(ValueError, match="call fit"):
        matcher.predict(tmp_path / "q.png")


def test_the_digest_follows_what_is_shown(plan, tmp_path):
    def digest(*supports, **changes):
        one = Segmenter.of_run(plan, MATCHER)
        vars(one).update(changes)
        return fitted(one, *supports).digest

    red, blue = support(tmp_path), support(tmp_path, "blue", BLUE)
    assert digest(red) == digest(red)
    others = [digest(blue), digest(red, blue), digest(red._replace(name="x")),
              digest(red._replace(mask=mask_of(tmp_path))), digest(red, min_score=0.9)]  # fmt: skip
    assert len({digest(red), *others}) == 6


def mask_of(folder: Path) -> Path:
    mask = np.zeros((120, 200), np.uint8)
    mask[30:60, 30:60] = 255
    Image.fromarray(mask).save(folder / "other.png")
    return folder / "other.png"


def test_another_backbone_than_the_models_is_refused(plan, tmp_path, monkeypatch):
    found = Segmenter.of_run(plan, MATCHER)
    one = Segmenter(found.recipe, found._model, backbone="colours")
    fitted(one, support(tmp_path))
    monkeypatch.setattr(segmenter, "live_extractor", lambda *_: colour_backbone("others"))
    one = Segmenter(found.recipe, found._model, backbone="colours")
    with pytest.raises(WeightsError, match=r"backbone colours(?s:.*)digest others"):
        fitted(one, support(tmp_path))


def test_an_untrained_run_says_how_to_train_it(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StoreError, match=r"has not been trained(?s:.*)--config experiment=demo --"):
        Segmenter.of_run(plan, plan.runs.main_run)


def test_weights_of_other_settings_are_refused(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = plan.runs.main_run
    behind = TrainModel.of_run(plan, run).made_with()
    folder = Path(plan.paths.training_folder(run))

    def load_after(settings):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS).touch()
        write_manifest(folder / MANIFEST, "training", files=[folder / WEIGHTS], settings=settings)
        (folder / WEIGHTS).unlink()
        Segmenter.of_run(plan, run)

    with pytest.raises(StoreError, match=r"pool\.clusters 99(?s:.*)experiment=demo --"):
        load_after({**behind, "pool": {**behind["pool"], "clusters": 99}})
    with pytest.raises(StoreError, match=r"weights\.safetensors"):  # which come next
        load_after(behind)


def test_nothing_is_computed_before_all_masks_are_checked(matcher, tmp_path, monkeypatch):
    monkeypatch.setattr(segmenter, "live_extractor", lambda *_: pytest.fail("loaded"))
    bad = support(tmp_path, "bad", RED)
    Image.new("L", (200, 120)).save(bad.mask)
    with pytest.raises(DataError, match="shows no object"):
        fitted(matcher, support(tmp_path), bad)


def test_the_code_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pair = colour_backbone("", backbone_spec("vits14_lite2"), ("fused",))
    monkeypatch.setattr(segmenter, "live_extractor", lambda *_: pair)
    image, mask, _ = support(tmp_path)
    image.rename("dog.jpg")
    mask.rename("dog-mask.png")
    photo(tmp_path / "another.jpg", (100, 0, 180, 60))
    page = (PACKAGE_ROOT / "docs/python.md").read_text()
    names: dict = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    assert names["labels"].shape == (120, 200)
    assert names["labels"].any()
    assert names["scores"].shape == (1,)


def test_leaving_out_a_support_is_fitting_to_the_others(matcher, tmp_path):
    shown = [support(tmp_path / "s", name, of="red") for name in ("a", "b")]
    box = photo(tmp_path / "s" / "c.jpg", (100, 30, 180, 110), colour=(200, 60, 90))
    mask = np.where(box, 255, 0).astype(np.uint8)
    mask[:, :120] = np.where(box, 3, 0)[:, :120]  # the object is labelled 3, the rest ignored
    masks = [np.where(np.array(Image.open(one.mask)) > 0, 3, 0) for one in shown] + [mask]
    images = [one.image for one in shown] + [tmp_path / "s" / "c.jpg"]
    names = ["red"] * 3
    images.append(support(tmp_path / "s", "alone", BLUE).image)
    masks.append(masks[0])
    found = matcher.fit(images, masks, [*names, "blue"], mask_value=3).leave_one_out()
    assert list(found) == ["red"]  # of the blue object one support alone is known
    for number in range(3):
        rest = [i for i in range(3) if i != number]
        alone = matcher.fit([images[i] for i in rest], [masks[i] for i in rest], mask_value=3)
        alone.min_score = -1
        labels, known = alone.predict(images[number]) == 1, masks[number] != 255
        assert found["red"][number] == pytest.approx(
            iou(labels & known, (masks[number] == 3) & known)
        )
    assert len(set(found["red"])) > 1


def test_only_a_fitted_segmenter_leaves_out_supports(matcher):
    with pytest.raises(ValueError, match="fitted segmenter"):
        matcher.leave_one_out()
