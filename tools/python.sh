#!/usr/bin/env bash
# Runs Python 3 with an interpreter that has what is needed. A python3 found early on PATH (pyenv, conda, a
# virtual environment) may lack Debian's pytest, so the system's interpreter is tried first.
#
#   tools/python.sh [--needs MODULE,MODULE] [--which | PYTHON-ARGUMENT...]
#
# --which prints the interpreter instead of running it. LB_PYTHON names one to be tried before all others.
set -euo pipefail
needs=
if [[ ${1-} == --needs ]]; then
  needs=${2:?"--needs wants a list of modules"}
  shift 2
fi

probe='import sys, importlib.util as u
sys.exit(sys.version_info < (3, 9) or any(u.find_spec(m) is None for m in sys.argv[1].split(",") if m))'
found=
for candidate in ${LB_PYTHON:+"$LB_PYTHON"} /usr/bin/python3 python3 python3.13 python3.12 python3.11; do
  path=$(command -v "$candidate") || continue
  if "$path" -S -c '' 2>/dev/null && "$path" -c "$probe" "$needs" 2>/dev/null; then
    found=$path
    break
  fi
done
if [[ -z $found ]]; then
  echo "no Python 3.9 or later${needs:+ with the modules: ${needs//,/, }} was found." >&2
  echo "On Debian 'tools/setup.sh test' installs it; elsewhere install it, or set LB_PYTHON." >&2
  exit 127
fi
if [[ ${1-} == --which ]]; then
  echo "$found"
  exit 0
fi
exec "$found" "$@"
