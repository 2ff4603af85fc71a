#!/usr/bin/env python3
"""Grades a folder of submissions of chapter 10: grade_all.py submissions/ --out grades/

Each entry of the folder is one: a folder, a .zip or a .tar.gz with the four exercise files, nested and
named as students do. All are graded with the same seed. A run that was interrupted goes on where it
stopped, and a submission is graded anew only when it, the checks or the seed changed. Results in --out:
index.html, grades.csv, statistics.txt and .json, and for each NAME.html, NAME.json and feedback/NAME.html
(without what hidden checks do).

Exit status: 0 everything is graded, 2 something could not be (index.html says what), 130 interrupted.
"""
import argparse
import contextlib
import fcntl
import fnmatch
import os
import pathlib
import random
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lbbatch import collect, pages, runs, statistics  # noqa: E402
from lbgrader import grading, results  # noqa: E402
from lbgrader.check import SEAMS, CouldNotGrade  # noqa: E402

EXERCISES = {
    **{str(n): n for n in (1, 2, 3, 4)},
    **{f"10.{n}": n for n in (1, 2, 3, 4)},
    **{seam: n for n, seam in SEAMS.items()},
}


def parser():
    cpus = len(os.sched_getaffinity(0))
    p = argparse.ArgumentParser(prog="grade_all.py", description=__doc__.splitlines()[0])
    p.add_argument("submissions", metavar="FOLDER", type=pathlib.Path)
    p.add_argument(
        "--out", metavar="DIR", type=pathlib.Path, default=pathlib.Path("grades"), help="(default: grades)"
    )
    p.add_argument(
        "--jobs",
        metavar="N",
        type=int,
        default=max(1, cpus // 2),
        help="submissions at a time; each uses two processors (default: %(default)s)",
    )
    p.add_argument(
        "--seed",
        metavar="S",
        type=int,
        default=0,
        help="of all checks (default: the seed of the last run into --out, else a new one)",
    )
    p.add_argument(
        "--only",
        metavar="NAME",
        action="append",
        default=[],
        help="only submissions of this name; * and ? as in a shell; may be repeated",
    )
    p.add_argument("--again", action="store_true", help="grade even what has not changed since it was graded")
    p.add_argument(
        "--exercise",
        metavar="N",
        action="append",
        choices=sorted(EXERCISES),
        default=[],
        help="1 to 4, or together; may be repeated (default: all)",
    )
    p.add_argument("--hidden", action=argparse.BooleanOptionalAction, default=True)
    p.add_argument(
        "--live",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="checks with the real balancer (default: with them)",
    )
    p.add_argument(
        "--minutes", metavar="M", type=float, default=20, help="limit for one submission (%(default)s)"
    )
    return p


class Batch:
    def __init__(self, settings, records):
        self.settings, self.records = settings, records
        self.count = 0

    def write(self):
        """Everything that is about more than one submission."""
        out, figures = self.settings.out, statistics.of_class(self.records)
        runs.write_text(out / "grades.csv", pages.csv_text(self.records, self.settings.exercises))
        runs.write_text(out / "statistics.txt", statistics.as_text(figures))
        grading.write_json(out / "statistics.json", figures)
        runs.write_text(out / "index.html", pages.index(self.records, figures, self.settings))
        return figures

    def run(self, todo):
        self.total = len(todo)
        self.write()
        runs.run(todo, self.settings, self.finished)
        return self.write()

    def finished(self, record):
        self.count += 1
        print(self.line(record), flush=True)
        self.write()

    def line(self, record):
        grade = record.grade
        parts = []
        for result in grade.exercises:
            name = result.name if result.name != "together" else "all"
            word = {
                grading.GRADED: f"{result.points}/{result.points_max}",
                grading.NOT_WRITTEN: "-",
                results.NO_COMPILE: "!",
                grading.NOT_GRADED: "??",
                grading.MISSING: "missing",
            }.get(result.state, "-")
            parts.append(f"{name} {word}")
        doubt = "   not all could be graded" if record.doubtful else ""
        return (
            f"[{min(self.count, self.total)}/{self.total}] {record.submission.name:<24} {grade.points:>3}"
            f"/{grade.points_max:<3} {record.meta['seconds']:>6.1f} s   {'  '.join(parts)}{doubt}"
        )


@contextlib.contextmanager
def alone(out):
    """Two batches do not write into one folder."""
    (out / ".batch").mkdir(parents=True, exist_ok=True)
    with open(out / ".batch" / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SystemExit(f"grade_all: another run is writing into {out}") from None
        yield


def seed_of(args, out):
    """The seed asked for, else that of the last run, so that going on means the same checks."""
    path = out / ".batch" / "seed"
    seed = args.seed
    if not seed:
        with contextlib.suppress(OSError, ValueError):
            seed = int(path.read_text())
    seed = seed or random.SystemRandom().randrange(10000, 100000)
    runs.write_text(path, f"{seed}\n")
    return seed


def say_what_is_missing(args):
    if not (runs.ROOT / "solutions" / "ch10").is_dir():
        print(
            "grade_all: this tree has no solutions/: the hidden checks and the references are missing",
            file=sys.stderr,
        )
    if args.jobs * 2 > len(os.sched_getaffinity(0)) + 1:
        print(
            f"grade_all: {args.jobs} submissions at a time on {len(os.sched_getaffinity(0))} processors: "
            "live checks may fail for lack of time",
            file=sys.stderr,
        )


def main():
    args = parser().parse_args()
    if not args.submissions.is_dir():
        parser().error(f"{args.submissions} is no folder")
    out = args.out.resolve()
    if args.submissions.resolve() == out:
        parser().error("the grades would lie among the submissions")
    with alone(out):
        return grade_all(args, out)


def grade_all(args, out):
    began = time.monotonic()
    say_what_is_missing(args)
    settings = runs.Settings(
        out=out,
        seed=seed_of(args, out),
        hidden=args.hidden,
        jobs=max(1, args.jobs),
        seconds_max=60 * args.minutes,
        exercises=tuple(sorted({EXERCISES[e] for e in args.exercise})) or grading.Options.exercises,
        stages=grading.Options.stages if args.live else ("unit",),
        tree=runs.fingerprint(),
    )
    found, ignored = collect.entries(args.submissions)
    for sentence in ignored:
        print(f"not a submission: {sentence}")
    records = [
        runs.Record(collect.read(name, path), settings) for name, path in found if path.resolve() != out
    ]
    asked = [
        r
        for r in records
        if not args.only or any(fnmatch.fnmatchcase(r.submission.name, o) for o in args.only)
    ]
    if not asked:
        print(f"grade_all: no submission in {args.submissions}" + (" has such a name" if args.only else ""))
        return 2
    todo = [r for r in asked if args.again or not r.finished or r.doubtful]
    print(f"{len(asked)} submissions, {len(todo)} to grade; seed {settings.seed}", flush=True)
    if todo:
        try:
            runs.prepare(settings)
        except CouldNotGrade as error:
            print(f"grade_all: {error}\n{getattr(error, 'log', '')}", file=sys.stderr)
            return 2
        print(f"the tree's own part is built ({time.monotonic() - began:.0f} s)", flush=True)
    figures = Batch(settings, records).run(todo)
    print(f"{time.monotonic() - began:.0f} s. {out / 'index.html'}")
    if figures.get("to_look_at"):
        print(f"to look at: {', '.join(figures['to_look_at'])}")
    if todo and runs.fingerprint() != settings.tree:
        print("the tree was changed while it graded: run again; what depends on the change is graded anew")
        return 2
    return 2 if any(r.doubtful for r in asked) else 0


def interrupted(_number, _frame):
    raise KeyboardInterrupt


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        runs.work(sys.argv[2])
        sys.exit(0)
    signal.signal(signal.SIGTERM, interrupted)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("grade_all: interrupted; the same command goes on where it stopped", file=sys.stderr)
        sys.exit(130)
