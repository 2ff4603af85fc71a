#!/usr/bin/env bash
# The main job, live: fake backends, continuous traffic, reloads under load, the verdict, and a report.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p build/demo
status=0
tools/python.sh harness/reload_zero_drop.py --reloads "${RELOADS:-20}" \
  --json build/demo/result.json --html build/demo/report.html "$@" || status=$?
if [[ -s build/demo/report.html ]]; then
  echo
  echo "The picture of this run: file://$PWD/build/demo/report.html"
fi
exit "$status"
