#!/bin/sh
# Usage: status.sh JOB. Prints success, failed or running; a cluster that does not answer is asked
# again later, a job that is gone has failed.
if state=$(kubectl get "$1" -o 'jsonpath={.status.succeeded}/{.status.failed}' 2>&1); then
  case "$state" in
    1/*) echo success ;;
    */1) echo failed ;;
    *) echo running ;;
  esac
else
  case "$state" in
    *NotFound*) echo failed ;;
    *) echo "$state" >&2; echo running ;;
  esac
fi
