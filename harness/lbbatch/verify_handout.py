"""make verify-handout: unpacks the hand-out in a folder of its own, builds it, and compares its scores
with what they should be: the untouched starters get nothing and say where they stand; with the references
in the starters' places it is full marks of the public checks. Takes as long as two builds of the tree
(minutes)."""
import json
import pathlib
import shutil
import subprocess
import tarfile
import tempfile
import time

from lbgrader import grading
from lbgrader.check import POINTS, ROOT, SEAMS, TOGETHER, source_name

SECONDS_MAX = 3600


class _Verification:
    def __init__(self, tree):
        self.tree, self.failures = tree, []

    def run(self, what, command):
        began = time.monotonic()
        done = subprocess.run(
            command,
            cwd=self.tree,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=SECONDS_MAX,
            check=False,
        )
        print(f"  {time.monotonic() - began:5.0f} s  {what}: {' '.join(command)}", flush=True)
        return done

    def expect(self, what, problems):
        if problems:
            self.failures.append(what)
            print(f"FAILED {what}: " + "\n    ".join(problems), flush=True)

    def succeeds(self, what, command):
        done = self.run(what, command)
        self.expect(what, [] if done.returncode == 0 else done.stdout.splitlines()[-40:])

    def grade(self, what):
        out = self.tree / "build" / "verify.json"
        out.unlink(missing_ok=True)
        done = self.run(what, ["harness/grade.py", "--json", str(out), "--seed", "48213"])
        if not out.exists():
            self.expect(what, done.stdout.splitlines()[-40:])
            return None
        return grading.Grade.from_json(json.loads(out.read_text()))


def starter_problems(grade):
    """The untouched hand-out: nothing implemented, no points, and some points hidden."""
    problems = []
    for result in grade.exercises:
        want = grading.WAITS if result.number == TOGETHER else grading.NOT_WRITTEN
        if result.state != want:
            problems.append(f"{result.name} is {result.state!r} ({result.sentence}), not {want!r}")
        if result.points_max + result.points_hidden != POINTS[result.number]:
            problems.append(
                f"{result.name} has {result.points_max} points and {result.points_hidden} hidden ones"
            )
        if result.number != TOGETHER and not result.points_hidden:
            problems.append(f"{result.name} has no hidden points")
    if grade.points:
        problems.append(f"{grade.points} points for nothing")
    return problems


def reference_problems(grade):
    problems = [f"{c.name} {c.verdict}: {c.seen[:200]}" for c in grade.checks() if c.verdict != "pass"]
    problems += [
        f"{e.name} is {e.state!r}: {e.sentence}" for e in grade.exercises if e.state != grading.GRADED
    ]
    return problems


def run(archive):
    """0 when all is as it should be."""
    with tempfile.TemporaryDirectory(prefix="handout-", dir=ROOT / "build") as folder:
        with tarfile.open(archive) as tar:
            tar.extractall(folder)
        verification = _Verification(pathlib.Path(folder) / archive.name.removesuffix(".tar.gz"))
        _verify(verification)
    print(
        "verify-handout: "
        + (f"failed: {', '.join(verification.failures)}" if verification.failures else "all as expected")
    )
    return 1 if verification.failures else 0


def _verify(verification):
    verification.succeeds("builds", ["make"])
    grade = verification.grade("the starters")
    if grade:
        verification.expect("the starters", starter_problems(grade))
    verification.succeeds("unit tests", ["make", "unit"])
    verification.succeeds("Python tests", ["make", "pytest"])
    verification.succeeds("the proof", ["harness/reload_zero_drop.py", "--reloads", "3"])
    for number in (n for n in SEAMS if n != TOGETHER):
        shutil.copyfile(
            ROOT / "solutions" / "ch10" / source_name(number),
            verification.tree / "exercises" / "ch10" / source_name(number),
        )
    grade = verification.grade("the references in their places")
    if grade:
        verification.expect("the references in their places", reference_problems(grade))
