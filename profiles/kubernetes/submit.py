"""Start one job of Snakemake as a Kubernetes Job, and print its name.

Usage: submit.py PROCESSORS MEMORY_MB GPUS JOBSCRIPT
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import yaml


def main(processors: str, memory_mb: str, gpus: str, script: str) -> None:
    """Fill job.yaml and hand it to kubectl."""
    template = Path(__file__).with_name("job.yaml")
    job = yaml.safe_load(template.read_text())
    container = job["spec"]["template"]["spec"]["containers"][0]
    folder = Path.cwd()
    mounted = [Path(volume["mountPath"]) for volume in container["volumeMounts"]]
    if not any(folder.is_relative_to(path) for path in mounted):
        sys.exit(
            f"pods would not see the project at {folder}\n"
            f"  expected: a folder below {' or '.join(map(str, mounted))}\n"
            f"  do this:  move the project onto the volume, or change mountPath in {template}"
        )
    resources = {"cpu": processors, "memory": f"{memory_mb}M"}
    limits = {"memory": f"{memory_mb}M"}
    if int(gpus):
        limits["nvidia.com/gpu"] = gpus
    container["command"] = ["/bin/sh", os.path.abspath(script)]
    container["workingDir"] = str(folder)
    container["resources"] = {"requests": resources, "limits": limits}
    command = ["kubectl", "create", "-f", "-", "-o", "name"]
    done = subprocess.run(command, input=json.dumps(job), text=True, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(done.returncode)  # kubectl has said why
    print(done.stdout.strip())


if __name__ == "__main__":
    main(*sys.argv[1:])
