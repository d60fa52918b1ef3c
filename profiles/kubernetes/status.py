"""Print the state of one Kubernetes Job: success, failed or running.

Usage: status.py JOB

A cluster that does not answer is asked again later. A job that is gone has failed. A job whose pod
can never start, for want of its image say, is deleted and has failed.
"""

import json
import subprocess
import sys
from typing import Any

# Reasons for which Kubernetes keeps a pod waiting until somebody changes something.
NEVER_STARTS = (
    *("ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"),
    *("CreateContainerConfigError", "CreateContainerError", "RunContainerError"),
)


def state_of(job: dict[str, Any]) -> str:
    """The state of a Job, from what the API says of it.

    `failed` counts pods. While another pod of the job is active, the job goes on.
    """
    status = job.get("status", {})
    true = {one["type"] for one in status.get("conditions", ()) if one["status"] == "True"}
    if "Complete" in true or status.get("succeeded"):
        return "success"
    if "Failed" in true or (status.get("failed") and not status.get("active")):
        return "failed"
    return "running"


def obstacles(pods: dict[str, Any]) -> list[str]:
    """Why pods will never start; empty if they may."""
    found = []
    for pod in pods.get("items", ()):
        status = pod.get("status", {})
        kinds = ("initContainerStatuses", "containerStatuses")
        for container in (one for kind in kinds for one in status.get(kind, ())):
            waiting = container.get("state", {}).get("waiting", {})
            if waiting.get("reason") in NEVER_STARTS:
                found.append(
                    f"{waiting['reason']}: {waiting.get('message', container.get('image'))}"
                )
    return found


def main(name: str) -> str:
    """Ask the cluster for the state of a job."""
    job = _kubectl("get", name, "-o", "json")
    if job.returncode:
        if "NotFound" in job.stderr:
            return "failed"
        print(job.stderr, file=sys.stderr)
        return "running"
    state = state_of(json.loads(job.stdout))
    if state != "running":
        return state
    label = f"job-name={name.split('/')[-1]}"
    pods = _kubectl("get", "pods", "-l", label, "-o", "json")
    if pods.returncode:
        print(pods.stderr, file=sys.stderr)
        return "running"
    reasons = obstacles(json.loads(pods.stdout))
    if not reasons:
        return "running"
    print(f"{name} cannot start: {'; '.join(reasons)}", file=sys.stderr)
    _kubectl("delete", "--wait=false", "--ignore-not-found", name)  # else it may start later
    return "failed"


def _kubectl(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["kubectl", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


if __name__ == "__main__":
    print(main(sys.argv[1]))
