"""A project of one's own: a folder with a Snakefile, settings, an experiment and a README."""

import re
import shutil
from pathlib import Path

from umtfss.common.errors import ConfigError
from umtfss.common.files import WORKFLOW_ROOT

EXPERIMENT = "own_photos"
COPIED = (
    f"experiments/{EXPERIMENT}.yaml",
    "experiments/experiment.schema.json",
    "profiles/default/config.yaml",
    *(f"docs/{name}.md" for name in ("your_own_images", "python", "config")),
)
SNAKEFILE = """\
# Rules and scripts lie in the package umtfss.
from umtfss.common.files import WORKFLOW_ROOT


include: str(WORKFLOW_ROOT / "Snakefile")


rule all:
    input:
        rules.all_tables.input,
"""
README = f"""\
# {{name}}

| path | holds |
|---|---|
| `config.yaml` | the name of the experiment |
| `experiments/{EXPERIMENT}.yaml` | its settings; every key stands in `docs/config.md` |
| `data/my_photos/` | your photos; `$UMTFSS_DATA_ROOT` may name another folder than `data` |
| `results/` | all that was made |

```
umtfss plan                             # runs and their cost
snakemake --cores all -- all_figures    # clusters: results/{EXPERIMENT}/figures
snakemake --cores all -- all_training
umtfss predict --supports supports photos_to_search
```

`docs/your_own_images.md` explains each step. The package's experiments, such as `demo`, need no
file here: `snakemake --cores all --config experiment=demo -- all_tables`.
"""


def new_project(folder: Path) -> list[Path]:
    """Lay down a project, and return its files.

    Args:
        folder: The project's folder; it is made if it does not exist.

    Raises:
        ConfigError: One of the files exists already.
    """
    config = (WORKFLOW_ROOT / "config.yaml").read_text(encoding="utf-8")
    texts = {
        "Snakefile": SNAKEFILE,
        "config.yaml": re.sub("(?m)^experiment: .*", f"experiment: {EXPERIMENT}", config),
        "README.md": README.format(name=folder.resolve().name),
        ".gitignore": ".snakemake/\ndata/\nresults/\n",
    }
    files = [folder / name for name in (*texts, *COPIED)]
    if there := [str(path) for path in files if path.exists()]:
        raise ConfigError(
            f"{folder} holds files of a project",
            expected="a new or an empty folder",
            found=", ".join(there[:3]),
            fix="name another folder, or remove them",
        )
    for path in files:
        path.parent.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in COPIED:
        shutil.copyfile(WORKFLOW_ROOT / name, folder / name)
    return files
