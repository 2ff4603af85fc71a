#!/usr/bin/env bash
# Runs every X_bench program of the release build, then the end-to-end measurements of harness/bench.py.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
while read -r group program; do
  [[ $group == benches ]] || continue
  echo "== $(basename "$program")"
  "$program" --benchmark_color=auto 2>&1
done <build/release/groups.txt
if [[ -f harness/bench.py ]]; then
  echo "== harness/bench.py"
  tools/python.sh harness/bench.py
fi
