"""`make bench`: every hot path against a plain alternative, in one process.

python -m benchmarks.run            # the goals' sizes, a few minutes on one core
python -m benchmarks.run --quick    # tiny sizes, seconds: shows that everything runs
python -m benchmarks.run --model catrans    # one model's training step and test episode
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any, cast

import faiss
import numpy as np
import torch
import typer
from sklearn.cluster import KMeans, MiniBatchKMeans
from torch import Tensor

from benchmarks.measure import Measurement, measure, product_rates
from benchmarks.paths import (
    RESNET,
    VOC_BEST,
    VOC_CPU,
    CachedRun,
    Learning,
    Setting,
    SimulatedTokens,
    fit_by_autograd,
    labels_of_upsampled_features,
    photo,
    random_episodes,
    transductive_task,
    vote_by_loop,
)
from benchmarks.plain import PlainRun, plain_layers
from benchmarks.report import Curve, Goal, Row, write_report
from umtfss.clustering.pixel_kmeans import fit_centroids, nearest_centroids
from umtfss.common.device import prepare_process
from umtfss.common.onednn import linear
from umtfss.episodes.batch import EpisodeBatch
from umtfss.experiment.clustering import ClusteringConfig
from umtfss.experiment.model import ModelConfig
from umtfss.experiment.pseudo_masks import PseudoMasksConfig
from umtfss.features.store import FeatureStore, unit_tokens
from umtfss.models.base import MetaLearner
from umtfss.models.build import build_model
from umtfss.models.layers.attention import CrossAttention
from umtfss.models.layers.prototype_attention import prototypes, set_numbers, token_priority
from umtfss.models.layers.transduction import fit
from umtfss.plan.cost import episode_gflop
from umtfss.pseudo_masks.assign import assign_pixels
from umtfss.pseudo_masks.regions import keep_clusters, region_features, valid_regions
from umtfss.pseudo_masks.superpixels import felzenszwalb_superpixels, majority_vote

RESULTS = Path(__file__).parent / "results"
BITS, ITERATIONS, K_FG, K_BG = 32, 10, 50, 100
CLUSTER_TOKENS, CLUSTER_CHANNELS, CLUSTERS = 64, 128, 30
COMPETITORS = ("repri", "bam", "ppnet", "catrans")
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurements."""

    model: Setting = RESNET
    voc: Setting = VOC_BEST
    laptop: Setting = VOC_CPU
    batch: int = 4
    repeats: int = 5
    voc_episodes: int = 1000
    voc_images: int = 364
    images: tuple[int, ...] = (1000, 5000, 20_000, 50_000)
    memory_vectors: int = 49_152
    vectors: int = 65_536
    grids: tuple[int, ...] = (15, 30, 60)
    levels: tuple[int, ...] = (384,) * 12
    correlated: int = 24
    product: int = 2048
    judges_goals: bool = True


_TINY = ModelConfig(width=16, heads=2, layers=1)
_TINY_VOC = VOC_BEST.model.model_copy(update={"width": 16, "heads": 2, "layers": 1})
QUICK = Sizes(
    model=Setting(RESNET.channels, 65, 8, True, _TINY, (45, 60)),
    voc=Setting(VOC_BEST.channels, 84, 14, False, _TINY_VOC, (45, 60)),
    laptop=Setting({"block14": 8, "block20": 8, "high": 8}, 96, 16, False, _TINY),
    batch=2,
    repeats=1,
    voc_episodes=4,
    voc_images=4,
    images=(100, 200),
    memory_vectors=512,
    vectors=1000,
    grids=(5, 8),
    levels=(8, 8),
    correlated=6,
    product=64,
    judges_goals=False,
)


@dataclass
class Bench:
    """Collects measurements."""

    sizes: Sizes
    rows: list[Row] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)
    peak: float = 0.0

    def add(
        self,
        task: str,
        path: str,
        call: Callable[[], Any],
        *,
        items: int = 1,
        repeats: int | None = None,
        gflop: float | None = None,
    ) -> Measurement:
        """Measure a path and keep it."""
        found = measure(call, items, repeats or self.sizes.repeats)
        share = None if gflop is None else gflop / found.seconds / self.peak
        self.rows.append(Row(task, path, found.seconds, found.megabytes, share))
        memory = f"{found.megabytes:.0f} MB"
        print(f"{task}: {path}: {found.seconds:.4g} CPU-s, {memory}", flush=True)
        return found

    def goal(
        self, what: str, goal: float, measured: float | None, reason: str, at_least: bool = False
    ) -> None:
        """Keep a goal; goals are judged at their own sizes alone."""
        measured = measured if self.sizes.judges_goals else None
        self.goals.append(Goal(what, goal, measured, at_least, reason))

    def grow(self, path: str, size: str, calls: Mapping[int, Callable[[], Any]]) -> None:
        """Measure a path at several sizes."""
        repeats = min(3, self.sizes.repeats)
        seconds = [measure(call, repeats=repeats).seconds for call in calls.values()]
        self.curves.append(Curve(path, size, list(calls), seconds))

    def products(self) -> None:
        """The machine's fp32 matrix product, the measure of everything else."""
        rates = product_rates(self.sizes.product)
        self.peak = max(rates.values())
        for name, rate in rates.items():
            seconds = 2e-9 * self.sizes.product**3 / rate
            task = f"fp32 matrix product, side {self.sizes.product}"
            self.rows.append(Row(task, name, seconds, 0.0, rate / self.peak))
            print(f"fp32 matrix product, {name}: {rate:.0f} GFLOP/s", flush=True)

    def episodes(self, folder: Path) -> None:
        """Training steps and test episodes, cached against recomputed."""
        sizes, setting = self.sizes, self.sizes.model
        cached, plain = CachedRun(setting, folder / "model", 6), PlainRun(setting)
        photos = CachedRun(setting, folder / "photos", 6, aspect=0.75)
        model, replica = setting.learner(), plain_layers(setting.learner())
        learning, plain_learning = Learning(model), Learning(replica)
        tokens, channels = setting.grid**2, sum(setting.channels[level] for level in setting.mid)
        # cost.episode_gflop leaves out the prior mask, for which a fifth of tokens is foreground
        prior = 0.4e-9 * tokens**2 * setting.channels[setting.high]
        forward = episode_gflop(setting.model, tokens, channels)

        task, step, batch = "training step, per sample", {}, sizes.batch
        for amp in ("bf16", "off"):
            step[amp] = self.add(
                task,
                f"umtfss, {_precision(amp)}",
                partial(cached.train_step, learning, batch, amp),
                items=batch,
                gflop=3 * forward + prior,
            ).seconds
        self.add(
            task,
            "umtfss, fp32, photos of 4:3",
            partial(photos.train_step, learning, batch, "off"),
            items=batch,
        )
        self.add(task, "recompute everything", lambda: plain.train_step(plain_learning), repeats=2)
        self.goal(
            "training step from cached features, CPU-s per sample",
            0.6,
            min(step.values()),
            reason=f"batch {batch}, reading included; {_both(step)}. fp32 would need "
            f"{(3 * forward + prior) / 0.6 / self.peak:.0%} of the matrix-product peak",
        )

        task, test = "test episode", {}
        for amp in ("bf16", "off"):
            test[amp] = self.add(
                task,
                f"umtfss, {_precision(amp)}",
                partial(cached.test, model, 8, amp),
                items=8,
                repeats=min(3, sizes.repeats),
                gflop=forward + prior,
            ).seconds
        self.add(
            task,
            "umtfss, fp32, photos of 4:3",
            partial(photos.test, model, 8, "off"),
            items=8,
            repeats=min(3, sizes.repeats),
        )
        self.add(task, "recompute everything", lambda: plain.test(replica), repeats=2)
        self.goal(
            "test episode from cached features, CPU-s",
            0.25,
            min(test.values()),
            reason=f"batch 8, reading and scoring included; {_both(test)}. fp32 would need "
            f"{(forward + prior) / 0.25 / self.peak:.0%} of the matrix-product peak",
        )
        self.grow(
            "training step bf16",
            "batch",
            {b: partial(cached.train_step, learning, b, "bf16") for b in (1, 2, sizes.batch)},
        )
        self.grow(
            "test episode bf16",
            "shots",
            {k: partial(cached.test, model, 1, "bf16", k) for k in (1, 2, 5)},
        )

        voc = CachedRun(sizes.voc, folder / "voc", sizes.voc_images, aspect=0.75)
        learner = sizes.voc.learner()
        fold = self.add(
            f"{sizes.voc_episodes} test episodes of voc_best's size",
            "umtfss, fp32",
            lambda: voc.test(learner, sizes.voc_episodes, "off"),
            repeats=1,
        )
        self.goal(
            "1,000 test episodes of one fold at voc_best size, s on 2 cores",
            40,
            fold.seconds,
            reason="CPU-seconds on one core: an upper bound of the time on two",
        )

    def correlations(self) -> None:
        """Training steps of the models that see correlations alone: 12 levels of a ViT-S."""
        sizes = self.sizes
        channels, side = sizes.levels, sizes.correlated
        batch = random_episodes(side, channels, sizes.batch)
        task = f"training step on correlations of {side} x {side} tokens, per sample"
        found = {}
        for name in ("hsnet", "asnet"):
            torch.manual_seed(0)
            learning = Learning(build_model(name, ModelConfig(), channels))
            for amp in ("bf16", "off"):
                call = partial(learning.step, batch, amp)
                path = f"umtfss, {name}, {_precision(amp)}"
                found[name, amp] = self.add(task, path, call, items=sizes.batch).seconds
        steps = {amp: found["hsnet", amp] for amp in ("bf16", "off")}
        self.goal(
            f"HSNet's training step of {side} x {side} tokens, CPU-s per sample",
            0.6,
            min(steps.values()),
            reason=f"batch {sizes.batch}, {len(channels)} levels; {_both(steps)}",
        )

    def models(self, names: Sequence[str]) -> None:
        """Training steps and test episodes of single models, at the size of voc_cpu."""
        setting, count = self.sizes.laptop, self.sizes.batch
        batch = random_episodes(setting.grid, [setting.channels[one] for one in setting.mid], count)
        size = f"{setting.grid} x {setting.grid} tokens"
        for name in names:
            own, plain = setting.learner(name), plain_layers(setting.learner(name))
            paths = {"umtfss, fp32": own, "torch's own layers": plain}
            for path, model in paths.items():
                task = f"training step of {name}, {size}, per sample"
                self.add(task, path, partial(Learning(model).step, batch), items=count)
            for path, model in paths.items():
                task = f"test episode of {name}, {size}"
                self.add(task, path, partial(_predict, model, batch), items=count)

    def transduction(self) -> None:
        """RePRI's inference with its gradient in closed form, and with torch's gradient."""
        task = transductive_task(self.sizes.correlated, self.sizes.levels[-1])
        name = f"transductive inference of one episode, {len(task.query)} tokens"
        self.add(name, "umtfss, gradient in closed form", lambda: fit(task))
        self.add(name, "torch's gradient", lambda: fit_by_autograd(task))

    def grouping(self) -> None:
        """LSH and Hamming k-means against Euclidean k-means of the same tokens."""
        side = self.sizes.model.grid
        supports = {g: _support(g) for g in (*self.sizes.grids, side)}
        tokens, sets, _, _ = supports[side]

        def group(side: int = side, scale: float = 1.0) -> None:
            prototypes(*supports[side], _groups(scale), bits=BITS, iterations=ITERATIONS)

        def euclidean() -> None:
            for which, count in enumerate((K_FG, K_BG)):
                members = tokens[0][sets[0] == which].numpy()
                KMeans(
                    min(count, len(members)), init="random", n_init=1, max_iter=ITERATIONS, tol=0
                ).fit(members)

        task = f"prototypes of one episode, {side * side} tokens"
        found = self.add(task, "umtfss, LSH + Hamming k-means", group)
        self.add(task, "scikit-learn KMeans, Euclidean", euclidean)
        self.goal(
            "LSH + Hamming k-means of one episode, CPU-s",
            0.02,
            found.seconds,
            reason="pooling of the prototypes included; a unit test compares with numpy",
        )
        self.grow("Hamming k-means", "tokens", {g * g: partial(group, g) for g in self.sizes.grids})
        scales = (0.25, 0.5, 1, 2, 4)
        self.grow(
            "Hamming k-means",
            "prototypes",
            {sum(_groups(s)): partial(group, side, s) for s in scales},
        )

    @torch.inference_mode()
    def attention(self) -> None:
        """Cross-attention to prototypes against cross-attention to all support tokens."""
        side, settings = self.sizes.model.grid, ModelConfig()
        tokens, sets, key, priority = _support(side)
        layer = CrossAttention(settings.width, settings.heads).eval()
        query = torch.randn_like(tokens)

        def to_prototypes() -> Tensor:
            groups = (K_FG, K_BG)
            context = prototypes(
                tokens, sets, key, priority, groups, bits=BITS, iterations=ITERATIONS
            )
            return layer(query, *context)

        task = f"cross-attention, {side * side} query and support tokens"
        self.add(task, "umtfss, prototypes, grouping included", to_prototypes)
        self.add(task, "vanilla, all tokens", lambda: layer(query, tokens, sets >= 0))

    def assignment(self) -> None:
        """Assignment of vectors to centres, against the bare matrix product of the same shape."""
        random, channels, count = np.random.default_rng(0), 2048, self.sizes.vectors
        vectors = random.standard_normal((count, channels), np.float32)
        centroids = vectors[:50].copy()
        index = faiss.IndexFlatL2(channels)
        index.add(centroids)
        task, gflop = f"assignment of {count} x {channels} to 50 centres", 1e-7 * count * channels
        add = {
            "umtfss": lambda: nearest_centroids(vectors, centroids),
            "faiss IndexFlatL2": lambda: index.search(vectors, 1),
            "bare product, torch.mm": lambda: torch.mm(
                torch.from_numpy(vectors), torch.from_numpy(centroids).T
            ),
            "bare product, numpy": lambda: vectors @ centroids.T,
            "bare product, oneDNN": lambda: _product(vectors, centroids),
        }
        found = {p: self.add(task, p, call, gflop=gflop).seconds for p, call in add.items()}
        bare = min(seconds for path, seconds in found.items() if path.startswith("bare"))
        self.goal(
            "pixel k-means assignment, % of the fastest bare fp32 product of its shape",
            60,
            100 * bare / found["umtfss"],
            at_least=True,
            reason="of torch.mm, numpy and oneDNN",
        )

    def clustering(self) -> None:
        """Streaming k-means against k-means of vectors that are all in memory."""
        sizes, count = self.sizes, self.sizes.images[-2]
        store = SimulatedTokens(count, CLUSTER_TOKENS, CLUSTER_CHANNELS)

        def held() -> np.ndarray:
            tokens = (unit_tokens(cast(FeatureStore, store), i, "level") for i in store.ids)
            return np.concatenate(list(tokens))

        task = f"k-means of {count * CLUSTER_TOKENS} vectors, reading included"
        fits = {
            "umtfss, streaming": lambda: _cluster(store, sizes.memory_vectors),
            "scikit-learn MiniBatchKMeans": lambda: MiniBatchKMeans(
                CLUSTERS, batch_size=4096, max_iter=1, n_init=1
            ).fit(held()),
            "faiss.Kmeans, all vectors": lambda: faiss.Kmeans(
                CLUSTER_CHANNELS, CLUSTERS, niter=30, max_points_per_centroid=10**7
            ).train(held()),
        }
        for path, call in fits.items():
            self.add(task, path, call, repeats=1)

        command = [sys.executable, "-m", "benchmarks.run", "--cluster-vectors"]
        runs = []
        for images in sizes.images:
            arguments = [*command, str(sizes.memory_vectors), "--cluster-images", str(images)]
            output = subprocess.run(arguments, check=True, capture_output=True, text=True).stdout
            runs.append(json.loads(output.splitlines()[-1]))
            task = f"k-means of {images} images in a fresh process"
            self.rows.append(Row(task, "umtfss, streaming", *runs[-1]))
            print(f"{task}: peak {runs[-1][1]:.0f} MB", flush=True)
        seconds, memory = zip(*runs, strict=True)
        self.curves.append(Curve("streaming k-means", "images", sizes.images, seconds))
        self.goal(
            "peak memory of clustering, % of change from 1,000 to 50,000 images",
            10,
            100 * max(abs(peak / memory[0] - 1) for peak in memory),
            reason=f"a fresh process each, its imports not counted; images of {CLUSTER_TOKENS} x "
            f"{CLUSTER_CHANNELS}, {sizes.memory_vectors} vectors held",
        )

    def pseudo_masks(self) -> None:
        """From the features of a photo to its regions, without the forward pass."""
        grid, channels, settings, image = (15, 20), 2048, PseudoMasksConfig(), photo()
        random = np.random.default_rng(0)
        tokens = random.standard_normal((grid[0] * grid[1], channels), np.float32)
        tokens /= np.linalg.norm(tokens, axis=1, keepdims=True)
        centroids = tokens[: 10 * CLUSTERS : 10].copy()
        size = (image.shape[0], image.shape[1])
        superpixels = felzenszwalb_superpixels(image, settings)
        labels = assign_pixels(tokens, grid, centroids, size, align_corners=False)

        def masks() -> None:
            labels = assign_pixels(tokens, grid, centroids, size, align_corners=False)
            labels = majority_vote(labels, felzenszwalb_superpixels(image, settings))
            clusters, _ = valid_regions(labels, CLUSTERS, settings)
            region_features(labels, clusters, tokens, grid, align=False)
            keep_clusters(labels, clusters)

        found = self.add("pseudo-masks of a 500 x 375 photo", "umtfss", masks)
        superpixel = measure(lambda: felzenszwalb_superpixels(image, settings), repeats=3).seconds
        self.goal(
            "pseudo-masks per 500 x 375 image, CPU-s",
            0.3,
            found.seconds,
            reason=f"{superpixel:.2f} s of it are scikit-image's Felzenszwalb",
        )
        task = "assignment of pixels"
        self.add(
            task,
            "umtfss",
            lambda: assign_pixels(tokens, grid, centroids, size, align_corners=False),
        )
        self.add(
            task,
            "features upsampled, then assigned",
            lambda: labels_of_upsampled_features(tokens, grid, centroids, size),
            repeats=1,
        )
        task = "superpixel vote"
        self.add(task, "umtfss", lambda: majority_vote(labels, superpixels))
        self.add(task, "a loop over superpixels", lambda: vote_by_loop(labels, superpixels))


@torch.inference_mode()
def _predict(model: MetaLearner, batch: EpisodeBatch) -> Tensor:
    logits: Tensor = model.eval()(replace(batch, class_index=None))  # not known in a test
    return logits


def _precision(amp: str) -> str:
    return "fp32" if amp == "off" else amp


def _both(seconds: dict[str, float]) -> str:
    return ", ".join(f"{_precision(amp)} {value:.3f}" for amp, value in seconds.items())


def _groups(scale: float) -> tuple[int, int]:
    return max(1, round(K_FG * scale)), max(1, round(K_BG * scale))


def _support(side: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Tokens, sets, key and priority of one support, a fifth of it foreground."""
    torch.manual_seed(0)
    foreground = torch.zeros(1, 1, side, side, dtype=torch.bool)
    foreground[..., : max(1, side // 5), :] = True
    sets = set_numbers(foreground, ~foreground)
    key = torch.zeros(1, dtype=torch.int64)
    return (
        torch.randn(1, side * side, ModelConfig().width),
        sets,
        key,
        token_priority(key, (1, side, side)),
    )


def _product(vectors: np.ndarray, centroids: np.ndarray) -> Tensor:
    return linear(torch.from_numpy(vectors), torch.from_numpy(centroids))


def _cluster(store: SimulatedTokens, vectors: int) -> np.ndarray:
    """Cluster all images of a store with `vectors` vectors in memory."""
    settings = ClusteringConfig(subset_images=len(store.ids), memory_vectors=vectors)
    features = cast(FeatureStore, store)  # implements what clustering reads
    return fit_centroids(features, "level", store.ids, CLUSTERS, settings, seed=0)


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="Tiny sizes.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the CSV files and the plot.")] = RESULTS,
    model: Annotated[
        list[str] | None, typer.Option(help="Measure this model alone, and write nothing.")
    ] = None,
    cluster_images: Annotated[int, typer.Option(hidden=True)] = 0,
    cluster_vectors: Annotated[int, typer.Option(hidden=True)] = 0,
) -> None:
    """Measure every hot path on one core."""
    prepare_process(1)
    faiss.omp_set_num_threads(1)
    if cluster_images:
        store = SimulatedTokens(cluster_images, CLUSTER_TOKENS, CLUSTER_CHANNELS)
        found = measure(lambda: _cluster(store, cluster_vectors), repeats=1)
        print(json.dumps([found.seconds, found.megabytes]))
        return
    bench = Bench(QUICK if quick else Sizes())
    if model:
        bench.models(model)
        return
    bench.products()
    bench.grouping()
    bench.attention()
    bench.correlations()
    bench.models(COMPETITORS)
    bench.transduction()
    bench.assignment()
    bench.pseudo_masks()
    bench.clustering()
    with tempfile.TemporaryDirectory() as folder:
        bench.episodes(Path(folder))
    bench.goal(
        "demo, all six tables after installation, min on 2 cores",
        8,
        None,
        reason="a whole workflow: `time make tables`; see benchmarks/README.md",
    )
    print(write_report(out, bench.rows, bench.goals, bench.curves))


if __name__ == "__main__":
    app()
