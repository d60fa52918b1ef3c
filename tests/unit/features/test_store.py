"""What is written is read back, in every process, and damage is noticed."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loky import ProcessPoolExecutor

from umtfss.common.errors import StoreError
from umtfss.features import store as module
from umtfss.features.geometry import GridGeometry
from umtfss.features.store import (
    FeatureSpec,
    FeatureStore,
    ImageFeatures,
    digest_features,
    finished_digests,
    part_name,
    write_feature_manifest,
    write_part,
)

SPEC = FeatureSpec("net", "w" * 8, {"low": 2, "high": 5}, 64, "fp32", 8, 8, False)


def features(name: str, count: int, seed: int = 0) -> list[ImageFeatures]:
    random = np.random.default_rng(seed)
    out = []
    for i in range(count):
        h, w = random.integers(1, 9, 2)
        levels = {
            k: random.normal(size=(h, w, c)).astype(np.float16) for k, c in SPEC.channels.items()
        }
        out.append(ImageFeatures(f"{name}/{i:03d}", (int(h) * 10, int(w) * 10), levels))
    return out


def write_shard(folder, images, per_part=3, spec=SPEC):
    digests: dict[str, str] = {}
    starts = range(0, len(images), per_part)
    for index, start in enumerate(starts):
        part = images[start : start + per_part]
        ids, path = [image.image_id for image in part], folder / part_name(index)
        write_part(path, spec, "origin", ids, reversed(part))
        digests |= zip(ids, finished_digests(path, spec, "origin", ids), strict=True)
    return write_feature_manifest(folder, spec, digests, len(starts))


def assert_holds(store, images):
    for image in images:
        assert store.image_size(image.image_id) == image.size
        for level, values in image.levels.items():
            found = store.read(image.image_id, level)
            assert found.dtype == np.float16
            assert store.grid(image.image_id) == found.shape[:2]
            np.testing.assert_array_equal(found, values)


def test_shards_of_two_data_sets_are_read_as_one(tmp_path):
    one, two = features("pascal", 7), features("coco", 4, seed=1)
    store = FeatureStore([write_shard(tmp_path / "a", one), write_shard(tmp_path / "b", two)])
    assert store.ids == tuple(image.image_id for image in [*one, *two])
    assert len(store) == 11
    assert "pascal/003" in store
    assert "pascal/007" not in store
    assert list(store.geometry.channels.items()) == [("low", 2), ("high", 5)]
    assert store.geometry == GridGeometry({"low": 2, "high": 5}, 64, 8, 8, align_corners=False)
    assert_holds(store, [*one, *two])


def test_digest_depends_on_content_alone(tmp_path):
    images = features("pascal", 6)
    digests = [
        module.read_manifest(path, "features")["digest"]
        for path in (
            write_shard(tmp_path / "a", images),
            write_shard(tmp_path / "b", images, per_part=2),
            write_shard(tmp_path / "c", images[::-1], per_part=4),
        )
    ]
    assert len(set(digests)) == 1
    changed = features("pascal", 6)
    changed[4].levels["high"][0, 0, 0] += 1
    other = module.read_manifest(write_shard(tmp_path / "d", changed), "features")
    assert other["digest"] != digests[0]
    assert (tmp_path / "a/manifest.json").read_bytes() == (
        write_shard(tmp_path / "e", images).read_bytes()
    )


@settings(max_examples=30)
@given(st.integers(1, 6), st.integers(1, 6), st.integers(1, 4))
def test_digest_features_sees_shape_level_and_every_value(h, w, c):
    values = np.zeros((h, w, c), np.float16)
    changed = values.copy()
    changed[-1, -1, -1] = 1
    digests = {
        digest_features(levels)
        for levels in ({"a": values}, {"b": values}, {"a": changed}, {"a": values, "b": values})
    }
    assert len(digests) == 4
    assert digest_features({"a": np.asfortranarray(changed)}) == digest_features({"a": changed})
    if h != w:
        assert digest_features({"a": values}) != digest_features({"a": values.swapaxes(0, 1)})


def test_store_survives_pickling_threads_and_few_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "OPEN_FILES", 2)
    images = features("pascal", 12)
    store = FeatureStore([write_shard(tmp_path, images, per_part=2)])
    assert_holds(store, images)
    assert len(store._local.files) == 2
    assert_holds(pickle.loads(pickle.dumps(store)), images)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda image: assert_holds(store, [image]), images * 5))


def _read(store, image_id, level):
    return store.read(image_id, level)


def test_store_is_read_in_other_processes(tmp_path):
    images = features("pascal", 6)
    store = FeatureStore([write_shard(tmp_path, images)])
    assert_holds(store, images)  # files are open before the processes start
    with ProcessPoolExecutor(2) as pool:
        jobs = [pool.submit(_read, store, image.image_id, "high") for image in images]
        for image, job in zip(images, jobs, strict=True):
            np.testing.assert_array_equal(job.result(), image.levels["high"])
    assert_holds(store, images)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("backbone", "other"),
        ("long_side", 65),
        ("weights", "other"),
        ("precision", "bf16"),
        ("channels", {"low": 2}),
    ],
)
def test_shards_that_disagree_are_refused(tmp_path, key, value):
    one = write_shard(tmp_path / "a", features("pascal", 2))
    spec, images = replace(SPEC, **{key: value}), features("coco", 2)
    if key == "channels":
        images = [replace(i, levels={"low": i.levels["low"]}) for i in images]
    two = write_shard(tmp_path / "b", images, spec=spec)
    with pytest.raises(StoreError, match=f"made with another {key} than the first"):
        FeatureStore([one, two])


def test_a_shard_of_another_version_of_the_package_is_refused(tmp_path):
    path = write_shard(tmp_path, features("a", 1))
    facts = dict(module.read_manifest(path, "features"))
    fields = {"spec": {**facts["spec"], "view": 0}, "images": 1}
    module.write_manifest(path, "features", facts["digest"], [tmp_path / part_name(0)], **fields)
    with pytest.raises(StoreError, match=r"another version(?s:.*)view(?s:.*)delete its folder"):
        FeatureStore([path])


def test_what_is_not_there_is_named(tmp_path):
    path = write_shard(tmp_path / "a", features("pascal", 2))
    store = FeatureStore([path])
    with pytest.raises(StoreError, match=r"no image 'pascal/9'[\s\S]*one of 2 images"):
        store.read("pascal/9", "low")
    with pytest.raises(StoreError, match=r"no level 'mid'[\s\S]*'low', 'high'"):
        store.read("pascal/000", "mid")
    with pytest.raises(StoreError, match="pascal/000 occurs twice"):
        FeatureStore([path, write_shard(tmp_path / "b", features("pascal", 1))])
    with pytest.raises(StoreError, match="no features were given"):
        FeatureStore([])
    with pytest.raises(StoreError, match="does not exist"):
        FeatureStore([tmp_path / "c" / "manifest.json"])


def test_a_part_is_kept_only_if_it_is_what_its_own_manifest_states(tmp_path):
    images = features("pascal", 3)
    ids, part = [image.image_id for image in images], tmp_path / part_name(0)
    write_part(part, SPEC, "origin", ids, images)
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    assert finished_digests(part, SPEC, "origin", ids) is None
    part.write_bytes(content)
    assert finished_digests(part, SPEC, "origin", ids) is not None
    part.with_suffix(".json").unlink()
    assert finished_digests(part, SPEC, "origin", ids) is None


def test_a_part_that_is_damaged_later_is_noticed_when_read(tmp_path):
    images = features("pascal", 3)
    store = FeatureStore([write_shard(tmp_path, images)])
    with module.h5py.File(tmp_path / part_name(0), "r+") as file:
        del file["features/low/pascal/001"]
    with pytest.raises(StoreError, match="low of pascal/001 cannot be read"):
        store.read("pascal/001", "low")


def test_finished_digests_keeps_only_what_would_be_made_again(tmp_path):
    images = features("pascal", 3)
    ids, path = [image.image_id for image in images], tmp_path / part_name(0)
    write_part(path, SPEC, "origin", ids, images)
    assert finished_digests(path, SPEC, "origin", ids) == [
        digest_features(image.levels) for image in images
    ]
    assert finished_digests(path, SPEC, "other images", ids) is None
    assert finished_digests(path, SPEC, "origin", ids[:2]) is None
    assert finished_digests(path, SPEC, "origin", ids[::-1]) is None
    assert finished_digests(path, replace(SPEC, long_side=65), "origin", ids) is None
    assert finished_digests(tmp_path / "none.h5", SPEC, "origin", ids) is None
    with module.h5py.File(path, "r+") as file:
        file["features/high/pascal/002"][0, 0, 0] += 1
    assert finished_digests(path, SPEC, "origin", ids) is None


def test_an_incomplete_part_is_never_left_behind(tmp_path):
    images = features("pascal", 3)
    ids = [image.image_id for image in images]
    with pytest.raises(ValueError, match="but 1 are absent"):
        write_part(tmp_path / part_name(0), SPEC, "origin", ids, images[:2])
    assert not list(tmp_path.iterdir())
