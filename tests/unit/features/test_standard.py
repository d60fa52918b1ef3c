"""The scale of frozen features."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from umtfss.common.errors import StoreError
from umtfss.common.manifests import read_manifest, write_manifest
from umtfss.episodes.cached import CachedEpisodes, collate
from umtfss.episodes.episode import EpisodeList
from umtfss.episodes.masks import ClassMasks
from umtfss.experiment.model import ModelConfig
from umtfss.features.shard import write_shard
from umtfss.features.standard import Moments, Standardised, level_scales
from umtfss.features.store import FeatureSpec, FeatureStore, ImageFeatures
from umtfss.models.build import build_model

SPEC = FeatureSpec(
    backbone="simulated",
    weights="none",
    channels={"low": 12, "high": 20},
    long_side=96,
    precision="fp32",
    stride=16,
    multiple=16,
    align_corners=False,
)
IDS = [f"toys/{number}" for number in range(6)]


def write(folder, factor=1.0, ids=IDS, part_mb=256):
    """A shard of the same images, all features times a factor; its manifest."""

    def features(wanted):
        for image_id in wanted:
            rng = np.random.default_rng(int(image_id.split("/")[1]))
            levels = {
                level: (factor * (0.1 + 0.5 * rng.standard_normal((6, 6, count)))).astype("f2")
                for level, count in SPEC.channels.items()
            }
            yield ImageFeatures(image_id, (96, 96), levels)

    return write_shard(
        folder,
        SPEC,
        "origin",
        ids,
        features,
        image_bytes=10**6,
        part_mb=part_mb,
        description="",
        packages=("numpy",),
        progress=False,
    )


class HalfMasks(ClassMasks):
    """Foreground is the left half, or the right one of odd classes."""

    def mask(self, image_id, class_id):
        mask = np.zeros((96, 96), np.uint8)
        mask[:, 48 * (class_id % 2) :][:, :48] = 1
        return mask

    def class_map(self, image_id, classes):
        raise NotImplementedError  # UMTFSS reads none


def trained_scores(manifest, std):
    """Logits of episodes after some steps, with mid features at the deviation `std`."""
    scales = {} if std is None else level_scales([manifest], ["low", "high"], std)
    source = Standardised(FeatureStore([manifest]), scales)
    episodes = EpisodeList(IDS, [0, 2, 4], [1, 2, 3], [[1], [3], [5]], "test")
    data = CachedEpisodes(
        episodes, source, ["low", "high"], "high", HalfMasks(), target_side=24, flip=0.5
    )
    batch = collate([data[index] for index in range(3)])
    torch.manual_seed(0)
    small = {"width": 16, "heads": 2, "layers": 1, "k_fg": 2, "k_bg": 3}
    without = {"mid_dropout": 0, "dropout": 0, "head_dropout": 0}
    model = build_model("umtfss", ModelConfig().changed({**small, **without}), [32])
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        model.loss(model(batch), batch.target).backward()
        optimiser.step()
        optimiser.zero_grad()
    return model(batch).detach()


def test_multiplying_a_backbones_features_changes_no_result(tmp_path):
    one = write(tmp_path / "one")
    reference = trained_scores(one, 0.35)
    # 16 changes no mantissa in half precision, 10 rounds anew
    assert torch.equal(trained_scores(write(tmp_path / "sixteen", 16.0), 0.35), reference)
    ten = write(tmp_path / "ten", 10.0)
    torch.testing.assert_close(trained_scores(ten, 0.35), reference, atol=2e-3, rtol=2e-3)
    raw = trained_scores(ten, None) - trained_scores(one, None)
    assert raw.abs().max() > 0.1  # as they come, they do


def test_what_is_read_has_the_deviation_asked_for(tmp_path):
    manifest = write(tmp_path, 7.0)
    source = Standardised(FeatureStore([manifest]), level_scales([manifest], ["low"], 0.35))
    low, high = (
        np.concatenate([source.read(image_id, level).ravel() for image_id in IDS]).astype(float)
        for level in ("low", "high")
    )
    assert low.std() == pytest.approx(0.35, rel=1e-3)
    assert high.std() == pytest.approx(7 * 0.5, rel=0.05)
    assert source.read(IDS[0], "low").dtype == np.float16


def test_the_scale_does_not_depend_on_parts_and_shards(tmp_path):
    whole = level_scales([write(tmp_path / "whole")], ["low", "high"], 0.35)
    parts = level_scales([write(tmp_path / "parts", part_mb=2)], ["low", "high"], 0.35)
    shards = [write(tmp_path / str(n), ids=IDS[n::3]) for n in range(3)]
    assert whole == parts == level_scales(shards, ["low", "high"], 0.35)


def test_a_stopped_shard_that_goes_on_has_the_same_moments(tmp_path):
    manifest = write(tmp_path, part_mb=2)
    before = read_manifest(manifest, "features")["moments"]
    (tmp_path / "part001.h5").unlink()
    manifest.unlink()
    assert read_manifest(write(tmp_path, part_mb=2), "features")["moments"] == before


def test_a_cache_without_moments_and_one_of_constant_features_are_refused(tmp_path):
    manifest = write(tmp_path / "zero", 0.0)
    with pytest.raises(StoreError, match=r"level low are all alike[\s\S]*mid_std: null"):
        level_scales([manifest], ["low"], 0.35)
    spec = read_manifest(manifest, "features")["spec"]
    write_manifest(manifest, "features", "digest", spec=spec)
    with pytest.raises(StoreError, match=r"zero[\s\S]*how features of the level low are scaled"):
        level_scales([manifest], ["low"], 0.35)


@given(st.lists(st.lists(st.floats(-100, 100, width=16), min_size=1), min_size=1, max_size=5))
def test_moments_combine_to_those_of_the_whole(several):
    arrays = [np.array(one, np.float16) for one in several]
    combined = Moments.combine(map(Moments.of, arrays))
    whole = np.concatenate(arrays).astype(float)
    assert combined.count == len(whole)
    assert combined.std == pytest.approx(whole.std(), abs=1e-4)


def test_no_features_have_no_deviation():
    assert replace(Moments.of(np.zeros(0)), total=0.0).std == 0.0
