"""The graph of the rules that make a file, of a workflow of five rules."""

import re
from types import SimpleNamespace
from typing import Any

from umtfss.plan.rule_graph import rule_graph


class Rule:
    """A rule as Snakemake has it."""

    def __init__(self, name: str, output: str, *inputs: str) -> None:
        self.name, self.snakefile, self.inputs = name, f"/rules/{name[:2]}.smk", inputs
        self.output = re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>\\w+)", output))

    def is_producer(self, path: str) -> bool:
        return self.output.fullmatch(path) is not None

    def get_wildcards(self, path: str) -> dict[str, str]:
        match = self.output.fullmatch(path)
        assert match is not None
        return match.groupdict()

    def expand_input(self, wildcards: dict[str, str]) -> tuple[list[str], dict[str, Any]]:
        return [one.format(**wildcards) for one in self.inputs], {}


RULES = [
    Rule("list", "list", "raw"),
    Rule("map", "map/{shard}", "list"),
    Rule("train", "weights/{seed}", "map/0", "map/1", "list", "weights/0"),  # tuned from another
    Rule("test", "scores/{seed}", "weights/{seed}", "map/0"),
    Rule("table", "table", "scores/0", "scores/1", "scores/2"),
    Rule("unused", "nothing", "list"),
]


def test_jobs_are_counted_and_direct_edges_are_kept() -> None:
    graph = rule_graph(SimpleNamespace(rules=RULES), "table")
    assert graph["rules"] == {
        "table": ("ta", 1), "test": ("te", 3), "train": ("tr", 3), "map": ("ma", 2),
        "list": ("li", 1),
    }  # fmt: skip
    assert graph["edges"] == [
        ("list", "map"),
        ("map", "train"),
        ("test", "table"),
        ("train", "test"),
    ]


def test_a_file_that_no_rule_makes_has_no_rules() -> None:
    assert rule_graph(SimpleNamespace(rules=RULES), "raw") == {"rules": {}, "edges": []}
