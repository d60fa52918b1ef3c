"""The measurements: training steps, test episodes, extraction, k-means, and where time goes.

Sizes are the paper's: a dilated ResNet-50 at 473 px (60 x 60 tokens), UMTFSS of width 256. The
reference is `benchmarks.plain.PlainRun` in fp32: every episode alone, every image recomputed.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu.inputs import NoiseImages, random_extractor
from benchmarks.gpu.report import MISSING, Row, Setup, goal
from benchmarks.paths import RESNET, DiscImages, Learning, Setting, draw_episodes
from benchmarks.plain import PlainRun, plain_layers
from umtfss.clustering.pixel_kmeans import fit_centroids, nearest_centroids, update_means
from umtfss.common.device import autocast, processor_has_bf16
from umtfss.episodes.live import Featuriser, LiveBatch
from umtfss.evaluation.images import EpisodeImages
from umtfss.evaluation.scores import ScoringOptions, evaluate
from umtfss.experiment.clustering import ClusteringConfig
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.training import TrainingConfig
from umtfss.features.extract import extract_features
from umtfss.features.geometry import GridGeometry
from umtfss.features.live import KeptFeatures, LiveFeatures
from umtfss.training.state import TrainingState
from umtfss.training.step import Objective, train_step

TINY = ModelConfig().changed({"width": 16, "heads": 2, "layers": 1, "k_fg": 2, "k_bg": 3})
STEP_GOAL, TEST_GOAL, EXTRACTION_GOAL, HOST_GOAL = 5.0, 10.0, 60.0, 15.0
CLUSTERS, ITERATIONS = 50, 5


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurements.

    Attributes:
        setting: Image, grid and model.
        batches: B of training steps and tests.
        shots: K.
        repeats: Timed calls.
        episodes: Test episodes.
        images: Images that test episodes share; the paper has 400 for 1,000 episodes.
        extracted: Images of an extraction.
        side: Side of the square matrix product.
        vectors: Vectors that are clustered.
        channels: Channels of these vectors.
    """

    setting: Setting = RESNET
    batches: tuple[int, ...] = (1, 4, 16)
    shots: tuple[int, ...] = (1, 5)
    repeats: int = 5
    episodes: int = 150
    images: int = 60
    extracted: int = 1024
    side: int = 8192
    vectors: int = 10_000_000
    channels: int = 384


SMALL = Sizes(
    setting=Setting(RESNET.channels, 65, 8, True, TINY, (45, 60)),
    batches=(2,),
    shots=(1, 2),
    repeats=1,
    episodes=4,
    images=4,
    extracted=4,
    side=128,
    vectors=4000,
    channels=16,
)


def sizes_of(setup: Setup) -> Sizes:
    """The sizes of a check."""
    return SMALL if setup.small else Sizes()


def half_precision(setup: Setup) -> str:
    """bf16 where the device has it; else fp32."""
    return "bf16" if setup.device != "cpu" or processor_has_bf16() else "off"


def wait(device: str) -> None:
    """Wait until a device has done all its work."""
    if device != "cpu":
        torch.cuda.synchronize()


def seconds_of(call: Callable[[], Any], device: str, repeats: int) -> float:
    """The median time of a call, s, after a first call that warms up."""
    call()
    found = []
    for _ in range(repeats):
        wait(device)
        start = time.perf_counter()
        call()
        wait(device)
        found.append(time.perf_counter() - start)
    return median(found)


def memory(what: str, device: str) -> Iterator[Row]:
    """The most memory that tensors have held since the last call, GB; nothing on a CPU."""
    if device != "cpu":
        yield Row(f"{what}, memory", torch.cuda.max_memory_allocated() / 1e9, "GB")
        torch.cuda.reset_peak_memory_stats()


def product_rate(device: str, side: int, dtype: torch.dtype = torch.bfloat16) -> float:
    """The rate of a square matrix product of random numbers, TFLOP/s."""
    a, b = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    return 2e-12 * side**3 / seconds_of(lambda: a @ b, device, 10)


class LiveRun:
    """Training steps with the backbone in the loop, as a training takes them.

    Args:
        setup: Device and folder.
        setting: Sizes.
        batch: B.
        shots: K.
    """

    def __init__(self, setup: Setup, setting: Setting, batch: int, shots: int) -> None:
        self.device, self.amp = torch.device(setup.device), half_precision(setup)
        settings = TrainingConfig.model_validate({"steps": 1000, "amp": self.amp})
        log = setup.folder / "log.csv"
        self.state = TrainingState.new(setting.learner(), settings, 1000, self.device, log)
        self.objective = Objective(self.state.model, lambda: autocast(self.device, self.amp))
        extractor = random_extractor(tuple(setting.channels)).to(self.device)
        side = setting.pixels
        self.featuriser = Featuriser(
            extractor,
            setting.mid,
            setting.high,
            side,
            whole_support=self.state.model.reads_high_background,
        )
        disc = torch.from_numpy(DiscImages((), setting.label_size).mask(""))[None, None]
        masks = F.interpolate(disc, (side, side)).expand(batch, 1 + shots, -1, -1)  # as PlainRun's
        self.loaded = LiveBatch(
            torch.rand(batch, 1 + shots, 3, side, side), masks, *torch.arange(batch).expand(2, -1)
        )
        if self.device.type == "cuda":
            self.loaded = self.loaded.pin_memory()

    def step(self) -> None:
        """Copy the batch to the device, compute its features and take a step."""
        given = {k: v for k, v in vars(self.loaded).items() if v is not None}
        tensors = {k: v.to(self.device, non_blocking=True) for k, v in given.items()}
        with torch.no_grad(), autocast(self.device, self.amp):
            batch = self.featuriser(replace(self.loaded, **tensors))
        train_step(
            self.state,
            self.objective,
            batch,
            rate=1e-3,
            clip_norm=1.0,
            asked_to_stop=False,
        )


class LiveTest:
    """Test episodes whose images are computed once, as an evaluation tests them.

    Args:
        setup: Device and folder.
        setting: Sizes.
        images: Images that the episodes share.
        episodes: Number of episodes.
        shots: K.
    """

    def __init__(
        self, setup: Setup, setting: Setting, images: int, episodes: int, shots: int
    ) -> None:
        self.setup, self.setting = setup, setting
        self.extractor = random_extractor(tuple(setting.channels)).to(setup.device)
        self.extractor.precision = half_precision(setup)
        self.images = NoiseImages(images, setting.label_size)
        self.episodes = draw_episodes(self.images.ids, episodes, shots)
        self.model = setting.learner()

    def test(self, batch: int) -> int:
        """Test all episodes; no feature is known before.

        Returns:
            Bytes of features that stayed on the device.
        """
        setting, setup = self.setting, self.setup
        options = ScoringOptions(
            setting.mid,
            setting.high,
            batch_size=batch,
            device=setup.device,
            amp=half_precision(setup),  # type: ignore[arg-type]  # one of the three
        )
        store = KeptFeatures(LiveFeatures(self.extractor, self.images, setting.pixels))
        images = EpisodeImages(self.images, store)
        evaluate(self.model, self.episodes, images, options, False)
        return images.on(setup.device).nbytes


def reference_seconds(setup: Setup, shots: int) -> tuple[float, float]:
    """Seconds of a training step and of a test episode of the plain reference, of one episode."""
    sizes = sizes_of(setup)
    plain = PlainRun(sizes.setting, setup.device, shots)
    model = plain_layers(sizes.setting.learner()).to(setup.device)
    learning = Learning(model)
    step = seconds_of(lambda: plain.train_step(learning), setup.device, sizes.repeats)
    return step, seconds_of(lambda: plain.test(model), setup.device, sizes.repeats)


def steps(setup: Setup) -> Iterator[Row]:
    """Training steps with the backbone in the loop, against the reference."""
    sizes = sizes_of(setup)
    for shots in sizes.shots:
        plain, _ = reference_seconds(setup, shots)
        yield Row(f"reference, {shots} shots", plain, "s/sample", note="fp32, batch 1")
        yield from memory(f"reference, {shots} shots", setup.device)
        for batch in sizes.batches:
            run = LiveRun(setup, sizes.setting, batch, shots)
            seconds = seconds_of(run.step, setup.device, sizes.repeats)
            what = f"batch {batch}, {shots} shots"
            yield Row(what, 1 / seconds, "steps/s", note=run.amp)
            yield from memory(what, setup.device)
            judged = not setup.small and (batch, shots) == (4, 1)
            speed = plain * batch / seconds
            yield goal(f"{what}, speed", speed, "times the reference", STEP_GOAL, judged)
            del run


def tests(setup: Setup) -> Iterator[Row]:
    """Test episodes, every image computed once, against the reference."""
    sizes, setting = sizes_of(setup), sizes_of(setup).setting
    for shots in sizes.shots:
        _, plain = reference_seconds(setup, shots)
        yield Row(f"reference, {shots} shots", plain, "s/episode", note="fp32")
        yield from memory(f"reference, {shots} shots", setup.device)
        for batch in sizes.batches:
            run = LiveTest(setup, setting, sizes.images, sizes.episodes, shots)
            start = time.perf_counter()
            kept = run.test(batch)
            seconds = (time.perf_counter() - start) / sizes.episodes
            what = f"batch {batch}, {shots} shots"
            note = f"{sizes.episodes} episodes of {sizes.images} images"
            yield Row(what, 1 / seconds, "episodes/s", note=note)
            yield Row(f"{what}, features on the device", kept / 1e9, "GB", note="none on a CPU")
            yield from memory(what, setup.device)
            judged = not setup.small and (batch, shots) == (4, 1)
            speed = plain / seconds
            yield goal(f"{what}, speed", speed, "times the reference", TEST_GOAL, judged)


def extraction(setup: Setup) -> Iterator[Row]:
    """Features of the paper's clustering (ResNet-50, layer4, stride 32) against the backbone."""
    sizes = sizes_of(setup)
    batch, side = (2, 65) if setup.small else (32, 473 // 32 * 32 + 1)
    precision = half_precision(setup).replace("off", "fp32")
    extractor = random_extractor(("layer4",), dilated=False).to(setup.device)
    pixels = torch.rand(batch, 3, side, side, device=setup.device)

    def bare() -> None:
        with torch.no_grad(), autocast(setup.device, precision):
            extractor(pixels)

    rate = batch / seconds_of(bare, setup.device, sizes.repeats)
    yield Row("bare backbone", rate, "images/s", note=f"{precision}, batch {batch}, {side} px")
    images = NoiseImages(sizes.extracted, (side, side))
    start = time.perf_counter()
    extract_features(
        images,
        images.ids,
        extractor,
        side,
        setup.folder / "features",
        source="noise",
        batch_size=batch,
        precision=precision,
        device=setup.device,
        progress=False,
    )
    found = sizes.extracted / (time.perf_counter() - start)
    yield Row("extraction", found, "images/s", note="resized, computed and written")
    part = 100 * found / rate
    yield goal("extraction, part of the backbone", part, "%", EXTRACTION_GOAL, not setup.small)


class RepeatedTokens:
    """A feature store that gives parts of one block of random unit vectors, and holds no more.

    Args:
        vectors: Number of vectors of all images.
        channels: C.
    """

    TOKENS = 2000

    def __init__(self, vectors: int, channels: int) -> None:
        random = np.random.default_rng(0)
        block = random.standard_normal((10 * self.TOKENS, channels), np.float32)
        block /= np.linalg.norm(block, axis=1, keepdims=True)
        self._block = block.astype(np.float16)
        self.ids = [f"repeated/{number}" for number in range(vectors // self.TOKENS)]
        self.geometry = GridGeometry({"level": channels}, self.TOKENS, 1, 1, align_corners=False)

    def grid(self, image_id: str) -> tuple[int, int]:
        """(1, TOKENS)."""
        return 1, self.TOKENS

    def read(self, image_id: str, level: str) -> np.ndarray:
        """(1, TOKENS, C) float16."""
        start = int(image_id.partition("/")[2]) * 701 % (9 * self.TOKENS)
        return self._block[None, start : start + self.TOKENS]


def streaming_rate(setup: Setup, sizes: Sizes) -> float:
    """Assignment and running means of a million vectors in memory, million vectors a second."""
    random = np.random.default_rng(0)
    count = min(sizes.vectors, 1_000_000)
    vectors = random.standard_normal((count, sizes.channels), np.float32)
    centres, counts = vectors[:CLUSTERS].copy(), np.ones(CLUSTERS, dtype=np.int64)

    def update() -> None:
        update_means(centres, counts, vectors, nearest_centroids(vectors, centres))

    return count / seconds_of(update, setup.device, 1) / 1e6


def kmeans(setup: Setup) -> Iterator[Row]:
    """K-means of 10 million vectors: the package's, and faiss on both kinds of device."""
    sizes = sizes_of(setup)
    store: Any = RepeatedTokens(sizes.vectors, sizes.channels)
    size = f"{sizes.vectors} x {sizes.channels}, {CLUSTERS} clusters"
    rate = streaming_rate(setup, sizes)
    yield Row("streaming update", rate, "million vectors/s", note="of vectors in memory")
    try:
        import faiss
    except ImportError:
        yield Row("faiss, and so Lloyd's iterations", "not installed", verdict=MISSING)
        return
    settings = ClusteringConfig(iterations=ITERATIONS, memory_vectors=sizes.vectors // 10)
    start = time.perf_counter()
    fit_centroids(store, "level", store.ids, CLUSTERS, settings, 0)
    note = f"{size}; a tenth in memory with {ITERATIONS} iterations, the rest streamed; reading"
    yield Row("umtfss", time.perf_counter() - start, "s", note=note)
    held = np.concatenate([store.read(one, "level")[0] for one in store.ids]).astype(np.float32)
    gpus = faiss.get_num_gpus() if hasattr(faiss, "get_num_gpus") else 0
    for name, used in (("faiss on the GPU", gpus), ("faiss on the CPU", 0)):
        if name.endswith("GPU") and not gpus:
            yield Row(name, "no GPU in this faiss", verdict=MISSING)
            continue
        start = time.perf_counter()
        faiss.Kmeans(
            sizes.channels,
            CLUSTERS,
            niter=ITERATIONS,
            max_points_per_centroid=len(held),
            gpu=used,
        ).train(held)
        note = f"{size}; all in memory, {ITERATIONS} iterations"
        yield Row(name, time.perf_counter() - start, "s", note=note)


def time_shares(setup: Setup) -> Iterator[Row]:
    """Where a training step of batch 4 spends its time, and which part of the peak it reaches."""
    sizes = sizes_of(setup)
    peak = product_rate(setup.device, sizes.side)
    yield Row(f"bf16 matrix product, side {sizes.side}", peak, "TFLOP/s")
    run = LiveRun(setup, sizes.setting, sizes.batches[-1] if setup.small else 4, 1)
    seconds = seconds_of(run.step, setup.device, sizes.repeats)
    with FlopCounterMode(display=False) as counted:
        run.step()
    rate = counted.get_total_flops() / seconds / 1e12
    yield Row("training step", rate, "TFLOP/s", note="of products and convolutions, as counted")
    yield Row("training step, part of the bf16 peak", 100 * rate / peak, "%")

    yield augmentation(setup, run)
    activities = [ProfilerActivity.CPU]
    if setup.device != "cpu":
        activities.append(ProfilerActivity.CUDA)
    wait(setup.device)
    with profile(activities=activities) as profiled:
        start = time.perf_counter()
        for _ in range(sizes.repeats):
            run.step()
        wait(setup.device)
        wall = (time.perf_counter() - start) / sizes.repeats
    if setup.device != "cpu":
        # The profiler itself slows the host; kernels keep their time.
        busy = kernel_seconds(profiled) / sizes.repeats
        share = max(0.0, 100 * (1 - busy / seconds))
        note = "time of a step without kernels of the device"
        verdict = "met" if share <= HOST_GOAL else "missed"
        yield Row("host's part of a step", share, "%", f"<= {HOST_GOAL:g}", verdict, note)
    yield Row("step under the profiler", wall, "s")
    for name, milliseconds in longest(profiled, sizes.repeats):
        yield Row(f"profile: {name[:80]}", milliseconds, "ms/step")


def augmentation(setup: Setup, run: LiveRun) -> Row:
    """The augmentation of a step's images on the device, which `LiveRun` leaves out."""
    shape, side = run.loaded.images.shape[:2], run.loaded.images.shape[-1]
    images = torch.randint(256, (*shape, 3, side, side), dtype=torch.uint8)
    place = torch.tensor([side, side, 0.1, 1, 1, 0, 0])  # of a rotated, blurred, mirrored view
    batch = replace(run.loaded, images=images, places=place.expand(*shape, -1).contiguous())
    given = {k: v.to(run.device) for k, v in vars(batch).items() if v is not None}
    batch = replace(batch, **given)
    call = partial(run.featuriser.augmented, batch)
    seconds = seconds_of(call, setup.device, sizes_of(setup).repeats)
    return Row("augmentation of a step's images", 1000 * seconds, "ms", note="blurred and rotated")


def own_microseconds(event: Any) -> float:
    """The time of a profiler's row on its device, without its callees."""
    for name in ("self_device_time_total", "self_cuda_time_total"):
        with suppress(AttributeError):
            if getattr(event, name):
                return float(getattr(event, name))
    return 0.0


def kernel_seconds(profiled: profile) -> float:
    """The time of all kernels of the device."""
    return sum(own_microseconds(event) for event in profiled.key_averages()) / 1e6


def longest(profiled: profile, calls: int, count: int = 15) -> list[tuple[str, float]]:
    """The longest kernels, or operators on a CPU, with their milliseconds a call."""
    events = profiled.key_averages()
    times = {str(event.key): own_microseconds(event) for event in events}
    if not any(times.values()):
        times = {str(event.key): float(event.self_cpu_time_total) for event in events}
    ordered = sorted(times.items(), key=lambda pair: -pair[1])[:count]
    return [(name, micro / calls / 1000) for name, micro in ordered if micro > 0]
