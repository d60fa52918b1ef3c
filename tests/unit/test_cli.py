"""The command line."""

import sys
from unittest.mock import Mock

import pytest
from typer.testing import CliRunner

from tests.unit.predict.drawn import BLUE, colour_backbone, photo, support
from umtfss.cli import app
from umtfss.predict import onnx_files, segmenter


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(segmenter, "live_extractor", lambda *_: colour_backbone())
    support(tmp_path / "supports/red", "a")
    support(tmp_path / "supports/blue", "b", BLUE)
    photo(tmp_path / "photos/q.png", (0, 0, 60, 60))
    return tmp_path


PROTOTYPE = "prototype/training_free"
MATCHER = ("--experiment", "demo", "--run", "prototype", "--min-score", 0.9, "--device", "cpu")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--support-image", "a.jpg", "b.jpg", "--support-mask", "a.png", "b.png", "q.jpg"],
        ["q.jpg", "--support-image", "a.jpg", "b.jpg", "--support-mask", "a.png", "b.png"],
        ["--scores", "q.jpg", "--labelme", "r.jpg"],
    ],
)
def test_photos_in_two_places_are_refused(folder, arguments):
    result = run("predict", *arguments)
    assert result.exit_code == 2
    assert "photos to segment stand in two places" in " ".join(result.output.split())


def test_objects_of_a_folder_are_found(folder):
    result = run(
        "predict", *MATCHER, "--supports", "supports", "--out", "out", "--scores", "photos"
    )
    assert result.exit_code == 0, result.output
    assert "blue, red: 2 supports; prototype/training_free of demo" in result.output
    assert "objects with a score below 0.9 are left out" in result.output
    assert {path.name for path in (folder / "out").iterdir()} == {
        "q.png", "q-overlay.png", "q-soft-red.png", "q-soft-blue.png", "scores.csv", "coco.json",
        "classes.txt", "results.jsonl",
    }  # fmt: skip


def test_a_photo_that_was_not_segmented_makes_the_status_1(folder):
    (folder / "photos/bad.jpg").write_text("")
    one = ("--support-image=supports/red/a.jpg", "--support-mask=supports/red/a.png")
    result = run("predict", *MATCHER, *one, "photos")
    assert result.exit_code == 1
    assert "1 of 2 photos were not segmented" in result.output
    assert (folder / "predictions/q.png").is_file()


def test_an_exported_model_is_used(folder):
    result = run("export", "m.safetensors", *MATCHER[:4])
    assert result.exit_code == 0, result.output
    shown = ("--supports", "supports", "--min-score", 0.9)
    result = run("predict", "--model", "m.safetensors", *shown, "photos/q.png")
    assert result.exit_code == 0, result.output
    assert "m.safetensors" in result.output
    assert run("export", "m.pt").exit_code == 2


def test_onnx_takes_a_size_and_packages_of_an_extra(folder, monkeypatch):
    asked = ("export", "m.safetensors", *MATCHER[:4], "--onnx")
    result = run(*asked, "640")
    assert result.exit_code == 2
    assert "as in 640x480" in " ".join(result.output.split())
    monkeypatch.setattr(onnx_files, "live_extractor", lambda *_: colour_backbone())
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    result = run(*asked, "640x480")
    assert result.exit_code == 1
    assert "pip install 'umtfss[onnx]'" in result.output


def test_errors_are_told_in_words(folder):
    result = run("predict", *MATCHER, "photos/q.png")
    assert result.exit_code == 1
    assert "DataError: it is not clear which photos show the objects" in result.output
    result = run("predict", *MATCHER[:-1], "moon", "--supports", "supports", "photos/q.png")
    assert "ConfigError: the device 'moon' cannot be used" in result.output


def test_the_best_run_is_served_too(folder, monkeypatch):
    from umtfss.predict.segmenter import Segmenter
    from umtfss.predict.serve import server

    made, served = [], []
    monkeypatch.setattr(Segmenter, "of_run", lambda _, run, __: made.append(run.path) or Mock())
    monkeypatch.setattr(server, "serve", lambda segmenters, *_: served.append(segmenters))
    for name, runs in (
        ("best", ["shapes/umtfss/unsup-all/seed0", PROTOTYPE]),
        ("prototype", [PROTOTYPE]),
    ):
        made.clear()
        result = run("serve", "--experiment", "demo", "--run", name, "--min-score", 0.5)
        assert result.exit_code == 0, result.output
        assert made == runs
        segmenters = served.pop()
        assert [one.min_score for one in segmenters.values()] == [0.5] * len(runs)


def test_curves_without_tensorboard_name_the_extra(folder, monkeypatch):
    log = folder / "results/demo/training/shapes/umtfss/unsup-all/seed0/log.csv"
    log.parent.mkdir(parents=True)
    log.write_text("step,loss,iou,rate\n10,0.5,0.25,0.1\n")
    asked = ("tensorboard", "--experiment", "demo", "--out", "curves")
    result = run(*asked)
    assert "1 trainings; to look at them: tensorboard --logdir curves" in result.output
    assert len(list(folder.glob("curves/shapes/umtfss/unsup-all/seed0/events*"))) == 1
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    result = run(*asked)
    assert result.exit_code == 1
    assert "pip install 'umtfss[tensorboard]'" in result.output
