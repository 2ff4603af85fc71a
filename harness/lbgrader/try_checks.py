"""For whoever writes checks: runs the unit checks of one exercise against one runner, without any ceremony.

  tools/python.sh -m lbgrader.try_checks N PROGRAM [--check T] [--seed S]     (with PYTHONPATH=harness)
"""
import argparse
import sys
import time

from . import check as checks
from .runner import Student


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("exercise", type=int)
    parser.add_argument("program")
    parser.add_argument("--check", type=int)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failed = 0
    for one in checks.load_checks(options.exercise):
        if one.stage != "unit" or (options.check and one.number != options.check):
            continue
        opened = []

        def start(**arguments):
            opened.append(Student(options.program, **arguments))
            return opened[-1]

        lab = checks.Lab(options.seed, start)
        began = time.monotonic()
        try:
            one.function(lab)
            verdict = "ok"
        except checks.CheckFailed as failure:
            failed += 1
            steps = "".join(f"\n    {i}. {text}" for i, text in enumerate(lab.story))
            verdict = (f"FAILED{steps}\n    expected: {failure.expected}\n    seen: {failure.seen}"
                       f"\n    log: {failure.log}\n    usually: {failure.usually or one.usually}")
        finally:
            for student in opened:
                student.close()
        print(f"{one.name} {one.title} ({one.points}) {time.monotonic() - began:.2f} s: {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
