#!/usr/bin/env bash
# Runs every X_bench program of the release build; what whole proxies cost is harness/bench.py's business.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
while read -r group program; do
  [[ $group == benches ]] || continue
  echo "== $(basename "$program")"
  "$program" --benchmark_color=auto 2>&1
done <build/release/groups.txt
