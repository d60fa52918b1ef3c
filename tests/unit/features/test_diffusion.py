"""The diffusion map and the features that it makes, against numpy's dense algebra."""

import dataclasses
import json
from pathlib import Path

import faiss
import numpy as np
import pytest

from umtfss.common.errors import DataError, StoreError
from umtfss.experiment.features import DIFFUSED, DiffusionConfig
from umtfss.features import diffusion as module
from umtfss.features.diffusion import (
    DiffusedFeatures,
    DiffusionMap,
    _cells,
    build_diffusion_map,
    diffuse_shard,
    principal_directions,
    spectral_coordinates,
)
from umtfss.features.geometry import GridGeometry
from umtfss.features.pool_graph import build_pool_graph
from umtfss.features.shard import write_shard
from umtfss.features.store import FeatureSpec, FeatureStore, ImageFeatures, unit_tokens

LEVEL, CHANNELS = "high", 6
POOL = [f"set/{number}" for number in range(30)]
OTHERS = ["set/a", "set/b"]
SETTINGS = DiffusionConfig(segments=4, neighbours=3, temperature=0.2, channels=5)
SPEC = FeatureSpec("means", "digest", {LEVEL: CHANNELS}, 64, "fp32", 4, 4, False)


def grids() -> dict[str, np.ndarray]:
    """Three kinds of token in every image, so that the graph has something to find."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((3, CHANNELS))
    found = {}
    for number, image_id in enumerate(POOL + OTHERS):
        kind = random.integers(3, size=(3 + number % 3, 4))
        tokens = centres[kind] + random.normal(0, 0.5, (*kind.shape, CHANNELS))
        found[image_id] = tokens.astype(np.float16)
    return found


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = grids()

    def features(ids):
        return (ImageFeatures(i, (64, 64), {LEVEL: made[i]}) for i in ids)

    return write_shard(
        tmp_path_factory.mktemp("shard"), SPEC, "origin", list(made), features,
        image_bytes=1000, part_mb=1, description="", packages=(), progress=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def store(manifest: Path) -> FeatureStore:
    return FeatureStore([manifest])


@pytest.fixture(scope="module")
def diffusion(store: FeatureStore) -> DiffusionMap:
    return build_diffusion_map(store, POOL, LEVEL, SETTINGS)


def test_coordinates_give_the_kernel_of_the_diffusion(store):
    """With (nearly) all eigenvectors, inner products are those of (1 - alpha A)^-1."""
    graph = build_pool_graph(store, POOL, LEVEL, SETTINGS)
    count = len(graph.segments)
    many = SETTINGS.model_copy(update={"channels": count - 1, "alpha": 0.9})
    found = spectral_coordinates(graph, many)
    values, vectors = np.linalg.eigh(graph.links.toarray().astype(np.float64))
    kept = vectors[:, 1:] / np.sqrt(1 - 0.9 * values[1:])
    np.testing.assert_allclose(found @ found.T, kept @ kept.T, atol=2e-3)
    kernel = np.linalg.inv(np.eye(count) - 0.9 * graph.links.toarray())
    np.testing.assert_allclose(found @ found.T, kernel, atol=0.05 * kernel.max())


def test_a_token_gets_the_mean_place_of_its_nearest_segments(store, diffusion):
    features = DiffusedFeatures(store, diffusion)
    for image_id in (OTHERS[0], POOL[7]):
        tokens = unit_tokens(store, image_id, LEVEL)
        usable = np.ones(len(diffusion.segments), bool)
        if image_id in diffusion.ids:
            usable = diffusion.image != diffusion.ids.index(image_id)
        expected = []
        for token in tokens:
            cosine = diffusion.segments @ token
            near = sorted(np.flatnonzero(usable), key=lambda j, c=cosine: -c[j])[:3]
            place = sum(np.exp((cosine[j] - 1) / 0.2) * diffusion.coordinates[j] for j in near)
            expected.append(place / np.linalg.norm(place))
        found = features.read(image_id, DIFFUSED)
        assert found.shape == (*store.grid(image_id), SETTINGS.channels)
        assert found.dtype == np.float16
        np.testing.assert_allclose(found.reshape(len(tokens), -1), expected, atol=2e-3)


def test_a_part_of_the_cosine_is_that_of_the_features_before(store, diffusion):
    """With all principal directions it is exactly theirs."""
    mixed = SETTINGS.model_copy(update={"keep": 0.3, "keep_channels": CHANNELS})
    features = DiffusedFeatures(store, build_diffusion_map(store, POOL, LEVEL, mixed))
    places = DiffusedFeatures(store, diffusion)
    for image_id in (OTHERS[0], POOL[7]):
        tokens = unit_tokens(store, image_id, LEVEL)
        placed = places.read(image_id, DIFFUSED).reshape(len(tokens), -1).astype(np.float32)
        found = features.read(image_id, DIFFUSED).reshape(len(tokens), -1).astype(np.float32)
        assert found.shape[1] == mixed.width == features.geometry.channels[DIFFUSED]
        expected = 0.7 * placed @ placed.T + 0.3 * tokens @ tokens.T
        np.testing.assert_allclose(found @ found.T, expected, atol=5e-3)


def test_with_fewer_directions_the_parts_have_their_weights(store):
    mixed = SETTINGS.model_copy(update={"keep": 0.3, "keep_channels": 2})
    features = DiffusedFeatures(store, build_diffusion_map(store, POOL, LEVEL, mixed))
    found = features.read(OTHERS[0], DIFFUSED).astype(np.float32)
    np.testing.assert_allclose((found[..., -2:] ** 2).sum(-1), 0.3, atol=5e-3)
    np.testing.assert_allclose((found**2).sum(-1), 1.0, atol=5e-3)


def test_principal_directions_are_those_of_the_svd(diffusion):
    segments = diffusion.segments
    found = principal_directions(segments, 3)
    expected = np.linalg.svd(segments, full_matrices=False)[2][:3]
    np.testing.assert_allclose(found @ found.T, expected.T @ expected, atol=1e-4)
    assert principal_directions(segments, 0).shape == (CHANNELS, 0)
    with pytest.raises(DataError, match="principal directions"):
        principal_directions(segments, CHANNELS + 1)


class Arcs:
    """Images whose tokens lie on two arcs, each a quarter of a circle in a plane of its own."""

    geometry = GridGeometry({LEVEL: 4}, 64, 4, 4, align_corners=False)

    def read(self, image_id, level):
        random = np.random.default_rng(int(image_id.removeprefix("set/")))
        angle, plane = random.uniform(0, np.pi / 2, 12), np.arange(12) % 2
        tokens = np.zeros((12, 2, 2))
        tokens[np.arange(12), plane] = np.stack([np.cos(angle), np.sin(angle)], 1)
        return tokens.reshape(3, 4, 4).astype(np.float16)


def test_diffusion_joins_what_the_pool_connects():
    """The two ends of an arc are as unlike as ends of different arcs, until the pool tells."""
    source = Arcs()
    settings = SETTINGS.model_copy(update={"segments": 6, "channels": 6, "temperature": 0.05})
    mapped = build_diffusion_map(source, POOL, LEVEL, settings)
    one, end, other, _ = np.eye(4, dtype=np.float32)
    places = DiffusedFeatures(source, mapped).place(np.stack([one, end, other]))
    cosine = places @ places.T
    assert cosine[0, 1] > 0.5
    assert cosine[0, 1] > cosine[0, 2] + 0.3


def clouds(count):
    """Unit vectors around 20 directions."""
    random = np.random.default_rng(3)
    vectors = random.standard_normal((20, 16))[random.integers(20, size=count)]
    vectors += random.normal(0, 0.3, vectors.shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("count", [3, 199, 2099])
def test_cells_are_the_means_of_all_segments(count):
    segments = clouds(count)
    kmeans = faiss.Kmeans(
        16, max(count // 100, 1), niter=10, seed=0, spherical=True, max_points_per_centroid=count
    )
    kmeans.train(segments)
    np.testing.assert_array_equal(_cells(segments), kmeans.centroids)


def test_cells_of_a_large_pool_find_the_neighbours(monkeypatch):
    segments = clouds(8000)
    queries = segments[::40]
    exact = np.argsort(-(queries @ segments.T), axis=1)[:, :10]
    monkeypatch.setattr(module, "LARGE", 7999)
    cells = _cells(segments)
    assert len(cells) == 178  # 2 n^1/2
    quantizer = faiss.IndexFlatIP(16)
    quantizer.add(cells)
    index = faiss.IndexIVFFlat(quantizer, 16, len(cells), faiss.METRIC_INNER_PRODUCT)
    index.add(segments)
    index.nprobe = module.PROBED
    found = index.search(queries, 10)[1]
    pairs = zip(exact, found, strict=True)
    assert np.mean([len({*one} & {*other}) / 10 for one, other in pairs]) > 0.9


def test_cells_of_a_large_pool_are_fitted_to_a_sample(monkeypatch):
    monkeypatch.setattr(module, "LARGE", 7999)
    monkeypatch.setattr(module, "POINTS_PER_CELL", 20)
    segments = clouds(8000)
    kmeans = faiss.Kmeans(
        16, 178, niter=10, seed=0, spherical=True, max_points_per_centroid=20
    )  # faiss draws 3,560 segments
    kmeans.train(segments)
    np.testing.assert_array_equal(_cells(segments), kmeans.centroids)


def test_the_map_does_not_depend_on_the_order_of_images(store, diffusion, tmp_path):
    other = build_diffusion_map(store, POOL[::-1], LEVEL, SETTINGS)
    for name, one in (("a.h5", diffusion), ("b.h5", other)):
        one.save(tmp_path / name)
    assert (tmp_path / "a.h5").read_bytes() == (tmp_path / "b.h5").read_bytes()


def test_a_map_is_written_and_read_back(diffusion, tmp_path):
    diffusion.save(tmp_path / "map.h5")
    read = DiffusionMap.load(tmp_path / "map.json")
    for field in dataclasses.fields(DiffusionMap):
        np.testing.assert_array_equal(getattr(read, field.name), getattr(diffusion, field.name))
    assert {path.name for path in tmp_path.iterdir()} == {"map.h5", "map.json"}


def test_more_channels_than_segments_are_refused(store):
    settings = SETTINGS.model_copy(update={"channels": 1000})
    with pytest.raises(DataError, match="more segments than"):
        build_diffusion_map(store, POOL, LEVEL, settings)


def test_features_of_other_channels_are_refused(store, diffusion):
    with pytest.raises(StoreError, match="low of 6 channels"):
        DiffusedFeatures(store, dataclasses.replace(diffusion, level="low"))


def test_a_shard_is_diffused_to_another(manifest, store, diffusion, tmp_path):
    diffusion.save(tmp_path / "map.h5")
    made = diffuse_shard(manifest, tmp_path / "map.json", tmp_path / "diffused")
    found, live = FeatureStore([made]), DiffusedFeatures(store, diffusion)
    assert found.ids == store.ids
    assert found.geometry == dataclasses.replace(
        store.geometry, channels={DIFFUSED: SETTINGS.channels}
    )
    for image_id in (*POOL[:3], *OTHERS):
        np.testing.assert_array_equal(found.read(image_id, DIFFUSED), live.read(image_id, DIFFUSED))
        assert found.image_size(image_id) == (64, 64)


def test_an_empty_shard_is_diffused_to_an_empty_one(diffusion, tmp_path):
    """A split of fewer images than shards leaves some shards without any."""
    diffusion.save(tmp_path / "map.h5")
    empty = write_shard(
        tmp_path / "empty", SPEC, "origin", [], lambda ids: iter(()),
        image_bytes=1000, part_mb=1, description="", packages=(), progress=False,
    )  # fmt: skip
    made = diffuse_shard(empty, tmp_path / "map.json", tmp_path / "diffused")
    assert FeatureStore([made]).ids == ()
    assert FeatureStore([made]).geometry.channels == {DIFFUSED: SETTINGS.channels}


def test_a_diffused_part_is_kept_only_for_the_same_map(manifest, store, diffusion, tmp_path):
    diffusion.save(tmp_path / "map.h5")
    part = diffuse_shard(manifest, tmp_path / "map.json", tmp_path / "out").parent / "part000.h5"
    first = part.stat().st_mtime_ns
    diffuse_shard(manifest, tmp_path / "map.json", tmp_path / "out")
    assert part.stat().st_mtime_ns == first
    settings = SETTINGS.model_copy(update={"alpha": 0.5})
    build_diffusion_map(store, POOL, LEVEL, settings).save(tmp_path / "map.h5")
    again = diffuse_shard(manifest, tmp_path / "map.json", tmp_path / "out")
    assert part.stat().st_mtime_ns > first
    assert json.loads(again.read_text())["spec"]["weights"] != SPEC.weights
