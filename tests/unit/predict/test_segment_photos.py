"""Segmenting many photos into files."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tests.unit.predict.conftest import MATCHER
from tests.unit.predict.drawn import BLUE, photo, support
from umtfss.experiment.load import load_experiment
from umtfss.plan.plan import Plan
from umtfss.predict.outputs import Outputs
from umtfss.predict.photos import find_queries
from umtfss.predict.segment_photos import describe_lowest, segment_photos
from umtfss.predict.segmenter import Segmenter


@pytest.fixture
def folder(tmp_path):
    """Photos of a red box, of a blue box below it, and of a damaged file."""
    photo(tmp_path / "in/a.png", (0, 0, 60, 60))
    photo(tmp_path / "in/deep/b.jpg", (100, 50, 180, 110), colour=BLUE, quality=95)
    (tmp_path / "in/bad.jpg").write_bytes(b"no picture")
    return tmp_path


def segment(segmenter, folder, **settings):
    outputs = Outputs(folder / "out", segmenter.classes_, **settings)
    lines = []
    queries = find_queries([folder / "in"], outputs)
    records = segment_photos(segmenter, queries, outputs, lines.append)
    return records, lines


def test_masks_overlays_and_lists_are_written(two, folder):
    records, lines = segment(two, folder)
    out = folder / "out"
    masks = {name: Image.open(out / f"{name}.png") for name in ("a", "deep/b")}
    assert all(mask.mode == "P" for mask in masks.values())
    for record in records:
        if "error" not in record:
            found = np.array(masks[record["photo"]])
            np.testing.assert_array_equal(found, two.predict(folder / "in" / record["file"]))
            assert Image.open(out / f"{record['photo']}-overlay.png").size == (200, 120)
    assert (out / "classes.txt").read_text() == "blue\nred\n"
    rows = list(csv.DictReader((out / "scores.csv").read_text().splitlines()))
    assert [(row["photo"], row["object"]) for row in rows] == [
        (name, of) for name in ("a.png", "deep/b.jpg") for of in ("blue", "red")
    ]
    share = float((np.array(masks["a"]) == 2).mean())
    assert float(rows[1]["share"]) == pytest.approx(share, abs=1e-4)
    assert sum("red" in line for line in lines) == 2
    assert {path.name for path in (out / "deep").iterdir()} == {"b.png", "b-overlay.png"}


def test_one_bad_photo_is_reported_and_does_not_stop_the_others(two, folder):
    records, lines = segment(two, folder)
    assert [record["photo"] for record in records if "error" in record] == ["bad"]
    (line,) = [line for line in lines if "not segmented" in line]
    assert "bad.jpg" in line
    listed = json.loads((folder / "out/coco.json").read_text())["images"]
    assert [one["file_name"] for one in listed] == ["a.png", "deep/b.jpg"]


def test_it_goes_on_where_it_was(two, folder, monkeypatch):
    segment(two, folder)
    made = {path: path.stat().st_mtime_ns for path in (folder / "out").rglob("*.png")}
    lists = {name: (folder / "out" / name).read_text() for name in ("scores.csv", "coco.json")}
    (folder / "out/deep/b.png").unlink()  # a result was lost
    photo(folder / "in/bad.jpg", (0, 0, 60, 60))  # and the photo mended
    with open(folder / "out/results.jsonl", "a") as stream:
        stream.write('{"photo": "a", "fi')  # a call that was killed
    _, lines = segment(two, folder)
    assert lines.pop().startswith("already done: 1 of 3 photos")
    assert sorted(line.split(":")[0].rsplit("/", 1)[1] for line in lines) == ["b.png", "bad.png"]
    assert made[folder / "out/a.png"] == (folder / "out/a.png").stat().st_mtime_ns
    assert lists["scores.csv"] != (folder / "out/scores.csv").read_text()
    photo(folder / "in/a.png", (0, 0, 90, 90))
    assert [line.split(":")[0] for line in segment(two, folder)[1]] == [
        str(folder / "out/a.png"), "already done",
    ]  # fmt: skip
    two.min_score = 0.99
    assert len(segment(two, folder)[1]) == 3


def test_a_call_with_nothing_to_do_says_so_and_how_to_force_it(two, folder):
    (folder / "in/bad.jpg").unlink()
    segment(two, folder)
    (line,) = segment(two, folder)[1]
    assert line.startswith("already done: 2 of 2 photos")
    named = line.rsplit("delete ", 1)[1]
    assert named == str(folder / "out/results.jsonl")
    (folder / "out/results.jsonl").unlink()
    assert not [line for line in segment(two, folder)[1] if "already done" in line]


@pytest.mark.parametrize(
    ("lowest", "shots", "words"),
    [
        (None, [1, 5, 5], "below 0.146 with 1 shot, 0.289 with 5 shots are left out"),
        (None, [3], "below 0.217 with 3 shots are left out; --min-score"),
        (0.5, [1, 5], "below 0.5 are left out"),
        (-1.0, [1], "no object is left out"),
    ],
)
def test_the_limit_of_scores_is_told(lowest, shots, words):
    own = Plan(load_experiment("own_photos"))
    pair = Segmenter.of_run(own, replace(MATCHER, features="pair"))
    pair.min_score, pair._supports = lowest, [["a"] * number for number in shots]
    assert words in describe_lowest(pair)


def test_features_without_a_measured_limit_leave_nothing_out(two):
    assert describe_lowest(two) == "no object is left out for its score; --min-score sets a limit"


def test_lists_are_whole_after_an_interruption(two, folder, monkeypatch):
    whole = two.segment
    calls = []

    def interrupted(pixels):
        calls.append(pixels)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(pixels)

    monkeypatch.setattr(two, "segment", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment(two, folder)
    images = json.loads((folder / "out/coco.json").read_text())["images"]
    assert [one["file_name"] for one in images] == ["a.png"]
    _, lines = segment(two, folder)
    assert [line.split(":")[0] for line in lines] == [
        str(folder / "in/bad.jpg"), str(folder / "out/deep/b.png"), "already done",
    ]  # fmt: skip


def test_soft_masks_and_labelme_files_lie_beside_the_masks(two, folder):
    segment(two, folder, soft=True, labelme=True)
    soft = np.array(Image.open(folder / "out/a-soft-red.png"))
    red = np.array(Image.open(folder / "out/a.png")) == 2
    np.testing.assert_array_equal(soft > 127, red)
    assert (folder / "out/a-soft-blue.png").is_file()
    content = json.loads((folder / "out/deep/b.json").read_text())
    assert (folder / "out/deep" / content["imagePath"]).resolve() == folder / "in/deep/b.jpg"
    assert {shape["label"] for shape in content["shapes"]} == {"blue"}


def test_an_object_without_a_name_is_white(matcher, folder):
    image, mask, name = support(folder / "s")
    matcher.fit([image], [mask], [name])
    segment(matcher, folder, soft=True)
    found = Image.open(folder / "out/a.png")
    assert found.mode == "L"
    assert np.unique(found).tolist() == [0, 255]
    assert (folder / "out/a-soft.png").is_file()
    assert not (folder / "out/classes.txt").exists()
