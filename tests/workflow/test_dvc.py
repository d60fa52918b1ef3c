"""Record, push, clone, restore, nothing to do: and stale results are never blessed."""

import pytest

pytestmark = pytest.mark.slow

GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")


@pytest.mark.parametrize("script", ["restore", "record"])
def test_without_a_remote_nothing_starts(fresh, script):
    fresh.run("git", "init", "-q")
    refused = fresh.run(f"workflow_scripts/{script}.sh", check=False)
    assert refused.returncode == 1
    assert "dvc remote add -d store" in refused.stderr
    assert not refused.stdout


def test_record_clone_restore_nothing_to_do(finished, tmp_path):
    for command in (
        ("git", "init", "-q"),
        ("dvc", "remote", "add", "-d", "store", str(tmp_path / "store")),
        ("workflow_scripts/record.sh",),
        ("git", "add", "-A"),
        (*GIT, "commit", "-qm", "results"),
    ):
        finished.run(*command)
    assert "up to date" in finished.run("dvc", "repro").stdout

    clone = type(finished)(tmp_path / "clone")
    finished.run("git", "clone", "-q", ".", str(clone.root))
    assert not (clone.root / "results/tiny/training").exists()
    assert (clone.root / "results/tiny/tables/table4.csv").is_file()  # in git
    # Another experiment's file is none of its business, its own settings are.
    clone.edit("experiments/demo.yaml", "description: ", "description: Another. ")
    with clone.edited("experiments/tiny.yaml", "steps: 6,", "steps: 7,"):
        refused = clone.run("workflow_scripts/restore.sh", check=False)
        assert refused.returncode != 0
        assert "does not fit" in refused.stderr
    clone.run("workflow_scripts/restore.sh")
    assert "Nothing to be done" in clone.snakemake("all_tables", "all_figures")
    assert "up to date" in clone.run("dvc", "repro").stdout

    # A source that changed after the record: restoring must refuse, and not touch. Prose is none.
    path = clone.root / "umtfss/models/umtfss.py"
    path.write_text(path.read_text() + "\n# edited\n")
    clone.run("workflow_scripts/restore.sh")
    assert "up to date" in clone.run("dvc", "repro").stdout
    path.write_text(path.read_text() + "\nEDITED = 1\n")
    refused = clone.run("workflow_scripts/restore.sh", check=False)
    assert refused.returncode != 0
    assert "does not fit" in refused.stderr
    assert clone.planned("all_tables")["train_model"] == 12  # all but MaskSplit's
