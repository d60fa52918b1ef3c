"""Evaluation on real VOC masks: what a grid of tokens can express at best, and live features."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from umtfss.common.errors import WeightsError
from umtfss.data.catalog import Catalog
from umtfss.data.voc import VocDataset
from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.images import EpisodeImages
from umtfss.evaluation.miou import summarise
from umtfss.evaluation.scores import ScoringOptions, evaluate
from umtfss.evaluation.trained import live_features
from umtfss.experiment.load import load_experiment
from umtfss.features.geometry import GridGeometry, mask_to_grid
from umtfss.models.prototype import PrototypeMatcher
from umtfss.plan.cells import floor_run
from umtfss.plan.plan import Plan


class TrueTokens:
    """A token's feature is the part of it that a class covers."""

    def __init__(self, labels: dict[str, np.ndarray], align_corners: bool) -> None:
        self.labels = labels
        self.geometry = GridGeometry({"part": 20}, 60, 1, 1, align_corners)

    def image_size(self, image_id: str) -> tuple[int, int]:
        height, width = self.labels[image_id].shape
        return height, width

    def grid(self, image_id: str) -> tuple[int, int]:
        height, width = self.image_size(image_id)
        scale = 60 / max(height, width)
        return round(height * scale), round(width * scale)

    def read(self, image_id: str, level: str) -> np.ndarray:
        labels, grid = self.labels[image_id], self.grid(image_id)
        parts = np.zeros((*grid, 20), np.float16)
        for label in np.unique(labels[(labels > 0) & (labels < 255)]):
            mask = np.where(labels == 255, 255, labels == label).astype(np.uint8)
            parts[..., label - 1] = mask_to_grid(mask, grid, self.geometry.align_corners)[0]
        return parts


class Oracle(nn.Module):
    """Foreground where the class covers over half a token; the class is told by the supports."""

    def forward(self, batch: EpisodeBatch) -> Tensor:
        overlap = (batch.support_high[:, 0] * batch.support_mask).sum((2, 3))
        label = (overlap / batch.support_high[:, 0].square().sum((2, 3)).clamp(min=1e-6)).argmax(1)
        part = batch.query_high[torch.arange(len(batch)), label]
        return torch.stack([0.5 - part, part - 0.5], 1)


@pytest.mark.parametrize("align_corners", [False, True])
def test_true_tokens_give_back_the_true_mask(data_root: Path, align_corners: bool) -> None:
    """Were tokens misplaced by one, the mIoU of a 60 x 60 grid would be far lower."""
    dataset = VocDataset("pascal", data_root / "voc2012")
    catalog = Catalog({"pascal": dataset})
    ids = [f"pascal/{image_id}" for image_id in dataset.ids("val")[:60]]
    masks = {image_id: catalog.mask(image_id) for image_id in ids}
    pools: dict[int, list[int]] = {}
    for row, mask in enumerate(masks.values()):
        labels, areas = np.unique(mask, return_counts=True)
        for label, area in zip(labels, areas, strict=True):
            if 0 < label < 255 and area >= 20_000:
                pools.setdefault(int(label), []).append(row)
    pairs = [(label, *rows[:2]) for label, rows in pools.items() if len(rows) > 1]
    assert len(pairs) >= 5
    labels, queries, supports = np.array(pairs).T
    episodes = EpisodeList(ids, queries, labels, supports[:, None], "real")
    images = EpisodeImages(catalog, TrueTokens(masks, align_corners))
    scores = evaluate(
        Oracle(), episodes, images, ScoringOptions(["part"], "part", 4), progress=False
    )
    assert summarise(scores).miou > 0.96


def test_photos_are_tested_live(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The training-free floor finds big objects in photos that have no cache of features."""
    monkeypatch.setenv("UMTFSS_DATA_ROOT", str(data_root))
    experiment = load_experiment("voc_cpu")
    vit = experiment.features["vit"].model_copy(update={"cache": False, "mid_std": None})
    plan = Plan(experiment.model_copy(update={"features": experiment.features | {"vit": vit}}))
    floor = floor_run(experiment)
    features = plan.features.model_features(floor)
    dataset, cat = VocDataset("pascal", data_root / "voc2012"), 8
    catalog = Catalog({"pascal": dataset})
    assert features.live is not None
    try:
        live = live_features(features.live, catalog, torch.device("cpu"))
    except WeightsError as error:
        pytest.skip(str(error))
    images = EpisodeImages(catalog, live)
    rows = (f"pascal/{i}" for i in dataset.ids("val") if (dataset.mask(i) == cat).mean() > 0.2)
    ids = [next(rows) for _ in range(4)]
    pairs = np.array([[0, 1], [1, 2], [2, 3], [3, 0]])
    episodes = EpisodeList(ids, pairs[:, 0], np.full(4, cat), pairs[:, 1:], "real")
    scores = evaluate(
        PrototypeMatcher(plan.runs.model_settings(floor)),
        episodes,
        images,
        ScoringOptions(features.mid, features.high, 4),
        progress=False,
    )
    assert max(images.grid(ids[0])) == features.long_side // 14
    for place, image_id in enumerate(ids):
        label = dataset.mask(image_id.split("/")[1])
        assert scores.union[place] + scores.bg_intersection[place] == (label != 255).sum()
    assert summarise(scores).miou > 0.5
