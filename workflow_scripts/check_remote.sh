#!/usr/bin/env bash
# Refuse to record or restore without a DVC remote, and say how to name one.
set -euo pipefail
if [ -z "$(dvc config core.remote)" ]; then
    echo "No DVC remote is configured: there is no place to record to or to restore from." >&2
    echo "  to do:    dvc remote add -d store FOLDER_OR_BUCKET, where the lab keeps its caches;" >&2
    echo "            to compute the results here instead: make tables" >&2
    exit 1
fi
