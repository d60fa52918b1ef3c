"""Python imports this file at its start, if its folder is on PYTHONPATH: it records a script.

A process that runs a script of Snakemake, and the processes that it starts, append what they load
from the package to the file `$RECORDED/<script>`: one path a line, of modules and of other files.
"""

import atexit
import os
import re
import sys
from pathlib import Path

SCRIPT = re.compile(r"\.snakemake/scripts/tmp\w+\.(\w+\.py)$")
CURRENT = "RECORDED_SCRIPT"


def record(folder: Path, package: str) -> None:
    """Record what this process loads, if a script runs in it or in the one that has started it."""
    found = [match[1] for word in sys.orig_argv if (match := SCRIPT.search(word))]
    script = found[0] if found else os.environ.get(CURRENT)
    if script is None:
        return
    os.environ[CURRENT] = script
    folder.mkdir(exist_ok=True)
    # Written at once, as forked processes inherit it and end without `atexit`.
    file = os.open(folder / script, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def write(path: object) -> None:
        if isinstance(path, str) and path.startswith(package) and "__pycache__" not in path:
            os.write(file, f"{path}\n".encode())

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            write(
                os.fspath(arguments[0]) if isinstance(arguments[0], os.PathLike) else arguments[0]
            )
        elif event == "import":  # a module in a forked process, too
            name = str(arguments[0]).replace(".", "/")
            for path in (f"{name}.py", f"{name}/__init__.py"):
                full = os.path.join(os.path.dirname(package), path)
                if os.path.isfile(full):
                    write(full)

    def modules() -> None:
        for module in list(sys.modules.values()):
            write(getattr(module, "__file__", None))

    sys.addaudithook(watch)
    atexit.register(modules)


if "RECORDED" in os.environ:
    record(Path(os.environ["RECORDED"]), os.path.join(os.environ["RECORDED_PROJECT"], "umtfss"))
