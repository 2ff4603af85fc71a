#!/usr/bin/env bash
# Configures a CMake preset when that was not done yet, and builds targets of it.
#
#   tools/build.sh PRESET TARGET...
#
# Ninja's own progress on a terminal, silence otherwise; always complete output when something fails.
# The groups of cmake/groups.cmake always exist: programs, unit_tests, thread_tests, benches, fuzzers.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
preset=${1:?"usage: tools/build.sh PRESET TARGET..."}
shift
folder=build/$preset

if [[ ! -f $folder/build.ninja ]]; then
  mkdir -p "$folder"
  if ! cmake --preset "$preset" >"$folder/configure.log" 2>&1 </dev/null; then
    cat "$folder/configure.log" >&2
    echo "build: cmake --preset $preset failed" >&2
    exit 1
  fi
fi

build=(ninja -C "$folder" -j "${JOBS:-$(nproc)}" "$@")
if [[ -t 1 ]]; then
  exec env NINJA_STATUS="[%f/%t %es] " "${build[@]}"
fi
if ! "${build[@]}" --quiet >"$folder/build.log" 2>&1; then
  cat "$folder/build.log" >&2
  exit 1
fi
