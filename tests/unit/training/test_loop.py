"""umtfss.training.loop."""

import json
import logging
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import nn

from umtfss.common.digests import digest_file
from umtfss.common.errors import TrainingError
from umtfss.common.manifests import read_manifest
from umtfss.models.base import MetaLearner
from umtfss.training.loop import steps_together
from umtfss.training.report import Report
from umtfss.training.step import _clip, foreground_iou

OFTEN = 1e-9  # minutes: a checkpoint after every step
OUTPUTS = ("weights.safetensors", "log.csv", "manifest.json", "curve.png")


@pytest.fixture(scope="module")
def reference(tiny, tmp_path_factory):
    """A training that nobody interrupted."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("reference")
    tiny.run(folder)
    return folder


def assert_same(folder, reference):
    for name in OUTPUTS:
        assert (folder / name).read_bytes() == (reference / name).read_bytes(), name
    assert not (folder / "checkpoint.pt").exists()


def test_it_learns_and_says_what_it_did(reference):
    table = pd.read_csv(reference / "log.csv")
    assert table["step"].tolist() == [*range(3, 40, 3), 40]
    assert table["loss"].iloc[-3:].mean() < 0.7 * table["loss"].iloc[0]
    assert table["iou"].iloc[-3:].mean() > table["iou"].iloc[0] + 0.1
    manifest = read_manifest(reference / "manifest.json", "training")
    assert manifest["digest"] == digest_file(reference / "weights.safetensors")
    assert (manifest["identity"], manifest["seed"], manifest["steps"]) == ("one", 7, 40)
    assert manifest["settings"]["sgd_lr"] == 0.01
    assert manifest["final_loss"] == pytest.approx(table["loss"].mean(), rel=1e-4)
    assert "workers" not in manifest["settings"]
    assert sorted(path.name for path in reference.iterdir()) == sorted(OUTPUTS)


def test_the_csv_gives_the_rate_of_the_schedule(reference):
    table = pd.read_csv(reference / "log.csv")
    # 40 images in batches of 4: ten steps of warm-up; rate of step 3 (from 1) and of step 30
    assert table["rate"].iloc[0] == pytest.approx(0.15 * 0.95**0.9 * 3 / 10, rel=1e-5)
    assert table["rate"].iloc[9] == pytest.approx(0.15 * (11 / 40) ** 0.9, rel=1e-5)


def test_loader_processes_and_checkpoints_change_nothing(tiny, tmp_path, reference):
    tiny.run(tmp_path, workers=2, checkpoint_minutes=OFTEN)
    assert_same(tmp_path, reference)


def test_the_callers_generator_is_left_alone_and_does_not_matter(tiny, tmp_path, reference):
    model = tiny.run(tmp_path / "a")
    torch.manual_seed(0)
    model = tiny.TinyLearner()
    torch.manual_seed(12345)
    state = torch.get_rng_state()
    tiny.run(tmp_path / "b", model=model)
    torch.manual_seed(0)
    tiny.TinyLearner()
    after_init = torch.get_rng_state()
    tiny.run(tmp_path / "c")
    assert torch.equal(torch.get_rng_state(), after_init)
    assert not torch.equal(state, after_init)
    assert not torch.are_deterministic_algorithms_enabled()
    assert_same(tmp_path / "b", reference)


def dropped(tiny, folder, seed):
    """Which channels dropout zeroed in every step."""
    model, masks = tiny.TinyLearner(), []
    model.transformer[2].register_forward_hook(
        lambda module, inputs, output: masks.append((output == 0).numpy().tobytes())
    )
    tiny.run(folder, model=model, seed=seed, steps=5)
    return masks


def test_dropout_differs_from_step_to_step_and_depends_on_the_seed(tiny, tmp_path):
    first = dropped(tiny, tmp_path / "a", seed=1)
    assert len(set(first)) == 5
    assert dropped(tiny, tmp_path / "b", seed=1) == first
    assert not set(dropped(tiny, tmp_path / "c", seed=2)) & set(first)


def test_it_ends_where_a_loop_written_by_hand_ends(tiny, tmp_path):
    steps = 8
    trained = tiny.run(tmp_path, dropout=0.0, steps=steps, warmup_steps=2)
    torch.manual_seed(0)
    model = tiny.TinyLearner(dropout=0.0)
    linear, norm = model.transformer[0], model.transformer[1]
    sgd = torch.optim.SGD(
        [*model.project.parameters(), *model.head.parameters()],
        lr=1.0,
        momentum=0.9,
        weight_decay=1e-4,
    )
    adamw = torch.optim.AdamW(
        [
            {"params": [linear.weight], "weight_decay": 1e-2},
            {"params": [linear.bias, *norm.parameters()], "weight_decay": 0.0},
        ],
        lr=1e-3,
    )
    episodes = tiny.TinyEpisodes(steps * 4)
    for step in range(steps):
        batch = tiny.collate([episodes[step * 4 + place] for place in range(4)])
        sgd.param_groups[0]["lr"] = 0.15 * (1 - step / steps) ** 0.9 * min(1, (step + 1) / 2)
        sgd.zero_grad()
        adamw.zero_grad()
        model.loss(model(batch), batch.target).backward()
        sgd.step()
        adamw.step()
    for one, other in zip(trained.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_and_exits_and_the_next_run_ends_at_the_same_bits(
    tiny, tmp_path, reference, number, caplog
):
    with caplog.at_level(logging.INFO, "umtfss"), pytest.raises(SystemExit) as exit_:
        tiny.run(tmp_path, tiny.signal_at(16, number))
    assert exit_.value.code == 128 + number
    assert f"stopped by {number.name} after step 17 of 40, which is saved" in caplog.text
    assert (tmp_path / "checkpoint.pt").exists()
    assert not (tmp_path / "manifest.json").exists()
    with caplog.at_level(logging.INFO, "umtfss"):
        tiny.run(tmp_path)
    assert "going on after step 17 of 40" in caplog.text
    assert_same(tmp_path, reference)


AVERAGED = {"ema": 0.9, "optimiser": "adamw", "decay": "cosine"}


def test_an_average_of_weights_is_saved_and_goes_on_at_the_same_bits(tiny, tmp_path):
    tiny.run(tmp_path / "whole", **AVERAGED)
    with pytest.raises(SystemExit):
        tiny.run(tmp_path / "stopped", tiny.signal_at(16, signal.SIGTERM), **AVERAGED)
    tiny.run(tmp_path / "stopped", **AVERAGED)
    assert_same(tmp_path / "stopped", tmp_path / "whole")


def test_the_average_is_that_of_the_weights_of_every_step(tiny, tmp_path):
    averaged, after_step, previous = tmp_path / "averaged", {}, {}
    for step in (1, 2, 3):  # equal seeds: a training of fewer steps at a constant rate is a part
        alike = {"decay": "constant", "warmup_steps": 0, "optimiser": "adamw", "steps": step}
        model = tiny.run(tmp_path / str(step), **alike)
        after_step = {name: value.clone() for name, value in model.state_dict().items()}
        previous = {
            name: value if step == 1 else 0.9 * previous[name] + 0.1 * value
            for name, value in after_step.items()
        }
    tiny.run(averaged, ema=0.9, **alike)
    saved = load_file(averaged / "weights.safetensors")
    for name, value in saved.items():
        torch.testing.assert_close(value, previous[name])
        assert not torch.equal(value, after_step[name])


class Blind(MetaLearner):
    """Finds nothing, whatever it is shown."""

    def __init__(self):
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([9.0, -9.0]))

    def forward(self, batch):
        return self.bias[:, None, None].expand(len(batch), 2, *batch.query_valid.shape[1:])


def test_a_training_that_finds_nothing_says_so(tiny, tmp_path, reference, caplog):
    tiny.run(tmp_path, model=Blind())
    assert "step 8 of 40: the IoU on the training's own tasks is below 0.05" in caplog.text
    assert read_manifest(tmp_path / "manifest.json", "training")["collapsed"] is True
    assert read_manifest(reference / "manifest.json", "training")["collapsed"] is False


def test_a_signal_to_the_whole_group_ends_no_loader_process(tiny, tmp_path, reference):
    main = os.getpid()

    def before(index):
        if index == 40:
            os.kill(os.getpid(), signal.SIGTERM)  # this loader process
            os.kill(main, signal.SIGTERM)

    with pytest.raises(SystemExit):
        tiny.run(tmp_path, before, workers=1)
    tiny.run(tmp_path, workers=1)
    assert_same(tmp_path, reference)


def test_a_signal_in_the_last_step_lets_training_finish(tiny, tmp_path, reference):
    tiny.run(tmp_path, tiny.signal_at(39, signal.SIGTERM))
    assert_same(tmp_path, reference)


def test_a_killed_process_goes_on_from_its_checkpoint(tiny, tmp_path, reference):
    command = [
        sys.executable,
        tiny.__file__,
        str(tmp_path),
        json.dumps({"checkpoint_minutes": OFTEN}),
        "--kill-at",
        "22",
    ]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert (tmp_path / "checkpoint.pt").exists()
    loaded = []
    tiny.run(tmp_path, loaded.append)
    assert loaded[0] == 22 * 4
    assert_same(tmp_path, reference)


def test_a_finished_training_is_not_repeated(tiny, tmp_path, caplog):
    tiny.run(tmp_path)
    before = {
        path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()
    }
    with caplog.at_level(logging.INFO, "umtfss"):
        tiny.run(tmp_path, lambda index: pytest.fail("it trained again"))
    assert "holds this training already" in caplog.text
    assert before == {
        path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in tmp_path.iterdir()
    }
    tiny.run(tmp_path, identity="two", steps=5)
    assert read_manifest(tmp_path / "manifest.json", "training")["steps"] == 5


def test_another_identity_starts_anew(tiny, tmp_path, reference, caplog):
    with pytest.raises(SystemExit):
        tiny.run(tmp_path, tiny.signal_at(5, signal.SIGTERM), identity="other", dropout=0.0)
    tiny.run(tmp_path)
    assert "belongs to other settings, code or episodes" in caplog.text
    assert_same(tmp_path, reference)


class Diverging(MetaLearner):
    """Wraps a learner; its loss is NaN from step `at` on."""

    def __init__(self, learner, at):
        super().__init__()
        self.learner, self.at, self.step = learner, at, 0

    def forward(self, batch):
        return self.learner(batch)

    def loss(self, logits, target):
        self.step += 1
        loss = self.learner.loss(logits, target)
        return loss * float("nan") if self.step >= self.at else loss

    def transformer_parameters(self):
        return self.learner.transformer_parameters()


def test_a_loss_that_is_not_finite_ends_training_and_keeps_the_last_checkpoint(tiny, tmp_path):
    model = Diverging(tiny.TinyLearner(), at=6)
    with pytest.raises(TrainingError, match="step 6 of 40 is not finite") as error:
        tiny.run(tmp_path, model=model, checkpoint_minutes=OFTEN)
    assert "lr_multiplier" in str(error.value)
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert saved["step"] == 5
    assert all(torch.isfinite(value).all() for value in saved["model"].values())
    assert not (tmp_path / "weights.safetensors").exists()


@pytest.fixture
def like_a_gpu(monkeypatch):
    """The results of several steps are read together, as on a GPU."""
    monkeypatch.setattr("umtfss.training.loop.steps_together", lambda device, every: every)


def test_results_that_are_read_together_are_the_same(tiny, tmp_path, like_a_gpu):
    together = tiny.run(tmp_path / "together", log_every=7, checkpoint_minutes=OFTEN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("umtfss.training.loop.steps_together", lambda device, every: 1)
        alone = tiny.run(tmp_path / "alone", log_every=7, checkpoint_minutes=OFTEN)
    for one, other in zip(together.parameters(), alone.parameters(), strict=True):
        assert torch.equal(one, other)
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("together", "alone")]
    assert logs[0] == logs[1]
    assert len(logs[0].splitlines()) == 1 + 6  # 40 steps, seven a line


def test_a_loss_read_later_is_named_by_its_step_and_not_saved(tiny, tmp_path, like_a_gpu):
    model = Diverging(tiny.TinyLearner(), at=6)
    with pytest.raises(TrainingError, match="step 6 of 40 is not finite"):
        tiny.run(tmp_path, model=model, checkpoint_minutes=OFTEN, log_every=4)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 4


def test_a_stop_between_two_readings_is_seen_at_the_next(tiny, tmp_path, like_a_gpu):
    with pytest.raises(SystemExit):
        tiny.run(tmp_path, tiny.signal_at(5, signal.SIGTERM), log_every=4)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 8


def test_a_cpu_is_waited_for_in_every_step():
    assert steps_together(torch.device("cpu"), 10) == 1
    assert steps_together(torch.device("cuda"), 10) == 10


def test_weights_that_are_not_finite_are_not_saved(tiny, tmp_path):
    with pytest.raises(TrainingError, match="not finite"):
        tiny.run(tmp_path, sgd_lr=1e30, checkpoint_minutes=OFTEN)
    assert not (tmp_path / "weights.safetensors").exists()
    saved = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert all(torch.isfinite(value).all() for value in saved["model"].values())


def test_too_few_episodes_are_named(tiny, tmp_path):
    with pytest.raises(TrainingError, match=r"160 episodes\n  found:    159"):
        tiny.run(tmp_path, episodes=159)


def test_fp16_on_the_cpu_is_refused(tiny, tmp_path):
    with pytest.raises(TrainingError, match="fp16 needs a GPU"):
        tiny.run(tmp_path, amp="fp16")


def test_bf16_computes_the_forward_pass_in_bf16(tiny, tmp_path, native_bf16):
    seen = []
    model = tiny.TinyLearner()
    model.head.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    tiny.run(tmp_path, model=model, amp="bf16", steps=3)
    assert set(seen) == {torch.bfloat16}
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}


def test_an_overflow_spoils_no_gradient_of_the_other_optimiser():
    model = torch.nn.ModuleList([torch.nn.Linear(2, 1, bias=False) for _ in range(2)])
    first, other = (one.weight for one in model)
    first.grad, other.grad = torch.tensor([[float("inf"), 1.0]]), torch.full((1, 2), 3.0)
    assert not _clip(model, 1.0, may_overflow=True)
    assert torch.equal(other.grad, torch.full((1, 2), 3.0))
    first.grad = torch.zeros(1, 2)
    assert _clip(model, 1.0, may_overflow=True)
    assert other.grad.norm() == pytest.approx(1)


def test_clipping_bounds_the_step(tiny, tmp_path):
    torch.manual_seed(0)
    before = tiny.TinyLearner()
    kwargs = {"steps": 1, "sgd_weight_decay": 0, "lr_multiplier": 100, "dropout": 0.0}
    moved = {}
    for clip in (None, 1e-3):
        after = tiny.run(tmp_path / str(clip), clip_norm=clip, **kwargs)
        moved[clip] = (
            torch.cat(
                [
                    (a - b).flatten()
                    for (name, a), b in zip(
                        after.named_parameters(), before.parameters(), strict=True
                    )
                    if not name.startswith("transformer")
                ]
            )
            .norm()
            .item()
        )
    rate = 0.01 * 100
    assert moved[1e-3] <= 1e-3 * rate * 1.001
    assert moved[None] > 10 * moved[1e-3]


@dataclass(frozen=True)
class Raw:
    """What a loader of live images gives: tensors, not yet features."""

    query: torch.Tensor
    support: torch.Tensor
    mask: torch.Tensor
    target: torch.Tensor


def test_a_featuriser_works_without_gradient_and_gives_the_same(tiny, tmp_path, reference):
    def stack(items):
        return Raw(**{name: torch.stack([item[name] for item in items]) for name in items[0]})

    def featuriser(raw):
        assert not torch.is_grad_enabled()
        names = vars(raw)
        rows = zip(*names.values(), strict=True)
        return tiny.collate([dict(zip(names, row, strict=True)) for row in rows])

    tiny.run(tmp_path, collate=stack, featuriser=featuriser)
    assert_same(tmp_path, reference)


@pytest.mark.parametrize(("pairs", "widths"), [(0.0, [6, 6, 6, 6]), (0.5, [12, 6, 12, 6])])
def test_queries_of_some_batches_are_paired(tiny, tmp_path, pairs, widths):
    model, seen = tiny.TinyLearner(), []
    model.register_forward_pre_hook(lambda _, batch: seen.append(batch[0].query_mid.shape[3]))

    def collate(items):
        key = torch.arange(4) + 2**19 * (len(seen) % 2)  # draws 0 and one half, in turn
        classes = torch.tensor([1, 2, 1, 3])
        return replace(tiny.collate(items), key=key, class_index=classes)

    tiny.run(tmp_path, model=model, collate=collate, steps=4, augment={"pairs": pairs})
    assert seen == widths


@given(st.integers(0, 2**32 - 1))
def test_the_iou_is_that_of_sets(seed):
    draw = np.random.default_rng(seed)
    predicted = draw.random((3, 4, 5)) < draw.random()
    label = draw.choice([0, 1, 255], (3, 4, 5), p=[0.5, 0.3, 0.2])
    label[0] = draw.choice([0, 255])
    expected = []
    for one, true in zip(predicted, label, strict=True):
        positions = {(y, x) for y, x in np.ndindex(4, 5) if true[y, x] != 255}
        a = {p for p in positions if one[p]}
        b = {p for p in positions if true[p] == 1}
        expected.append(len(a & b) / len(a | b) if a | b else 1.0)
    logits = torch.from_numpy(np.stack([np.zeros_like(predicted), predicted * 2.0 - 1], 1))
    target = torch.from_numpy(label).repeat_interleave(3, 1).repeat_interleave(3, 2)
    assert foreground_iou(logits, target).item() == pytest.approx(np.mean(expected))


def test_the_speed_is_logged_now_and_then(monkeypatch, caplog):
    clock = iter([0.0, 6.0, 10.0, 10.0, 36.0, 40.0, 40.0])
    monkeypatch.setattr("umtfss.training.report.time.monotonic", lambda: next(clock))
    report = Report(batch_size=4)
    with caplog.at_level(logging.INFO, "umtfss"):
        for step in (1, 2):
            report.loaded()
            report.stepped()
            report.log(step, 5, 0.5, 0.25)
    assert caplog.messages == [
        "step 2 of 5: loss 0.5000, IoU 0.250, 0.2 episodes/s, loader waited for 80 %, 1.0 min to go"
    ]
