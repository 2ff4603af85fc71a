"""Grades submissions, each in a process of its own, and keeps what is known of each, so that a batch that was
interrupted goes on where it stopped. Of a submission NAME there are in the folder of the grades:

    NAME.json           the grade, as harness/grade.py writes it
    NAME.html           its page; feedback/NAME.html the same without what hidden checks did
    reports/NAME-*      pages that checks have made: every connection of the zero-drop run
    submissions/NAME/   the four files as they were graded
    .batch/NAME/        meta.json: key, remarks, times; grade.json: what is known meanwhile; worker.log
"""
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

from lbgrader import building, contain, grading, page
from lbgrader.check import POINTS, ROOT, SEAMS, source_name

KEY_VERSION = 1
END_SECONDS_MAX = 10
# What a grade depends on in this tree.
_JUDGES = (
    "lb",
    "cmake",
    "harness/labs",
    "harness/lbgrader",
    "harness/lbharness",
    "harness/traffic",
    "harness/reload_zero_drop.py",
    "exercises/ch10",
    "solutions/ch10",
    "CMakeLists.txt",
    "CMakePresets.json",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    out: pathlib.Path
    seed: int
    exercises: tuple = grading.Options.exercises
    stages: tuple = grading.Options.stages
    hidden: bool = True
    jobs: int = 1
    exercise_jobs: int = 2
    seconds_max: float = 1200.0
    tree: str = ""  # fingerprint()


def fingerprint():
    """Of everything that judges: checks, grader, balancer, references."""
    listed = subprocess.run(
        [
            "git",
            "-C",
            str(ROOT),
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
            "--",
            *_JUDGES,
        ],
        capture_output=True,
        check=False,
    )
    if listed.returncode == 0:
        names = sorted({n for n in listed.stdout.decode(errors="surrogateescape").split("\0") if n})
    else:
        names = sorted(
            p.relative_to(ROOT).as_posix()
            for one in _JUDGES
            for p in (ROOT / one, *(ROOT / one).rglob("*"))
            if p.is_file() and "__pycache__" not in p.parts
        )
    digest = hashlib.sha256()
    starters = {f"exercises/ch10/{source_name(n)}" for n in (1, 2, 3, 4)}
    for name in names:
        if (
            name.endswith((".md", "_test.cpp", "_bench.cpp", "_fuzz.cpp"))
            or "/fuzz/" in name
            or name in starters
        ):
            continue
        path = ROOT / name
        if path.is_file():
            digest.update(
                f"{name}\0".encode(errors="surrogateescape") + hashlib.sha256(path.read_bytes()).digest()
            )
    return digest.hexdigest()


def key_of(submission, settings):
    """Changes when the submission, the checks, the seed or what was asked for change."""
    what = [
        KEY_VERSION,
        settings.tree,
        settings.seed,
        sorted(settings.exercises),
        sorted(settings.stages),
        settings.hidden,
        submission.remarks,
        {str(n): hashlib.sha256(data).hexdigest() for n, data in sorted(submission.files.items())},
    ]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


# ---- what is known of one submission ---------------------------------------------------------------


class Record:
    def __init__(self, submission, settings):
        self.submission, self.settings = submission, settings
        self.key = key_of(submission, settings)
        self.folder = settings.out / ".batch" / submission.name
        self.json_path = settings.out / f"{submission.name}.json"
        self.grade = self.meta = None
        self.fresh = False  # graded by this run of the program
        self._load()

    def _load(self):
        """What an earlier run has finished."""
        try:
            meta = json.loads((self.folder / "meta.json").read_text())
            if meta["key"] == self.key:
                self.grade = grading.Grade.from_json(json.loads(self.json_path.read_text()))
                self.meta = meta
        except (OSError, ValueError, KeyError, TypeError):
            self.grade = self.meta = None

    @property
    def finished(self):
        return self.grade is not None

    @property
    def doubtful(self):
        """Something is not the submission's fault: to be graded again, or looked at."""
        return (
            self.grade is None
            or not self.grade.complete
            or any(c.verdict == "not graded" for c in self.grade.checks())
            or any(e.state == grading.NOT_GRADED for e in self.grade.exercises)
        )

    def stage(self):
        """Writes the four files where the grader finds them."""
        folder = self.settings.out / "submissions" / self.submission.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for number, data in self.submission.files.items():
            path = folder / source_name(number)
            path.parent.mkdir(parents=True)
            path.write_bytes(data)
        return folder

    def finish(self, why_not, seconds):
        """Takes the grade that the worker left. `why_not`: a sentence, when its process did not end well."""
        data = None
        try:
            data = json.loads((self.folder / "grade.json").read_text())
            grade = grading.Grade.from_json(data)
        except (OSError, ValueError, KeyError, TypeError):
            grade = _empty_grade(self.submission.name, self.settings)
        if why_not or not grade.complete:
            _mark_unfinished(grade, why_not or "the grader's process ended early")
        grade.submission = self.submission.name
        grade.notes = [*self.submission.remarks, *grade.notes]
        for check in grade.checks():
            check.picture = f"{self.submission.name}.html#{check.name}"
            self._keep_report(check)
        self.grade, self.fresh = grade, True
        self.meta = {
            "key": self.key,
            "seconds": round(seconds, 2),
            "origin": self.submission.origin.name,
            "remarks": self.submission.remarks,
            "doubtful": self.doubtful,
            "tried": (self.meta or {}).get("tried", 0) + 1,
        }
        grading.write_json(self.json_path, grade.to_json())
        self.write_pages()
        grading.write_json(self.folder / "meta.json", self.meta)  # last: from now on it is finished

    def _keep_report(self, check):
        """The page that a check has made itself: of the zero-drop run."""
        made = self.folder / str(check.attached.get("report") or "-")
        if made.parent == self.folder and made.is_file():
            kept = f"reports/{self.submission.name}-{check.name}.html"
            write_text(self.settings.out / kept, made.read_text(encoding="utf-8"))
            check.attached["report"] = kept

    def write_pages(self):
        name = f"{self.submission.name}.html"
        write_text(self.settings.out / name, _page(self.grade))
        write_text(self.settings.out / "feedback" / name, _page(for_student(self.grade)))


def write_text(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def _page(grade):
    try:
        return (
            page.render(grade)
            .replace("<title>", f"<title>{page.html.escape(grade.submission)} - ", 1)
            .replace("<p class=what>", f"<p class=what>{page.html.escape(grade.submission)} &middot; ", 1)
        )
    except Exception as error:  # a page is no reason to stop a batch
        text = page.html.escape(json.dumps(grade.to_json(), indent=1))
        return (
            f"<!DOCTYPE html><meta charset=utf-8><p>The page could not be made: {error!r}<pre>{text}</pre>\n"
        )


def for_student(grade):
    """The grade without what hidden checks do and expect."""
    told = grading.Grade.from_json(grade.to_json())
    for check in told.checks():
        if check.attached.get("report"):
            check.attached["report"] = f"../{check.attached['report']}"
        if check.hidden:
            check.title, check.story, check.log, check.attached = "hidden", [], "", {}
            check.expected = check.seen = check.usually = check.again = check.hint = ""
            if check.verdict == "fail":
                check.expected, check.seen = "what the contract in the header says", "something else"
    return told


def _empty_grade(name, settings):
    grade = grading.Grade(name, settings.seed, [])
    for number in settings.exercises:
        grade.exercises.append(
            grading.ExerciseResult(number, building_label(number), SEAMS[number], points_max=POINTS[number])
        )
    return grade


def building_label(number):
    return "together" if SEAMS[number] == "together" else f"10.{number}"


def _mark_unfinished(grade, why):
    grade.complete = False
    for result in grade.exercises:
        for check in result.checks:
            if check.verdict == "pending" and result.state in (grading.PENDING, grading.NOT_GRADED):
                check.verdict, check.blame, check.seen = "not graded", "grader", why
        if result.state == grading.PENDING:
            result.state, result.blame, result.sentence = grading.NOT_GRADED, "grader", why
    grade.notes.append(f"not finished: {why}")


# ---- workers ---------------------------------------------------------------------------------------


def work(task_file):
    """In the worker: one submission; everything that is to be known of it is in grade.json then."""
    contain.die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _end)
    signal.signal(signal.SIGINT, _end)
    task = json.loads(pathlib.Path(task_file).read_text())
    options = grading.Options(
        exercises=tuple(task["exercises"]),
        seed=task["seed"],
        hidden=task["hidden"],
        stages=tuple(task["stages"]),
        jobs=task["jobs"],
        out=task["out"],
    )
    grading.grade(task["submission"], task["build"], options)


def _end(_number, _frame):
    contain.end_below(os.getpid())
    os._exit(1)


class Worker:
    def __init__(self, record, exercise_jobs):
        self.record, self.began = record, time.monotonic()
        settings = record.settings
        shutil.rmtree(record.folder, ignore_errors=True)
        record.folder.mkdir(parents=True)
        key = hashlib.sha256(str(record.folder).encode()).hexdigest()[:12]
        self.build = ROOT / "build" / "grade" / f"batch-{key}"
        task = {
            "submission": str(record.stage()),
            "build": str(self.build),
            "out": str(record.folder),
            "seed": settings.seed,
            "exercises": settings.exercises,
            "stages": settings.stages,
            "hidden": settings.hidden,
            "jobs": exercise_jobs,
        }
        grading.write_json(record.folder / "task.json", task)
        self._log = open(record.folder / "worker.log", "wb")
        program = ROOT / "harness" / "grade_all.py"
        self.process = subprocess.Popen(
            [sys.executable, str(program), "--worker", str(record.folder / "task.json")],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    @property
    def seconds(self):
        return time.monotonic() - self.began

    def ended(self):
        """None while it runs; then a sentence that is empty when it has ended as it should."""
        if self.process.poll() is None:
            if self.seconds < self.record.settings.seconds_max:
                return None
            self.stop()
            return f"it was not graded within {self.record.settings.seconds_max:g} s"
        return (
            "" if self.process.returncode == 0 else f"the grader's process ended ({self.process.returncode})"
        )

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def clean(self):
        """What was built: some 100 MB."""
        self._log.close()
        shutil.rmtree(self.build, ignore_errors=True)


def run(records, settings, on_finished, jobs=None, start=Worker):
    """Grades these, some at a time, and then once more, alone, what could not be graded."""
    contain.become_reaper()
    first_doubtful = []

    def finished(record, again=False):
        if record.doubtful and not again:
            first_doubtful.append(record)
        on_finished(record)

    _run(records, settings, finished, jobs or settings.jobs, start)
    _run(first_doubtful, settings, lambda record: finished(record, True), 1, start)


def _run(records, settings, on_finished, jobs, start):
    waiting, running = list(records), []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                running.append(start(waiting.pop(0), settings.exercise_jobs))
            time.sleep(0.02)  # polling: the ends of processes and deadlines alike
            for worker in [*running]:
                why_not = worker.ended()
                if why_not is not None:
                    running.remove(worker)
                    _finish(worker, why_not, running)
                    on_finished(worker.record)
    finally:
        for worker in running:
            worker.stop()
            worker.clean()
        contain.end_below(os.getpid())


def _finish(worker, why_not, others):
    seconds = worker.seconds
    contain.end_below(os.getpid(), [w.process.pid for w in others])  # orphans of a worker that is gone
    worker.record.finish(why_not, seconds)
    worker.clean()


def prepare(settings):
    """Builds what all submissions share; raises CouldNotGrade."""
    seams = [SEAMS[n] for n in settings.exercises]
    building.build_base([s for s in seams if s != "together"], ("runner",))
    if set(settings.stages) - {"unit"}:
        building.build_base(seams, ("lb",))
