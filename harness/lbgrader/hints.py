"""Hints, one level at a time: idea, interface, pseudocode. From exercises/ch10/N_seam/hints.md.

  make hint-ch10.1            the next level: each call shows one more
  make hint-ch10.1 LEVEL=2    that level
"""
import argparse
import json
import re
import sys

from .check import ROOT, SEAMS, TOGETHER
from .grading import write_json

STATE = ROOT / "build" / "hints.json"


def levels(exercise):
    """[(heading, text), ...] of one exercise's file."""
    path = ROOT / "exercises" / "ch10" / f"{exercise}_{SEAMS[exercise]}" / "hints.md"
    if not path.exists():
        return []
    parts = re.split(r"^## +(\d.*)$", path.read_text(), flags=re.M)
    return [(parts[i].strip(), parts[i + 1].strip("\n")) for i in range(1, len(parts) - 1, 2)]


def shown_so_far():
    try:
        state = json.loads(STATE.read_text())
        return state if isinstance(state, dict) else {}
    except (OSError, ValueError):
        return {}


def main():
    parser = argparse.ArgumentParser(prog="hints", description=__doc__.splitlines()[0])
    parser.add_argument("exercise", choices=[str(n) for n in SEAMS if n != TOGETHER])
    parser.add_argument("--level", type=int)
    options = parser.parse_args()
    found = levels(int(options.exercise))
    if not found:
        print(f"exercise 10.{options.exercise} has no hints", file=sys.stderr)
        return 1
    state = shown_so_far()
    level = options.level or min(int(state.get(options.exercise, 0)) + 1, len(found))
    if not 1 <= level <= len(found):
        print(f"there are the levels 1 to {len(found)}", file=sys.stderr)
        return 1
    heading, text = found[level - 1]
    print(f"10.{options.exercise} {SEAMS[int(options.exercise)]}: hint {heading}\n\n{text}\n")
    if level < len(found):
        print(f"next: make hint-ch10.{options.exercise}   ({found[level][0]})")
    state[options.exercise] = max(level, int(state.get(options.exercise, 0)))
    write_json(STATE, state)
    return 0


if __name__ == "__main__":
    sys.exit(main())
