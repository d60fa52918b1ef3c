"""Kills of running workflows at random moments, and what is left after the recovery.

python -m tests.kills    # an hour and a half; writes tests/kills.md
"""

import argparse
import contextlib
import itertools
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

import psutil

from tests.workflow.conftest import ROOT, Project, copy_project
from umtfss.common.digests import digest_file, digest_json
from umtfss.common.verify import verify

TABLE = ROOT / "tests/kills.md"
RESULTS = "results/tiny"
ALL = ("all_tables", "all_figures", "all_report")
# Arrow -> outputs of it, of which some are removed and made anew.
REMOVED = {
    "data": "data/*/*.json",
    "features": "features/*/*/*/shard*/manifest.json",
    "clustering": "clustering/*/centroids.json",
    "pseudo_masks": "pseudo_masks/*/*.json",
    "episodes": "episodes/**/*.json",
    "training": "training/**/manifest.json",
    "evaluation": "evaluation/**/*.json",
    "tables": "tables/*.csv",
}
LEFT_BEHIND = ("**/.*.partial*", "**/.lock*", "**/checkpoint.pt*")
# Logs of Snakemake and measured times differ; the report has both. Resumed features may be cut into
# other parts: their manifests are compared, and `verify` compares the parts with these.
APART = ("logs/*", "benchmarks/*", "features/*.h5", "report.html")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
WHOM = ("the job", "Snakemake", "the group")
JOB_KILLS = 3  # kills of jobs before Snakemake itself is killed


@dataclass(frozen=True)
class Kill:
    """A kill.

    Attributes:
        arrow: The arrow whose job ran.
        whom: Who got the signal: the job, Snakemake, or the process group of both.
        signal: Name of the signal.
        seconds: CPU-seconds that the job had taken.
    """

    arrow: str
    whom: str
    signal: str
    seconds: float


@dataclass
class Outcome:
    """What kills and the recovery have left.

    Attributes:
        kills: The kills.
        compared: Number of files that were compared with those of an undisturbed run.
        digest: Digest of the digests of all compared files.
        differing: Files that differ or are absent.
        left: Temporary files, locks and checkpoints.
        problems: What `umtfss verify` finds.
    """

    kills: list[Kill] = field(default_factory=list)
    compared: int = 0
    digest: str = ""
    differing: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def rules_of(arrow: str) -> set[str]:
    """The rules of an arrow."""
    return set(re.findall(r"^rule (\w+):", (ROOT / f"rules/{arrow}.smk").read_text(), re.MULTILINE))


def jobs(project: Project, rules: Iterable[str] = ()) -> Iterator[psutil.Process]:
    """The scripts that run in a project; if rules are named, theirs."""
    for process in psutil.process_iter():
        try:
            if process.cwd() != str(project.root):
                continue
            parts = process.cmdline()
        except psutil.Error:
            continue
        scripts = [Path(part).name for part in parts[1:] if ".snakemake/scripts" in part]
        if scripts and len(parts) == 2 and (not rules or scripts[0].split(".")[1] in rules):
            yield process


def cpu_seconds(process: psutil.Process) -> float:
    """CPU-seconds of a process and its children; infinite once it has ended."""
    try:
        if process.status() == psutil.STATUS_ZOMBIE:
            return float("inf")
        return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(True)))
    except psutil.Error:
        return float("inf")


def _heed_interrupts() -> None:
    """A shell starts what runs in the background deaf to SIGINT, and processes inherit this."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def new_job(
    project: Project, process: subprocess.Popen[bytes], rules: set[str], seen: set[int]
) -> psutil.Process | None:
    """The next job of some rules, as soon as it runs; None once Snakemake has ended."""
    while process.poll() is None:
        for job in jobs(project, rules):
            if job.pid not in seen:
                seen.add(job.pid)
                return job
        time.sleep(0.3)
    return None


def kill_round(
    project: Project, arrow: str, outputs: list[str], longest: dict[str, float], draw: random.Random
) -> list[Kill]:
    """Make outputs of an arrow anew; kill jobs, which Snakemake tries again, and then Snakemake.

    Args:
        project: A project whose results are complete, but for what earlier kills have left.
        arrow: The arrow.
        outputs: Outputs of the arrow.
        longest: Arrow -> the longest CPU time of a job after which a kill is tried; adapted.
        draw: The random draws.
    """
    for path in map(project.root.joinpath, outputs):
        if arrow == "features":  # complete parts would be kept
            shutil.rmtree(path.parent, ignore_errors=True)
        path.unlink(missing_ok=True)
    process = subprocess.Popen(
        ["snakemake", "--cores", "2", "--retries", "9", "--", *outputs],
        cwd=project.root,
        env=project.environment,
        start_new_session=True,
        preexec_fn=_heed_interrupts,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    kills: list[Kill] = []
    seen: set[int] = set()
    for whom in (*(WHOM[0],) * JOB_KILLS, draw.choice(WHOM[1:])):
        number, seconds, taken = draw.choice(SIGNALS), draw.uniform(0, longest[arrow]), 0.0
        job = new_job(project, process, rules_of(arrow), seen)
        while job and (now := cpu_seconds(job)) < seconds:
            taken = now
            time.sleep(0.05)
        ended = job is None or cpu_seconds(job) == float("inf")
        if job and ended:
            longest[arrow] = max(1.0, min(longest[arrow], taken))
        if process.poll() is not None or (whom == WHOM[0] and ended):
            continue
        if whom == WHOM[0] and job:
            with contextlib.suppress(psutil.NoSuchProcess):
                job.send_signal(number)
        else:
            (os.killpg if whom == "the group" else os.kill)(process.pid, number)
        kills.append(Kill(arrow, whom, number.name, taken))
        print(kills[-1], flush=True)
    try:
        process.wait(600)  # a Snakemake that gets SIGTERM waits for its jobs
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if any((project.root / ".snakemake/locks").glob("*")):
        project.snakemake("--unlock")
    return kills


def kill_often(
    finished: Project, root: Path, kills: int, seed: int, only: Collection[str] = tuple(REMOVED)
) -> Outcome:
    """Kill the workflow in a copy of a finished project, let it recover, and compare.

    Args:
        finished: The project, left as it is.
        root: Where the copy will lie.
        kills: Number of kills, at least.
        seed: Seed of outputs, signals and moments.
        only: The arrows whose jobs are killed.
    """
    shutil.copytree(finished.root, root, symlinks=True)
    project, draw, outcome = Project(root), random.Random(seed), Outcome()
    longest = dict.fromkeys(REMOVED, 4.0)  # most jobs of tiny take less
    arrows, asked = draw.sample(list(only), len(only)), set[str]()
    for arrow in itertools.cycle(arrows):
        if len(outcome.kills) >= kills:
            break
        made = sorted((finished.root / RESULTS).glob(REMOVED[arrow]))
        chosen = draw.sample(made, min(len(made), JOB_KILLS))
        outputs = [path.relative_to(finished.root).as_posix() for path in chosen]
        asked.update(outputs)
        outcome.kills += kill_round(project, arrow, outputs, longest, draw)
    for process in jobs(project):  # of a killed Snakemake, which still go on
        process.wait(600)
    project.snakemake("--", *ALL, *sorted(asked))  # of intermediate files no table may be in want
    compare(project.root / RESULTS, finished.root / RESULTS, outcome)
    return outcome


def compare(results: Path, expected: Path, outcome: Outcome) -> None:
    """Fill in what differs from the results of an undisturbed run, and what is left behind."""
    names = (
        path.relative_to(expected).as_posix() for path in expected.rglob("*") if path.is_file()
    )
    kept = sorted(name for name in names if not any(fnmatch(name, part) for part in APART))
    digests = {name: digest_file(expected / name) for name in kept}
    outcome.compared, outcome.digest = len(digests), digest_json(digests)
    outcome.differing = [
        name
        for name, digest in digests.items()
        if not (results / name).is_file() or digest_file(results / name) != digest
    ]
    outcome.left = [str(path) for pattern in LEFT_BEHIND for path in results.glob(pattern)]
    outcome.problems = [str(problem) for problem in verify(results).problems]


def table(outcome: Outcome, seed: int) -> str:
    """The page."""
    kills = outcome.kills
    columns = [*WHOM, *(number.name for number in SIGNALS)]
    lines = [
        "# Kills of a running workflow\n",
        f"`python -m tests.kills --kills {len(kills)} --seed {seed}` writes this page. In a copy "
        "of the finished experiment `tiny` outputs of an arrow are removed and made anew. Signals "
        "go to jobs, which Snakemake tries again, and at last to Snakemake or to the process group "
        "of all, after a random number of a job's CPU-seconds. `snakemake --unlock` and the next "
        "arrow follow.\n",
        "| arrow | kills | " + " | ".join(columns) + " | CPU-s |",
        "|---" * (len(columns) + 3) + "|",
    ]
    for arrow in (*REMOVED, "all"):
        chosen = [kill for kill in kills if arrow in (kill.arrow, "all")]
        count = Counter(value for kill in chosen for value in (kill.whom, kill.signal))
        times = [kill.seconds for kill in chosen] or [0.0]
        row = " | ".join(str(count[column]) for column in columns)
        lines.append(f"| {arrow} | {len(chosen)} | {row} | {min(times):.1f} to {max(times):.1f} |")
    lines += [
        "\nAfter the last kill Snakemake made all tables, figures, the report, and what had been "
        f"removed. Of {outcome.compared} files (tables, metrics, weights, logs of training and "
        f"more) {len(outcome.differing)} differ from those of an undisturbed run; the digest of "
        f"all digests is `{outcome.digest[:16]}`. {len(outcome.left)} temporary files, locks and "
        f"checkpoints are left. `umtfss verify` finds {len(outcome.problems)} problems.",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Make `tiny`, kill, recover, compare, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=56)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--arrow", choices=REMOVED, nargs="*", default=list(REMOVED), help="prints the page alone"
    )
    parser.add_argument("--finished", type=Path, help="a copy in which all of tiny has been made")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        finished = Project(options.finished or copy_project(Path(folder) / "finished").root)
        if not options.finished:
            finished.snakemake(*ALL)
        root = Path(folder) / "killed"
        outcome = kill_often(finished, root, options.kills, options.seed, options.arrow)
    page = table(outcome, options.seed)
    if options.arrow == list(REMOVED):
        TABLE.write_text(page)
    else:
        print(page)
    for line in (*outcome.differing, *outcome.left, *outcome.problems):
        print(line)


if __name__ == "__main__":
    main()
