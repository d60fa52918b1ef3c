"""Testing a model on episodes."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as nnf

from umtfss.episodes.batch import EpisodeBatch
from umtfss.episodes.episode import EpisodeList
from umtfss.evaluation.images import EpisodeImages, room_on
from umtfss.evaluation.scores import ScoringOptions, evaluate, predicted_scores
from umtfss.experiment.evaluation import RefineConfig
from umtfss.features.geometry import GridGeometry

CLASS = 7


class World:
    """Images of several sizes; the feature of a token is whether it is of the class."""

    def __init__(self, align_corners: bool = False) -> None:
        self.geometry = GridGeometry({"low": 2, "top": 1}, 96, 8, 8, align_corners)
        self.reads: list[tuple[str, str]] = []
        rng = np.random.default_rng(0)
        self.labels = {}
        for place in range(6):
            height, width = (int(n) for n in rng.integers(60, 200, 2))
            label = np.zeros((height, width), np.uint8)
            label[height // 4 : height // 2, width // 3 : -5] = CLASS
            label[-9:] = 255
            label[:5, :5] = 2
            self.labels[f"a/{place}"] = label

    def grid(self, image_id: str) -> tuple[int, int]:
        height, width = self.labels[image_id].shape
        scale = 12 / max(height, width)
        return max(1, round(height * scale)), max(1, round(width * scale))

    def image_size(self, image_id: str) -> tuple[int, int]:
        return self.labels[image_id].shape

    def read(self, image_id: str, level: str) -> np.ndarray:
        self.reads.append((image_id, level))
        mask = torch.from_numpy(self.labels[image_id] == CLASS).float()[None, None]
        tokens = nnf.interpolate(mask, self.grid(image_id), mode="area")[0, 0].numpy()
        return np.repeat(tokens[..., None], self.geometry.channels[level], 2).astype(np.float16)

    def image(self, qualified: str) -> np.ndarray:
        return np.zeros((*self.labels[qualified].shape, 3), np.uint8)

    def mask(self, qualified: str) -> np.ndarray:
        self.reads.append((qualified, "mask"))
        return self.labels[qualified]


class ReadsTheFeature(nn.Module):
    """Foreground where the query's high feature is over a half; says what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[int] = []

    def forward(self, batch: EpisodeBatch) -> Tensor:
        assert batch.target is None
        assert not self.training
        self.keys += batch.key.tolist()
        foreground = batch.query_high[:, 0] - 0.5
        return torch.stack([-foreground, foreground], 1) + 100 * batch.query_high.mean()


def episodes(count: int = 17, shot: int = 2) -> EpisodeList:
    rng = np.random.default_rng(1)
    rows = np.array([rng.permutation(6)[: shot + 1] for _ in range(count)])
    ids = [f"a/{place}" for place in range(6)]
    return EpisodeList(ids, rows[:, 0], np.full(count, CLASS), rows[:, 1:], "test")


def options(**given) -> ScoringOptions:
    return ScoringOptions(["low"], "top", **{"batch_size": 4, **given})


@pytest.mark.parametrize("align", [False, True])
def test_agrees_with_upsampling_both_logits_one_by_one(align: bool) -> None:
    world = World(align)
    scores = evaluate(
        ReadsTheFeature(), episodes(), EpisodeImages(world, world), options(), progress=False
    )
    assert len(scores) == 17
    for place, episode in enumerate(episodes()):
        feature = torch.from_numpy(world.read(episode.query, "top")).float().permute(2, 0, 1) - 0.5
        label = world.labels[episode.query]
        logits = torch.cat([-feature, feature])[None]
        upsampled = nnf.interpolate(logits, label.shape, mode="bilinear", align_corners=align)
        predicted = upsampled[0].argmax(0).numpy() == 1
        true, known = label == CLASS, label != 255
        assert scores.class_id[place] == CLASS
        assert scores.intersection[place] == (predicted & true).sum()
        assert scores.union[place] == ((predicted | true) & known).sum()
        assert scores.bg_intersection[place] == (~predicted & ~true & known).sum()
        assert scores.intersection[place] > 0.6 * scores.union[place]


def test_the_batch_size_changes_nothing_but_the_batches() -> None:
    world, results = World(), []
    for size in (1, 5, 64):
        model = ReadsTheFeature()
        scores = evaluate(
            model, episodes(), EpisodeImages(world, world), options(batch_size=size), progress=False
        )
        results.append((scores, model.keys))
    for scores, keys in results[1:]:
        assert keys == results[0][1]
        for name, values in vars(scores).items():
            np.testing.assert_array_equal(values, getattr(results[0][0], name))


def test_every_image_is_read_once() -> None:
    world = World()
    images = EpisodeImages(world, world)
    for _ in range(2):
        evaluate(ReadsTheFeature(), episodes(), images, options(), progress=False)
    assert len(world.reads) == len(set(world.reads)) == 6 * 3


@pytest.mark.parametrize("room", [2_000, 10**6])  # for some features, and for all of them
def test_features_on_the_device_change_nothing(monkeypatch, room) -> None:
    expected = evaluate(
        ReadsTheFeature(), episodes(), EpisodeImages(World(), World()), options(), progress=False
    )
    monkeypatch.setattr("umtfss.evaluation.images.room_on", lambda device: room)
    world = World()
    images = EpisodeImages(world, world)
    for _ in range(2):
        found = evaluate(ReadsTheFeature(), episodes(), images, options(), progress=False)
        for name, values in vars(expected).items():
            np.testing.assert_array_equal(values, getattr(found, name))
    kept = images.on("cpu")._kept
    assert 0 < images.on("cpu").nbytes <= room
    assert {value.dtype for value in kept.values()} == {torch.float16}
    levels = [read for read in world.reads if read[1] != "mask"]
    if room == 10**6:
        assert len(levels) == len(set(levels)) == len(kept) == 12
    else:
        assert 2 <= len(kept) < 12
        assert all(levels.count(key) == 1 for key in kept)


def test_a_cpu_keeps_nothing_twice() -> None:
    assert room_on(torch.device("cpu")) == 0


def test_memory_is_bounded() -> None:
    world = World()
    images = EpisodeImages(world, world, memory_mb=1)
    images._room = 60_000
    for image_id in list(world.labels) * 2:
        np.testing.assert_array_equal(images.mask(image_id), world.labels[image_id])
    assert sum(value.nbytes for value in images._kept.values()) <= 60_000
    assert len(world.reads) > 6


def test_scores_chosen_episodes_at_their_original_size() -> None:
    world = World()
    images, model = EpisodeImages(world, world), ReadsTheFeature()
    scores = evaluate(model, episodes(), images, options(), progress=False)
    keys, model.keys = model.keys, []
    rows = [5, 0, 16, 3, 9]
    found = list(predicted_scores(model, episodes(), images, options(), rows=rows))
    assert model.keys == [keys[row] for row in rows]
    for row, score in zip(rows, found, strict=True):
        label = world.labels[episodes()[row].query]
        assert score.shape == label.shape
        assert score.dtype == np.float32
        assert ((score > 0) & (label == CLASS)).sum() == scores.intersection[row]


def test_a_part_of_the_score_is_its_mean_over_superpixels() -> None:
    world, model = World(), ReadsTheFeature()

    def quarters(image_id: str) -> np.ndarray:
        world.reads.append((image_id, "superpixels"))
        rows, columns = (np.arange(side) * 2 // side for side in world.labels[image_id].shape)
        return 2 * rows[:, None] + columns

    images = EpisodeImages(world, world, read_superpixels=quarters)
    scores = evaluate(
        model, episodes(), images, options(refine=RefineConfig(superpixels=0.6)), progress=False
    )
    found_scores = predicted_scores(
        model, episodes(), images, options(refine=RefineConfig(superpixels=0.6))
    )
    for place, (episode, score) in enumerate(zip(episodes(), found_scores, strict=True)):
        label, regions = world.labels[episode.query], quarters(episode.query)
        feature = torch.from_numpy(world.read(episode.query, "top")).float().permute(2, 0, 1)
        found = nnf.interpolate(2 * feature[None] - 1, label.shape, mode="bilinear")[0, 0].numpy()
        blended = found.copy()
        for region in range(4):
            inside = regions == region
            blended[inside] = 0.4 * found[inside] + 0.6 * found[inside].mean()
        assert ((blended > 0) != (found > 0)).any()
        true = label == CLASS
        assert scores.intersection[place] == ((blended > 0) & true).sum()
        np.testing.assert_allclose(score, blended, atol=1e-5)
    read = [one for one in world.reads if one[1] == "superpixels"]
    assert set(read) == {(f"a/{place}", "superpixels") for place in range(6)}


def test_superpixels_are_not_read_unless_they_are_asked_for() -> None:
    world = World()
    images = EpisodeImages(world, world)  # it could not read any
    evaluate(ReadsTheFeature(), episodes(), images, options(refine=RefineConfig()), progress=False)


def test_an_error_while_reading_reaches_the_caller() -> None:
    class Broken(World):
        def read(self, image_id: str, level: str) -> np.ndarray:
            raise OSError("disk gone")

    world = Broken()
    with pytest.raises(OSError, match="disk gone"):
        evaluate(
            ReadsTheFeature(), episodes(), EpisodeImages(world, world), options(), progress=False
        )


@pytest.mark.usefixtures("native_bf16")
def test_mixed_precision_gives_nearly_the_same() -> None:
    world = World()
    plain, mixed = (
        evaluate(
            ReadsTheFeature(),
            episodes(),
            EpisodeImages(world, world),
            options(amp=amp),
            progress=False,
        )
        for amp in ("off", "bf16")
    )
    np.testing.assert_allclose(plain.intersection, mixed.intersection, rtol=0.1)
