"""A run as one file with a card."""

from pathlib import Path

import numpy as np

from tests.unit.predict.conftest import MATCHER
from tests.unit.predict.drawn import photo, support
from umtfss.common.manifests import write_manifest
from umtfss.evaluation.miou import EpisodeScores
from umtfss.evaluation.results import save_results
from umtfss.models.build import build_model
from umtfss.plan.jobs.train_model import TrainModel
from umtfss.predict.export import export_run
from umtfss.predict.segmenter import Segmenter
from umtfss.training.checkpoint import MANIFEST, WEIGHTS, save_weights


def train(plan, run) -> None:
    """A run's weights as a training leaves them."""
    folder = Path(plan.paths.training_folder(run))
    read = plan.features.model_features(run)
    model = build_model(run.model, plan.runs.model_settings(run), read.mid_channels)
    save_weights(folder / WEIGHTS, model)
    settings = TrainModel.of_run(plan, run).made_with()
    scales = {"block14": 0.5, "block20": 2.0}
    facts = {"settings": settings, "mid_scales": scales}
    write_manifest(folder / MANIFEST, "training", files=[folder / WEIGHTS], **facts)


def test_an_exported_run_finds_what_the_run_finds(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run, (image, mask, name) = plan.runs.main_run, support(tmp_path)
    train(plan, run)
    export_run(plan, run, tmp_path / "m.safetensors")
    photo(tmp_path / "q.png", (100, 0, 180, 60))
    one, other = Segmenter.of_run(plan, run), Segmenter.load(tmp_path / "m.safetensors")
    found, again = (s.fit([image], [mask], [name]).segment("q.png") for s in (one, other))
    np.testing.assert_array_equal(found.soft, again.soft)
    assert one.digest == other.digest
    unscaled = Segmenter(one.recipe.__class__(**{**vars(one.recipe), "mid_scales": {}}), one._model)
    assert (unscaled.fit([image], [mask]).segment("q.png").soft != found.soft).any()


def test_the_card_says_where_the_model_comes_from(plan, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = plan.runs.main_run
    train(plan, run)
    spec = next(one for one in plan.runs.evaluations.values() if one.run == run)
    scores = EpisodeScores(*(np.array([value]) for value in (7, 30, 120, 0)))
    save_results(plan.paths.evaluation(spec), {2: {0: scores}}, classes={2: [7]}, facts={})
    export_run(plan, run, tmp_path / "m.safetensors")
    card = (tmp_path / "m.md").read_text()
    for text in (
        f"`{run.path}` of experiment `demo`",
        "pseudo-tasks without labels of shapes/train: 300 steps of 4 episodes",
        "EfficientNet-Lite2",
        f"| {spec.dataset} | none | {spec.shot} | 2 | 25.0 |",
        'Segmenter.load("m.safetensors")',
    ):
        assert text in card
    export_run(plan, MATCHER, tmp_path / "p.safetensors")
    card = (tmp_path / "p.md").read_text()
    assert "not at all" in card
    assert "not tested" in card
