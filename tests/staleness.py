"""What a changed key of an experiment makes stale, rule by rule.

python -m tests.staleness    # writes tests/staleness.md, which a test holds
"""

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

from tests.rule_files import files_of, rule_texts, wildcards_of
from umtfss.common.digests import digest_json
from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.load import load_experiment
from umtfss.experiment.schema import Experiment
from umtfss.plan.jobs.job import job_class
from umtfss.plan.plan import Plan

TINY = PACKAGE_ROOT / "tests/workflow/tiny.yaml"
TABLE = PACKAGE_ROOT / "tests/staleness.md"
HEAD = """# What a changed key makes stale

Every key of `tests/workflow/tiny.yaml`, another value of it, and the rules with a job that is new
or has other settings. Jobs below these run where the content of their inputs changes.
`python -m tests.staleness` writes this page, and `tests/unit/plan/test_staleness.py` holds it.

| key | another value | rules |
|---|---|---|
"""
# Keys without another value in tiny: drawn images, one backbone, features of clusters, no ablation.
FIXED = (
    *(f"datasets.shapes.{key}" for key in ("kind", "folder", "download")),
    *("features.lite0.backbone", "features.lite0.cache", "tables.ablation", "name"),
)
# Stages with the same keys as training.shapes; some stand for all.
STAGES = ("training.objects.", "supervised.shapes.", "fine_tuning.shapes.")
SHOWN = (".steps", ".sgd_lr", ".workers")

# Key -> another value, where a number more, twice the value or the other truth value will not do.
COUNTS = [1, 1, 1, 1]
OTHER: dict[str, Any] = {
    "datasets.shapes.test_split": "dev",
    "datasets.shapes.rare_classes": "leave_out",
    "datasets.shapes.expected_images": {"train": 40},
    "datasets.shapes.expected_fold_images": {"train": COUNTS},
    "datasets.shapes.expected_smallest_class": {"train": COUNTS},
    "datasets.shapes.shapes.parts": 6,
    "pools.shapes.images": ["shapes/train", "toys/train"],
    "pools.shapes.clustered": "objects",
    "pools.shapes.features": "other",
    "pools.objects.images": ["toys/train"],
    "pools.objects.clustered": "pixels",
    "pools.objects.features": "other",
    "features.lite0.level": "block15",
    "features.lite0.mid": ["block4"],
    "features.lite0.high": "block10",
    "features.lite0.precision": "bf16",
    "features.lite0.weights": {"efficientnet_lite0": {"source": "mine.pth"}},
    "clustering.features": "other",
    "pseudo_masks.features": "other",
    "pseudo_masks.superpixels": "off",
    "episodes.draw": "list_order",
    "episodes.max_border": 0.5,
    "episodes.novel_images": "exclude",
    "model.preset": "release",
    "model.width": 64,
    "model.heads": 8,
    "model.token_masks": "sampled",
    "model.position_code": "counted",
    "model.padding": "seen",
    "model.self_attention": "vanilla",
    "model.residual": "prototype",
    "model.umtfss.layer_order": "self_first",
    "model.umtfss.support_self_attention": "dead",
    "model.umtfss.cross_attention": "vanilla",
    "model.umtfss.prototype_pool": "sum",
    "model.features": "other",
    "floor.features": "other",
    "training.shapes.epochs": 1,
    "training.shapes.optimiser": "adamw",
    "training.shapes.momentum": 0.5,
    "training.shapes.decay": "cosine",
    "training.shapes.ema": 0.9,
    "training.shapes.amp": "bf16",
    "training.shapes.clip_norm": 1.0,
    "training.shapes.augment.scale_min": 0.8,
    "training.shapes.augment.scale_of": "original",
    "training.shapes.augment.crop_foreground": 0.5,
    "evaluation.shots": [1, 3],
    "evaluation.interval": 0.9,
    "evaluation.amp": "bf16",
    "evaluation.refine.superpixels": 0.5,
    "tables.headline.seeds": 2,
    "tables.headline.pool": "objects",
    "tables.headline.other_pools": [],
    "tables.table1.pool": "objects",
    "tables.table1.models": ["pfenet", "umtfss"],
    "tables.table1.rows": ["unsup"],
    "tables.table2.pool": "objects",
    "tables.table2.models": ["pfenet", "umtfss"],
    "tables.table2.ratios": [20, 50],
    "tables.table3.pool": "objects",
    "tables.table4.pool": "objects",
    "tables.table4.k_fg": [3, 2],
    "tables.table4.k_bg": [4, 5],
    "tables.table5.datasets.shapes": "objects",
    "tables.table5.settings": ["all"],
    "tables.table6.datasets.shapes": "objects",
    "tables.table6.ratios": [50],
    "tables.table6.models": ["umtfss"],
    "tables.departures": {"dataset": "shapes", "pool": "shapes"},
    "tables.folds": [0, 1, 2],
    **{
        f"tables.{name}.training_seeds": 2
        for name in ("headline", *(f"table{i}" for i in range(1, 7)))
    },
    **{
        f"tables.{name}.dataset": "toys"
        for name in ("headline", *(f"table{i}" for i in range(1, 5)))
    },
}
# Key -> other keys that must change with it.
WITH: dict[str, dict[str, Any]] = {
    "datasets.shapes.test_split": {"datasets.shapes.shapes.dev_images": 40},
    "training.shapes.epochs": {"training.shapes.steps": None},
}


def keys(settings: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The places of all values in nested settings."""
    if isinstance(settings, dict) and settings:
        for key, value in settings.items():
            yield from keys(value, (*path, key))
    else:
        yield path, settings


@cache
def tiny() -> dict[str, Any]:
    """The settings of `tiny` with all defaults, and unused features and data for other values."""
    settings = load_experiment(str(TINY)).model_dump(mode="json", by_alias=True)
    settings["features"]["other"] = {**settings["features"]["lite0"], "long_side": 128}
    settings["datasets"]["toys"] = copy.deepcopy(settings["datasets"]["shapes"])
    settings["supervised"]["toys"] = settings["fine_tuning"]["toys"] = settings["supervised"][
        "shapes"
    ]
    return settings


def shown_keys() -> list[str]:
    """The keys of `tiny`, those that several stages have once."""
    names = [".".join(path) for path, _ in keys(tiny())]
    return [
        name
        for name in names
        if name not in FIXED
        and not name.startswith(
            ("datasets.toys", "features.other", "supervised.toys", "fine_tuning.toys")
        )
        and (not name.startswith(STAGES) or name.endswith(SHOWN))
    ]


def other_value(key: str, value: Any) -> Any:
    """Another value of a key."""
    if key in OTHER:
        return OTHER[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return value * 2 if value else 0.5
    return value + 1 if isinstance(value, int) else value * 2


def changed(key: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that change with one, itself first, and the settings of `tiny` with them."""
    settings, values = copy.deepcopy(tiny()), {}
    for name in (key, *WITH.get(key, ())):
        *path, last = name.split(".")
        block = settings
        for part in path:
            block = block[part]
        new = WITH.get(key, {})
        values[name] = new[name] if name in new else other_value(name, block[last])
        block[last] = values[name]
    return values, settings


def jobs(settings: dict[str, Any]) -> dict[tuple[str, str], str]:
    """(rule, wildcards) -> digest of the parameters that the rule passes."""
    plan = Plan(Experiment.model_validate(settings))
    files, found = files_of(plan), {}
    for rule in rule_texts():
        if rule in ("digest_arrows", "draw_rule_graph"):  # they are given all others
            continue
        for wildcards in wildcards_of(rule, plan, files):
            job = job_class(rule).of(plan, wildcards)
            content = [job.modules, job.params()]
            found[rule, str(sorted(vars(wildcards).items()))] = digest_json(content)
    return found


@cache
def before() -> dict[tuple[str, str], str]:
    """The jobs of `tiny`."""
    return jobs(tiny())


def stale_rules(settings: dict[str, Any]) -> list[str]:
    """The rules with a job that is new, or whose parameters differ from those of `tiny`."""
    found = {rule for (rule, wildcards), digest in jobs(settings).items()
             if before().get((rule, wildcards)) != digest}  # fmt: skip
    return sorted(found)


def table() -> str:
    """The page."""
    lines = []
    for key in shown_keys():
        values, settings = changed(key)
        others = "".join(f", {name}: {value}" for name, value in list(values.items())[1:])
        rules = ", ".join(stale_rules(settings))
        lines.append(f"| {key} | {values[key]}{others} | {rules} |\n")
    return HEAD + "".join(lines)


if __name__ == "__main__":
    TABLE.write_text(table())
