#!/usr/bin/env bash
# Runs every X_bench program of the release build, then shows how costs grow with the number of backends and
# connections. What whole proxies cost is harness/bench.py's business. Arguments go to the programs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
mkdir -p build/bench
results=()
while read -r group program; do
  [[ $group == benches ]] || continue
  name=$(basename "$program")
  echo "== $name"
  "$program" --benchmark_color=auto --benchmark_out="build/bench/$name.json" --benchmark_out_format=json "$@" 2>&1
  results+=("build/bench/$name.json")
done <build/release/groups.txt
tools/python.sh tools/bench_curve.py "${results[@]}"
