#!/usr/bin/env bash
# Installs the Debian packages of tools/packages.txt that are missing, and nothing else.
#
#   tools/setup.sh [--check] [GROUP...]      GROUP: build test lint; all of them when none is given
#
# Uses apt-get, with sudo when not root. Where that is impossible it prints what to install and fails.
# --check never installs: it fails, saying what is missing. Nothing is printed when nothing is missing.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
list=$here/packages.txt

check_only=0
groups=()
for argument in "$@"; do
  case $argument in
    --check) check_only=1 ;;
    build | test | lint) groups+=("$argument") ;;
    -h | --help)
      sed -n '2,8s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
      exit 0
      ;;
    *)
      echo "setup.sh: unknown argument '$argument'; see tools/setup.sh --help" >&2
      exit 2
      ;;
  esac
done
[[ ${#groups[@]} -gt 0 ]] || groups=(build test lint)

# The packages of the wanted groups, in the order of the file.
wanted=()
group=build
while read -r word _; do
  case $word in
    '' | '#'*) ;;
    '['*']') group=${word:1:-1} ;;
    *) if [[ " ${groups[*]} " == *" $group "* ]]; then wanted+=("${word%%#*}"); fi ;;
  esac
done <"$list"

if ! command -v dpkg-query >/dev/null; then
  # Another system: its packages have other names, so the programs themselves are the test.
  missing=()
  for program in g++ cmake ninja python3; do
    command -v "$program" >/dev/null || missing+=("$program")
  done
  [[ ${#missing[@]} -eq 0 ]] && exit 0
  {
    echo "setup: this is not a Debian system, so nothing is installed automatically."
    echo "setup: not found: ${missing[*]}"
    echo "setup: install what your system calls these Debian packages, then try again:"
    printf '  %s\n' "${wanted[@]}"
  } >&2
  exit 1
fi

# One query for all of them; a package unknown to dpkg only makes it complain on stderr.
installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${wanted[@]}" 2>/dev/null || true)
missing=()
for package in "${wanted[@]}"; do
  [[ $'\n'$installed$'\n' == *$'\n'"installed $package"$'\n'* ]] || missing+=("$package")
done
[[ ${#missing[@]} -eq 0 ]] && exit 0

runner=()
command_line="apt-get install -y --no-install-recommends ${missing[*]}"
if [[ $(id -u) -ne 0 ]]; then
  command_line="sudo $command_line"
  runner=(sudo)
fi
explain() {
  echo "setup: $1"
  echo "setup: install what is missing, then try again:"
  echo "  $command_line"
}
if [[ $check_only -eq 1 ]]; then
  explain "${#missing[@]} Debian packages are missing (make setup installs them)." >&2
  exit 1
fi
if ! command -v apt-get >/dev/null; then
  explain "apt-get is not available." >&2
  exit 1
fi
if [[ ${#runner[@]} -gt 0 ]]; then
  if ! command -v sudo >/dev/null; then
    command_line=${command_line#sudo }
    explain "not root, and there is no sudo. As root:" >&2
    exit 1
  fi
  # Without a terminal nobody can type a password: better an answer than a hang.
  if ! [[ -t 0 ]] && ! sudo -n true 2>/dev/null; then
    explain "sudo wants a password and there is no terminal to ask for it." >&2
    exit 1
  fi
fi

echo "setup: installing ${#missing[@]} Debian packages: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() {
  "${runner[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get -q -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1 </dev/null
}
install() { apt install -y --no-install-recommends "${missing[@]}"; }

# The package lists are fetched only when they are missing or out of date, which shows as a failure.
started=$SECONDS
if ! install; then
  if ! apt update || ! install; then
    tail -n 25 "$log" >&2
    explain "apt-get failed (its last lines are above)." >&2
    exit 1
  fi
fi
echo "setup: done in $((SECONDS - started)) s"
