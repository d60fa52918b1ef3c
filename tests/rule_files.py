"""Rules as their files say them, and the jobs that an experiment has of each."""

import re
from functools import cache
from types import SimpleNamespace

from umtfss.common.files import PACKAGE_ROOT
from umtfss.experiment.schema import Experiment
from umtfss.plan.plan import Plan
from umtfss.plan.tables.registry import TABLES


@cache
def rule_texts() -> dict[str, str]:
    """Rule -> its text, of every rule with a script."""
    texts = [path.read_text() for path in sorted((PACKAGE_ROOT / "rules").glob("*.smk"))]
    blocks = [part for text in texts for part in re.split(r"^(?=rule )", text, flags=re.M)]
    found = {block[5 : block.index(":")]: block for block in blocks if block.startswith("rule ")}
    return {name: block for name, block in found.items() if "script:" in block}


def files_of(plan: Plan) -> tuple[str, ...]:
    """The files that an experiment is made of, of every arrow."""
    files = [
        plan.paths.settings,
        *plan.indexes,
        *plan.mask_files,
        *plan.episode_files,
        *plan.figures,
        *plan.report_inputs["episodes"],
        plan.paths.report,
    ]
    for dataset in plan.experiment.datasets:
        files += plan.paths.raw_marker(dataset)
    files += plan.paths.feature_manifests(plan.feature_caches)
    files += [plan.paths.centroids(pool) for pool in plan.runs.pools]
    files += [file for run in plan.runs.trained_runs for file in plan.paths.training_manifest(run)]
    files += [plan.paths.evaluation(spec) for spec in plan.runs.evaluations.values()]
    files += [file for table in plan.runs.tables for file in plan.paths.table(table.name)]
    files += [plan.paths.diffusion_map(name) for name in plan.experiment.diffused]
    return (*files, *plan.ledger, *plan.metrics)


def wildcards_of(rule: str, plan: Plan, files: tuple[str, ...]) -> list[SimpleNamespace]:
    """The wildcards of a rule's jobs, of the files that match the patterns of its output."""
    found = {}
    for expression in _expressions(rule, tuple(_constraints(rule, plan.experiment).items())):
        for match in filter(None, map(expression.fullmatch, files)):
            found[tuple(match.groupdict().items())] = SimpleNamespace(**match.groupdict())
    return list(found.values())


@cache
def _expressions(rule: str, constraints: tuple[tuple[str, str], ...]) -> list[re.Pattern[str]]:
    """The patterns of a rule's output."""
    output, found = rule_texts()[rule].split("output:")[1].split("log:")[0], []
    for pattern in re.findall(r'"(results/[^"]+)"', output):
        if "{{" in pattern:  # within collect(...), which fills the names in single braces
            pattern = re.sub(r"(?<!\{)\{\w+\}", "{}", pattern).replace("{{", "{").replace("}}", "}")
        parts = [re.escape(part) for part in re.split(r"(\{\w*\})", pattern)]
        names = re.findall(r"\{(\w*)\}", pattern)
        parts[1::2] = [
            f"(?P<{one}>{dict(constraints).get(one, '.+')})" if one else ".+" for one in names
        ]
        found.append(re.compile("".join(parts)))
    return found


def _constraints(rule: str, experiment: Experiment) -> dict[str, str]:
    """Wildcard -> its pattern, by the Snakefile and by the rule."""
    found: dict[str, str] = {}
    for text in (_snakefile(), rule_texts()[rule]):
        if match := re.search(r"^( *)wildcard_constraints:\n((?:\1 +.*\n)+)", text, re.MULTILINE):
            names = {"experiment": experiment, "TABLES": TABLES}
            names["one_of"] = lambda some: "|".join(some) or "(?!)"
            found |= eval(f"dict({match[2]})", names)
    return found


@cache
def _snakefile() -> str:
    return (PACKAGE_ROOT / "Snakefile").read_text()
