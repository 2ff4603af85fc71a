#!/usr/bin/env python3
"""Grades a submission of chapter 10's exercises: `make check-ch10` for exercises/ch10.

Prints a line for each exercise and the story of each failure; writes grade.json after every check, and an
HTML report. Exit status: 0 full marks, 1 less, 2 it could not be graded.
"""
import argparse
import json
import os
import pathlib
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lbgrader import check as checks  # noqa: E402
from lbgrader import convert, grading, page, results, terminal  # noqa: E402

EXERCISES = {**{str(n): n for n in (1, 2, 3, 4)}, **{f"10.{n}": n for n in (1, 2, 3, 4)},
             **{seam: n for n, seam in checks.SEAMS.items()}}


def parser():
    p = argparse.ArgumentParser(prog="grade.py", description=__doc__.splitlines()[0])
    p.add_argument("--submission", metavar="DIR", default=str(checks.ROOT / "exercises" / "ch10"),
                   help="folder with 1_watch/watch.cpp and so on (default: exercises/ch10)")
    p.add_argument("--exercise", metavar="N", action="append", choices=sorted(EXERCISES), default=[],
                   help="1 to 4, or together; may be repeated (default: all)")
    p.add_argument("--check", metavar="T", type=int, default=0, help="one check of the one exercise")
    p.add_argument("--seed", metavar="S", type=int, default=0,
                   help="replays a run (default: a new one, shown)")
    p.add_argument("--out", metavar="DIR", default=str(checks.ROOT / "build" / "report"),
                   help="where grade.json and ch10.html go (default: build/report)")
    p.add_argument("--json", metavar="FILE", help="the grade once more, there")
    p.add_argument("--gradescope", metavar="FILE", help="as Gradescope's results.json")
    p.add_argument("--junit", metavar="FILE")
    p.add_argument("--tap", metavar="FILE")
    p.add_argument("--html", metavar="FILE", help="the report (default: ch10.html in --out)")
    p.add_argument("--hidden", action=argparse.BooleanOptionalAction, default=True,
                   help="hidden checks, where their files are (default: with them)")
    p.add_argument("--live", action=argparse.BooleanOptionalAction, default=True,
                   help="checks with the real balancer (default: with them)")
    p.add_argument("--build-dir", metavar="DIR",
                   help="what is built of the submission (default: build/grade)")
    p.add_argument("--jobs", metavar="N", type=int, default=2, help="exercises at a time (default: 2)")
    p.add_argument("--quiet", action="store_true", help="prints the score only")
    return p


def main():
    # Output may be piped into a pager that ends: that is no reason to stop grading.
    args = parser().parse_args()
    numbers = tuple(sorted({EXERCISES[e] for e in args.exercise})) or grading.Options.exercises
    if args.check and len(numbers) != 1:
        parser().error("--check T wants one --exercise N")
    if args.check and args.check not in [c.number for c in checks.load_checks(numbers[0], args.hidden)]:
        parser().error(f"exercise {checks.label(numbers[0])} has no check {args.check}")
    show = Show(args.quiet)
    options = grading.Options(
        exercises=numbers, check=args.check, seed=args.seed, hidden=args.hidden, jobs=args.jobs, out=args.out,
        stages=("unit", "live", "zero-drop") if args.live else ("unit",), observer=show.finished,
        started=show.started)
    grade = grading.grade(args.submission, args.build_dir, options)
    write_files(args, grade)
    show.rest(grade)
    if any(c.verdict == "not graded" for c in grade.checks()) or any(
            e.state == grading.NOT_GRADED for e in grade.exercises):
        return 2
    return 0 if grade.full_marks else 1


def write_files(args, grade):
    text = {args.json: lambda: json.dumps(grade.to_json(), indent=1) + "\n",
            args.gradescope: lambda: json.dumps(convert.gradescope(grade), indent=1) + "\n",
            args.junit: lambda: convert.junit(grade), args.tap: lambda: convert.tap(grade),
            args.html or os.path.join(args.out, "ch10.html"): lambda: page.render(grade)}
    for path, make in text.items():
        if path:
            path = pathlib.Path(path)
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{path.name}.{os.getpid()}")
            beside.write_text(make())
            os.replace(beside, path)


class Show:
    """Lines of exercises as they end, in their order; the stories at the end."""

    def __init__(self, quiet):
        self.quiet, self.done, self.printed = quiet, set(), 0
        self.text = terminal.Text(terminal.colour_wanted(sys.stdout), columns=terminal.columns_of(sys.stdout))

    def started(self, grade):
        if not self.quiet:
            print(self.text.header(grade), flush=True)
            self.printed = 1

    def finished(self, grade, result):
        self.done.add(result.number)
        self._lines(grade, lambda exercise: exercise.number in self.done)

    def _lines(self, grade, ready):
        if self.quiet:
            return
        while self.printed <= len(grade.exercises) and ready(grade.exercises[self.printed - 1]):
            print(self.text.exercise(grade.exercises[self.printed - 1], terminal.marks_width(grade)),
                  flush=True)
            self.printed += 1

    def rest(self, grade):
        self._lines(grade, lambda _: True)
        if not self.quiet:
            for note in terminal.notes_of(grade):
                print(f"note: {note}")
            for result in grade.exercises:
                for block in self.text.stories(result):
                    print("", *block, sep="\n")
        print(self.text.score(grade))
        to_write = next((e for e in grade.exercises if e.state == results.NOT_WRITTEN), None)
        if to_write and not self.quiet:
            folder = f"exercises/ch10/{to_write.number}_{to_write.seam}"
            print(f"to begin with: {folder}/README.md, then make hint-ch10.{to_write.number}")


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        os._exit(130)
