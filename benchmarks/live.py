"""The backbone in the loop against the frozen plain run, on one core.

python -m benchmarks.live             # two to five minutes on one core
python -m benchmarks.live --profile   # and which operators a live training step spends its time in
python -m benchmarks.live --quick     # tiny sizes, seconds: shows that everything runs

Both ways run in one process, in turns, so that other programs slow both. A speed is the median over
the pairs of turns, in CPU-seconds. Sizes are the paper's: ResNet-50 at 473 px, batch 4, one shot.
"""

import csv
import io
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image
from torch.profiler import ProfilerActivity, profile

from benchmarks.gpu.report import Setup
from benchmarks.gpu.speed import SMALL, LiveRun, LiveTest
from benchmarks.paths import RESNET, DiscImages, Learning, Setting, draw_episodes, photo
from benchmarks.plain import PlainRun, plain_layers
from umtfss.common.device import prepare_process
from umtfss.episodes.live import LiveEpisodes, LiveItem, collate_live
from umtfss.episodes.masks import GroundTruthMasks
from umtfss.experiment.augment import AugmentConfig

RESULTS = Path(__file__).parent / "results" / "live.csv"
STEP_GOAL, TEST_GOAL = 1.5, 3.5  # times the plain run, in fp32
app = typer.Typer(add_completion=False)


@dataclass(frozen=True)
class Sizes:
    """The sizes of the measurements.

    Attributes:
        setting: Image, grid and model.
        batch: B.
        images: Images of a test.
        episodes: Episodes of a test; the paper has 1,000 of 400 images.
        pairs: Pairs of turns.
    """

    setting: Setting = RESNET
    batch: int = 4
    images: int = 4
    episodes: int = 10
    pairs: int = 3


@dataclass(frozen=True)
class Pairs:
    """The times of two ways of a task, which took turns.

    Attributes:
        task: The task, with the unit of work.
        own: CPU-seconds of the package, a turn each.
        plain: CPU-seconds of the plain run.
        goal: Goal for `speed`.
    """

    task: str
    own: list[float]
    plain: list[float]
    goal: float

    @property
    def speeds(self) -> list[float]:
        """How many times as fast the package is, in each pair."""
        return [plain / own for own, plain in zip(self.own, self.plain, strict=True)]

    def row(self) -> dict[str, str]:
        """A row of the table."""
        speed = median(self.speeds)
        return {
            "task": self.task,
            "umtfss, CPU-s": f"{median(self.own):.3f}",
            "plain run, CPU-s": f"{median(self.plain):.3f}",
            "times": f"{speed:.2f}",
            "least": f"{min(self.speeds):.2f}",
            "most": f"{max(self.speeds):.2f}",
            "goal": f">= {self.goal:g}",
            "verdict": "met" if speed >= self.goal else "missed",
        }


def alternating(
    task: str,
    own: tuple[Callable[[], Any], int],
    plain: Callable[[], Any],
    pairs: int,
    goal: float,
) -> Pairs:
    """Run two ways in turns, after a turn of each that warms up.

    Args:
        task: The task.
        own: The package's way, and the number of items that it does in a call.
        plain: The plain way of one item.
        pairs: Number of pairs.
        goal: Goal for the speed.
    """
    call, items = own
    call()
    plain()
    times = [(cpu_seconds(call) / items, cpu_seconds(plain)) for _ in range(pairs)]
    return Pairs(task, [one for one, _ in times], [other for _, other in times], goal)


def cpu_seconds(call: Callable[[], Any]) -> float:
    """The CPU-seconds of a call in this process."""
    start = time.process_time()
    call()
    return time.process_time() - start


class JpegPhotos(DiscImages):
    """A photograph in the place of every image, decoded from JPEG at every read."""

    @cached_property
    def _jpeg(self) -> bytes:
        held = io.BytesIO()
        Image.fromarray(photo()).save(held, "jpeg", quality=95)
        return held.getvalue()

    def image(self, qualified: str) -> np.ndarray:
        """The photograph, (375, 500, 3) uint8."""
        return np.array(Image.open(io.BytesIO(self._jpeg)))


def image_seconds(run: LiveRun, setting: Setting, count: int) -> tuple[float, float]:
    """CPU-seconds a sample: a loader's for both images of an episode, and of their augmentation."""
    photos = JpegPhotos([f"photo/{number}" for number in range(4)], photo().shape[:2])
    episodes = LiveEpisodes(
        draw_episodes(photos.ids, count, 1),
        photos,
        GroundTruthMasks(photos),
        extractor=run.featuriser.extractor,
        long_side=setting.pixels,
        augment=AugmentConfig(),
    )
    items: list[LiveItem] = []
    loading = cpu_seconds(lambda: items.extend(episodes[row] for row in range(count)))
    batch = collate_live(items[: run.loaded.images.shape[0]])
    run.featuriser.augmented(batch)
    augmenting = cpu_seconds(lambda: run.featuriser.augmented(batch))
    return loading / count, augmenting / len(batch.key)


def compare(sizes: Sizes, folder: Path) -> tuple[list[Pairs], LiveRun]:
    """Measure both tasks; the second result is a live training for more measurements."""
    setup = Setup("cpu", False, folder)
    plain = PlainRun(sizes.setting)
    replica = plain_layers(sizes.setting.learner())
    learning = Learning(replica)
    run = LiveRun(setup, sizes.setting, sizes.batch, 1)
    step = alternating(
        f"live training step, batch {sizes.batch}, per sample",
        (run.step, sizes.batch),
        lambda: plain.train_step(learning),
        sizes.pairs,
        STEP_GOAL,
    )
    print(step.row(), flush=True)
    tested = LiveTest(setup, sizes.setting, sizes.images, sizes.episodes, 1)
    test = alternating(
        f"live test of {sizes.episodes} episodes of {sizes.images} images, per episode",
        (lambda: tested.test(sizes.batch), sizes.episodes),
        lambda: plain.test(replica),
        sizes.pairs,
        TEST_GOAL,
    )
    print(test.row(), flush=True)
    return [step, test], run


def show_profile(run: LiveRun) -> None:
    """Print the operators in which a live training step spends most time."""
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
        run.step()
    found = profiled.key_averages(group_by_input_shape=True)
    total = sum(event.self_cpu_time_total for event in found)
    print(f"a step of {total / 1e6:.2f} s under the profiler; ms and part of operators:")
    for event in sorted(found, key=lambda one: -one.self_cpu_time_total)[:30]:
        micro, shapes = event.self_cpu_time_total, [one for one in event.input_shapes if one][:2]
        part = f"{micro / 1000:8.0f} {100 * micro / total:5.1f} %"
        print(f"{part} {event.count:3d} x {event.key} {shapes}")


@app.command()
def main(
    quick: Annotated[bool, typer.Option(help="Tiny sizes, which judge nothing.")] = False,
    pairs: Annotated[int, typer.Option(help="Pairs of turns.")] = Sizes.pairs,
    profiled: Annotated[
        bool, typer.Option("--profile", help="Show the longest operators.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The CSV file.")] = RESULTS,
) -> None:
    """Measure live training steps and live tests against the plain run."""
    prepare_process(1)
    sizes = Sizes(SMALL.setting, 2, 2, 2) if quick else Sizes()
    with tempfile.TemporaryDirectory() as folder:
        found, run = compare(replace(sizes, pairs=pairs), Path(folder))
        loading, augmenting = image_seconds(run, sizes.setting, 4 if quick else 20)
        print(f"decoding, scaling, masks: {loading:.3f} CPU-s a sample, in the loader")
        print(f"augmentation of images: {augmenting:.3f} CPU-s a sample")
        if profiled:
            show_profile(run)
    rows = [one.row() for one in found]
    with open(out, "w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        table.writeheader()
        table.writerows(rows)


if __name__ == "__main__":
    app()
