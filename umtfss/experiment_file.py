"""From an experiment's file to its validated settings, or to a message that says what to write.

`load_experiment` is the only way in; scripts, rules and tests use it.
"""

import re
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from umtfss.errors import ConfigError
from umtfss.experiment import Experiment
from umtfss.provenance import PACKAGE_ROOT


def experiment_file(name: str) -> Path:
    """The file of an experiment, named (`demo`) or given as a path ending in `.yaml`.

    Raises:
        ConfigError: There is no such file.
    """
    path = Path(name) if name.endswith(".yaml") else PACKAGE_ROOT / "experiments" / f"{name}.yaml"
    if not path.is_file():
        known = sorted(p.stem for p in (PACKAGE_ROOT / "experiments").glob("*.yaml"))
        near = get_close_matches(name, known, 1)
        raise ConfigError(
            f"there is no experiment {name!r}" + (f", did you mean {near[0]!r}?" if near else ""),
            expected=f"one of {known}, or the path of a .yaml file",
            found=str(path),
            fix="snakemake --cores all --config experiment=demo -- all_tables",
        )
    return path


def load_experiment(name: str, seed: int = 0) -> Experiment:
    """The validated experiment.

    Args:
        name: A name below experiments/, or the path of a `.yaml` file.
        seed: The seed, which stands in config.yaml and not in the experiment's file.

    Raises:
        ConfigError: The file is missing or not YAML, or a key is unknown, missing or out of
            range; the message lists every such key and what to write.
    """
    path = experiment_file(name)
    if not re.fullmatch("[a-z0-9_]+", path.stem):
        raise ConfigError(
            f"{path} cannot be used: the file's name is the experiment's",
            expected="small letters, digits and _ before .yaml",
            fix="rename the file",
        )
    text = path.read_text()
    try:
        _refuse_repeated_keys(path, yaml.compose(text))
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        fix = "mend the line named above"
        raise ConfigError(f"{path} is not YAML: {error}", fix=fix) from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path} holds no settings", expected="a mapping of keys", found=raw)
    for key, where in (("name", "the file's name"), ("seed", "config.yaml")):
        if key in raw:
            raise ConfigError(
                f"{path} sets {key}",
                expected=f"{key} from {where}",
                found=raw[key],
                fix=f"delete the line `{key}:`",
            )
    try:
        return Experiment.model_validate({**raw, "name": path.stem, "seed": seed})
    except ValidationError as error:
        raise ConfigError(_explain(path, error), fix=f"edit {path}") from error


def _refuse_repeated_keys(path: Path, node: yaml.Node | None) -> None:
    """YAML forbids a key twice in a mapping, PyYAML takes the last one."""
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


def _explain(path: Path, error: ValidationError) -> str:
    lines = [f"{path}: {error.error_count()} setting(s) cannot be used"]
    for problem in error.errors():
        key = ".".join(map(str, problem["loc"])) or "(whole file)"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            siblings = _fields_at(problem["loc"][:-1])
            near = get_close_matches(str(problem["loc"][-1]), siblings, 1)
            message = "unknown key" + (f", did you mean {near[0]!r}?" if near else "")
            message += f" (known: {', '.join(siblings)})" if siblings else ""
        elif problem["type"] == "missing":
            message = "required, but absent"
        elif not isinstance(problem["input"], dict):  # a whole block would hide the message
            message += f", found {problem['input']!r}"
        lines.append(f"  {key}: {message}")
    return "\n".join(lines)


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    """The keys that the block at `location` knows; empty where it is not a block."""
    schema: Any = Experiment.model_json_schema()
    definitions, node = schema.get("$defs", {}), schema
    for part in location:
        named = node.get("properties", {}).get(part)  # else a mapping whose keys are free names
        patterns: list[Any] = list(node.get("patternProperties", {}).values())
        node = named or (patterns[0] if patterns else {})
        options = [node, *node.get("anyOf", []), *node.get("allOf", [])]
        name = next((o["$ref"] for o in options if isinstance(o, dict) and "$ref" in o), None)
        node = definitions.get(name.rsplit("/", 1)[-1], {}) if name else node
    return sorted(node.get("properties", {}))
