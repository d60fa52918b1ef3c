#!/usr/bin/env bash
# Bring back the recorded caches of config.yaml's experiment, and tell Snakemake that they are
# up to date. The status check comes first: --touch alone would bless stale results.
set -euo pipefail
cd "$(dirname "$0")/.."
workflow_scripts/check_remote.sh
dvc pull
# First write the settings and digests of this tree: a change of another experiment's file, or of a
# comment, does no harm.
dvc repro --quiet --single-item settings
if ! dvc status -q; then
    echo "What was pulled does not fit the sources or settings of this tree (dvc status says" >&2
    echo "where). Check out the commit that recorded it, or run: snakemake --cores all all_tables" >&2
    exit 1
fi
snakemake --cores 1 --touch --forceall -- all_recorded
