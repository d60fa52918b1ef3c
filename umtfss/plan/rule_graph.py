"""The rules that make a file, and which rule's output another rule reads."""

from pathlib import Path
from typing import Any


def rule_graph(workflow: Any, target: str) -> dict[str, Any]:
    """The rules behind a file, from all jobs that make it.

    Args:
        workflow: Snakemake's workflow; its rules define the inputs of a job.
        target: The file.

    Returns:
        `rules`: rule -> (arrow, number of jobs); `edges`: pairs (rule, rule that reads its output).
        A pair that a longer way implies is left out, and so is a rule that reads its own output.
    """
    jobs: dict[Any, set[tuple[tuple[str, str], ...]]] = {}
    edges: set[tuple[str, str]] = set()
    waiting = [(target, "")]
    while waiting:
        path, reader = waiting.pop()
        rule = next((one for one in workflow.rules if one.is_producer(path)), None)
        if rule is None:  # a raw file
            continue
        if reader not in ("", rule.name):
            edges.add((rule.name, reader))
        wildcards = rule.get_wildcards(path)
        job = tuple(sorted(wildcards.items()))
        if job not in jobs.setdefault(rule, set()):
            jobs[rule].add(job)
            waiting += [(str(one), rule.name) for one in rule.expand_input(wildcards)[0]]
    rules = {rule.name: (Path(rule.snakefile).stem, len(of)) for rule, of in jobs.items()}
    return {"rules": rules, "edges": sorted(_reduced(edges))}


def _reduced(edges: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The edges without those that a longer way implies."""
    readers: dict[str, set[str]] = {}
    for rule, reader in edges:
        readers.setdefault(rule, set()).add(reader)

    def behind(rule: str) -> set[str]:
        found: set[str] = set()
        waiting = [*readers.get(rule, ())]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += readers.get(one, ())
        return found

    far = {rule: behind(rule) for rule in readers}
    return {
        (rule, reader)
        for rule, reader in edges
        if not any(reader in far.get(other, ()) for other in readers[rule] - {reader})
    }
