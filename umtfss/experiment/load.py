"""Reading of an experiment file: validated settings, or a message that says what to write.

Rules and tests call `load_experiment` and `read_config` and nothing else of this module.
"""

import re
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from umtfss.common.errors import ConfigError
from umtfss.common.files import WORKFLOW_ROOT
from umtfss.common.text import read_text
from umtfss.experiment.schema import Experiment

CHOSEN = {"experiment": "demo", "seed": 0, "device": "cpu"}  # keys of config.yaml, e.g.
EXTENDS = "extends"  # key of a file: the experiment whose settings it changes
# Sub-block of `model` -> its keys, which older files have in `model` itself.
MOVED = {
    "umtfss": (
        "layer_order support_self_attention cross_attention vanilla_tokens k_fg k_bg hash_bits "
        "hamming_iterations prototype_pool mask_empty_groups"
    ),
    "cyctr": "cycle_tokens cycle_tokens_vary cycle_spared",
    "pfenet": "pyramid_scales",
    "prototype": "self_support margin",
}
# Key of older experiment files -> why it is refused and what to write instead; * is any name.
REMOVED = {
    **{
        f"model.{key}": f"moved: write it into the sub-block, as model.{block}.{key}"
        for block, keys in MOVED.items()
        for key in keys.split()
    },
    "clustering.batch_vectors": "removed: memory follows from memory_vectors; delete the line",
    "clustering.gallery_regions": "removed: the gallery shows 8 a cluster; delete the line",
    "pseudo_masks.background_span": "removed: it is 0.99 for everyone; delete the line",
    "episodes.support_fraction": "removed: it is 0.5, as in the paper; delete the line",
    "episodes.support_cap": "removed: it is 5,000 regions, as in the paper; delete the line",
    "episodes.small_cluster": "removed: it is 20 regions, as in the paper; delete the line",
    "model.ffn_ratio": "removed: the hidden width is 3 d, as in the paper; delete the line",
    "model.superpixels": "moved: write evaluation.refine.superpixels, as no model is trained by it",
    "model.closer": "removed: a query is tested once, as a whole; delete the line",
    "features.tuned_blocks": "removed with the model `tuned`: no backbone is trained; delete it",
    "features.tuned_part": "removed with the model `tuned`: no backbone is trained; delete it",
    "features.clustering": "removed: features have names of your own; write `features: {NAME: "
    "{backbone: .., level: .., long_side: ..}}` and `clustering: {features: NAME}`",
    "features.assignment": "removed: features have names of your own; write pseudo_masks.features, "
    "or delete it if the clustered features are meant",
    "features.model": "removed: features have names of your own; write `features: {NAME: "
    "{backbone: .., level: .., mid: [..], long_side: ..}}` and `model: {features: NAME}`",
    "features.diffusion": "removed: write `features: {NAME: {from: OTHER, diffuse_over: POOL}}`; "
    "`own` is called `keep` there",
    "features.mirrored": "removed: write it in the named features",
    "features.precision": "removed: write it in the named features",
    "features.weights": "removed: write it in the named features",
    "features.shards": "removed: write extraction.shards",
    "features.batch_size": "removed: write extraction.batch_size",
    "features.part_mb": "removed: delete the line",
    "pools.*.level": "removed: write `features:` with the name of features of that level",
    "pools.*.embedding": "removed: give the embedding a name in features, and write that name as "
    "pools.<pool>.features",
    "evaluation.protocol": "removed: every label is counted at its own size; delete the line",
}


def experiment_file(name: str) -> Path:
    """The file of an experiment.

    Args:
        name: A name (`demo`) below experiments/ of the current folder, else of the package; or a
            path that ends in `.yaml`.

    Raises:
        ConfigError: There is no such file.
    """
    given = Path(name).expanduser()
    folders = [root / "experiments" for root in (Path.cwd(), WORKFLOW_ROOT)]
    places = [given] if given.suffix == ".yaml" else [one / f"{name}.yaml" for one in folders]
    path = next((one for one in places if one.is_file()), places[0])
    if not path.is_file():
        known = sorted({one.stem for folder in folders for one in folder.glob("*.yaml")})
        near = get_close_matches(name, known, 1)
        raise ConfigError(
            f"there is no experiment {name!r}" + (f", did you mean {near[0]!r}?" if near else ""),
            expected=f"one of {known}, or the path of a .yaml file",
            found=str(path),
            fix="correct the name, or call this in the folder that holds experiments/",
        )
    return path


def read_config(path: str | Path) -> dict[str, Any]:
    """The keys of config.yaml: `experiment`, `seed` and `device`.

    Raises:
        ConfigError: The file is no UTF-8, which Snakemake and DVC expect, no YAML, or lacks a key.
    """
    config = _mapping(Path(path), read_text(path, ConfigError, utf16=False))
    if lacking := [key for key in CHOSEN if key not in config]:
        raise ConfigError(
            f"{path} lacks {', '.join(lacking)}",
            expected=", ".join(f"{key}: {value}" for key, value in CHOSEN.items()),
            fix="add a line for each",
        )
    return config


def load_experiment(name: str, seed: int = 0) -> Experiment:
    """Read and validate an experiment.

    A file with `extends: NAME` changes the experiment NAME: mappings are merged, lists and single
    values replaced, and null deletes a key of NAME.

    Args:
        name: A name or a path (see `experiment_file`).
        seed: The seed, which is a key of config.yaml and not of the experiment's file.

    Raises:
        ConfigError: The file is missing or not YAML, or a key is unknown, missing or out of
            range; the message lists every such key, its file and what to write.
    """
    _check_chosen(name, seed)
    files = _read_chain(name)
    path = next(iter(files))
    if not re.fullmatch("[a-z0-9_]+", path.stem):
        raise ConfigError(
            f"{path} cannot be used: the file's name is the experiment's",
            expected="small letters, digits and _ before .yaml",
            fix="rename the file",
        )
    merged: dict[str, Any] = {}
    for settings in reversed(files.values()):
        merged = _merge(merged, settings)
    _refuse_removed(files, merged)
    try:
        return Experiment.model_validate({**merged, "name": path.stem, "seed": seed})
    except ValidationError as error:
        where = " or ".join(map(str, files))
        raise ConfigError(_explain(files, error), fix=f"edit {where}") from error


def _check_chosen(name: object, seed: object) -> None:
    """Refuse values of config.yaml, or of --config, that name no experiment or no seed.

    Raises:
        ConfigError: The name is no text or is empty, or the seed is no number from 0 on.
    """
    if not isinstance(name, str) or not name:
        raise ConfigError(
            "the key experiment of config.yaml, or of --config, names no experiment",
            expected="a name such as demo (a number in quotes), or the path of a .yaml file",
            found=repr(name),
            fix="write experiment: demo",
        )
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ConfigError(
            "the key seed of config.yaml, or of --config, is no seed",
            expected="a whole number from 0 on",
            found=repr(seed),
            fix="write seed: 0",
        )


def _read_chain(name: str) -> dict[Path, dict[str, Any]]:
    """The experiment's file and the files that it extends, each with its settings, the base last.

    Raises:
        ConfigError: A file is missing or not usable, or a file extends itself through others.
    """
    files: dict[Path, dict[str, Any]] = {}
    path = experiment_file(name)
    while path.resolve() not in {file.resolve() for file in files}:
        files[path] = settings = _read(path)
        if EXTENDS not in settings:
            return files
        base = settings.pop(EXTENDS)
        if not isinstance(base, str):
            raise ConfigError(
                f"{path}: {EXTENDS} names one experiment",
                expected="a name such as demo, or the path of a .yaml file",
                found=base,
                fix=f"write `{EXTENDS}: demo`, or delete the line",
            )
        path = experiment_file(base)
    raise ConfigError(
        f"{next(iter(files))} extends itself",
        expected="a chain that ends at an experiment that extends none",
        found=" -> ".join(file.stem for file in [*files, path]),
        fix=f"delete the line `{EXTENDS}:` of one of them",
    )


def _read(path: Path) -> dict[str, Any]:
    """The settings in one file, not yet validated.

    Raises:
        ConfigError: The file is not YAML, holds no mapping, or has a key that it must not have.
    """
    raw = _mapping(path, read_text(path, ConfigError))
    for key, where in (("name", "the file's name"), ("seed", "config.yaml")):
        if key in raw:
            raise ConfigError(
                f"{path} sets {key}",
                expected=f"{key} from {where}",
                found=raw[key],
                fix=f"delete the line `{key}:`",
            )
    return raw


def _mapping(path: Path, text: str) -> dict[str, Any]:
    """The mapping in a YAML file; PyYAML's safe loader makes plain values alone.

    Raises:
        ConfigError: The text is not YAML, holds no mapping, or has a key twice.
    """
    try:
        _refuse_repeated_keys(path, yaml.compose(text))
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        fix = "mend the line named above"
        raise ConfigError(f"{path} is not YAML: {error}", fix=fix) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no settings", expected="a mapping of keys", found=raw)
    return raw


def _merge(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`: mappings are merged, other values replaced; null deletes a key."""
    merged = dict(base)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = _merge(base[key], value)
        elif value is None and key in base:
            del merged[key]
        else:
            merged[key] = value
    return merged


def _refuse_repeated_keys(path: Path, node: yaml.Node | None) -> None:
    """Refuse a key that occurs twice in a mapping: YAML forbids it, PyYAML takes the last one."""
    if isinstance(node, yaml.MappingNode):
        keys = [key.value for key, _ in node.value if key.tag != "tag:yaml.org,2002:merge"]
        for key, value in node.value:
            if keys.count(key.value) > 1:
                raise ConfigError(
                    f"{path} has the key {key.value} twice in one block",
                    found=f"line {key.start_mark.line + 1}",
                    fix="delete one of the two",
                )
            _refuse_repeated_keys(path, value)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_repeated_keys(path, value)


def _refuse_removed(files: Mapping[Path, dict[str, Any]], settings: dict[str, Any]) -> None:
    """Refuse removed keys, and say for each what to write instead.

    Raises:
        ConfigError: The settings hold a removed key.
    """
    lines = [
        f"  {'.'.join(location)}: {reason}{_named_in(files, location)}"
        for key, reason in REMOVED.items()
        for location in _locations(settings, key.split("."))
    ]
    if lines:
        raise ConfigError(
            "\n".join([f"{next(iter(files))}: {len(lines)} setting(s) were removed", *lines]),
            fix=f"edit {' or '.join(map(str, files))}",
        )


def _locations(settings: Any, pattern: list[str]) -> list[tuple[str, ...]]:
    """The locations of the settings that match a pattern of keys; * matches any name."""
    if not pattern:
        return [()]
    if not isinstance(settings, dict):
        return []
    names = list(settings) if pattern[0] == "*" else [pattern[0]]
    return [
        (name, *rest)
        for name in names
        if name in settings
        for rest in _locations(settings[name], pattern[1:])
    ]


def _named_in(files: Mapping[Path, dict[str, Any]], location: tuple[int | str, ...]) -> str:
    """A text that names the file with the deepest part of a location; empty for one file."""
    if len(files) == 1:
        return ""
    depth = {path: _depth(settings, location) for path, settings in files.items()}
    return f" (in {max(files, key=lambda path: depth[path])})"


def _explain(files: Mapping[Path, dict[str, Any]], error: ValidationError) -> str:
    lines = [f"{next(iter(files))}: {error.error_count()} setting(s) cannot be used"]
    for problem in error.errors():
        # pydantic adds the name of the class where several classes are allowed
        location = tuple(part for part in problem["loc"] if part not in _classes())
        key = ".".join(map(str, location)) or "(whole file)"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            siblings = _fields_at(problem["loc"][:-1])
            near = get_close_matches(str(problem["loc"][-1]), siblings, 1)
            message = "unknown key" + (f", did you mean {near[0]!r}?" if near else "")
            message += f" (known: {', '.join(siblings)})" if siblings else ""
        elif problem["type"] == "missing":
            message = "required, but absent"
        elif not isinstance(problem["input"], dict):  # a whole block would bury the message
            message += f", found {problem['input']!r}"
        lines.append(f"  {key}: {message}{_named_in(files, location)}")
    return "\n".join(lines)


def _depth(settings: Any, location: tuple[int | str, ...]) -> int:
    """The number of leading parts of `location` that the file's own settings hold."""
    for depth, part in enumerate(location):
        listed = isinstance(settings, list) and isinstance(part, int) and part < len(settings)
        if not listed and not (isinstance(settings, dict) and part in settings):
            return depth
        settings = settings[part]
    return len(location)


def _classes() -> dict[str, Any]:
    """Name of a block's class -> its JSON schema."""
    definitions: dict[str, Any] = Experiment.model_json_schema()["$defs"]
    return definitions


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the block at `location`; empty if the location is not a block."""
    schema: Any = Experiment.model_json_schema()
    definitions, node = _classes(), schema
    for part in location:
        if part in definitions:
            node = definitions[str(part)]
            continue
        named = node.get("properties", {}).get(part)  # else a mapping whose keys are free names
        patterns: list[Any] = list(node.get("patternProperties", {}).values())
        node = named or (patterns[0] if patterns else {})
        options = [node, *node.get("anyOf", []), *node.get("allOf", [])]
        name = next((o["$ref"] for o in options if isinstance(o, dict) and "$ref" in o), None)
        node = definitions.get(name.rsplit("/", 1)[-1], {}) if name else node
    return sorted(node.get("properties", {}))
