"""One digest for each arrow, over all of its jobs in an experiment. DVC watches these digests.

An arrow is a file of rules (`rules/training.smk`). The digest of a job changes with the job's code,
its settings and the jobs that make its inputs, and with nothing else.
"""

from functools import cache
from pathlib import Path
from typing import Any

from umtfss.common.digests import digest_json
from umtfss.plan.plan import Plan


def arrow_digests(workflow: Any, plan: Plan) -> dict[str, str]:
    """Arrow -> digest of all jobs of the arrow that the plan's targets need; there may be none.

    Args:
        workflow: Snakemake's workflow; its rules define the inputs and parameters of a job.
        plan: The whole plan of the experiment.
    """
    arrows = {rule: Path(rule.snakefile).stem for rule in workflow.rules}
    jobs: dict[str, set[str]] = {arrow: set() for arrow in arrows.values()}

    @cache
    def digest_maker(path: str) -> str:
        """The digest of the job that makes a file; empty for a raw file. Collects all digests."""
        rule = next((one for one in arrows if one.is_producer(path)), None)
        if rule is None:
            return ""
        wildcards = rule.get_wildcards(path)
        inputs = rule.expand_input(wildcards)[0]
        outputs = rule.expand_output(wildcards)[0]
        params = rule.expand_params(wildcards, inputs, outputs, job=None)[0]
        made_of = {str(one): digest_maker(str(one)) for one in inputs}
        job = [rule.name, sorted(wildcards.items()), made_of, dict(params.items())]
        jobs[arrows[rule]].add(digest_json(job))
        return digest_json(job)

    for target in _targets(plan):
        digest_maker(target)
    return {arrow: digest_json(sorted(jobs[arrow]))[:16] for arrow in sorted(jobs)}


def _targets(plan: Plan) -> list[str]:
    """The tables, pictures and weights of a plan."""
    tables = [path for table in plan.runs.tables for path in plan.paths.table(table.name)]
    weights = [path for run in plan.runs.trained_runs for path in plan.paths.training_manifest(run)]
    return [*plan.indexes, *tables, *plan.ledger, *plan.metrics, *plan.figures, *weights]
