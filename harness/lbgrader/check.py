"""What a check is, and how it tells its story.

A check is a function that takes a Lab, walks through numbered steps and raises when something is not as it
should be. It is declared where it stands:

    @check(5, "an editor saves by renaming", points=7, usually="the watch follows the old inode, not the
    name") def rename_over(lab):
        lab.step("write lb.json.tmp")
        ...
        lab.expect(reported, expected="a report within 500 ms", seen="no report")

The files with checks are exercises/chNN/N_name/checks.py (public) and solutions/chNN/hidden/N_name.py
(hidden: not in the hand-out); load_checks() finds both. A function that returns has passed. Everything random
in a check comes from lab.rng, so that a seed replays it.
"""
import dataclasses
import importlib.util
import pathlib
import random
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
STAGES = ("unit", "live", "zero-drop")
TOGETHER = 5  # the joint stage: all four of a submission in one balancer
SEAMS = {1: "watch", 2: "diff", 3: "rollback", 4: "yaml", TOGETHER: "together"}
POINTS = {1: 25, 2: 20, 3: 30, 4: 15, TOGETHER: 10}  # hidden checks included


def label(exercise):
    return "together" if exercise == TOGETHER else f"10.{exercise}"


def source_name(exercise):
    """Where the file of an exercise lies within a submission."""
    return f"{exercise}_{SEAMS[exercise]}/{SEAMS[exercise]}.cpp"


class CheckFailed(Exception):
    """The submission did something else than it should have: blame student."""

    def __init__(self, expected, seen, log="", usually=""):
        super().__init__(f"expected: {expected}   seen: {seen}")
        self.expected, self.seen, self.log, self.usually = expected, seen, log, usually


class NotImplementedYet(CheckFailed):
    """The submission says by itself that this is still to be written; `seen` is its own sentence."""

    def __init__(self, sentence):
        super().__init__("an answer", sentence)


class CouldNotGrade(Exception):
    """The check itself could not run. `blame` is "grader" or "environment"."""

    def __init__(self, why, blame="grader"):
        super().__init__(why)
        self.blame = blame


@dataclasses.dataclass(frozen=True)
class Check:
    exercise: int
    number: int
    title: str
    points: int
    stage: str
    usually: str
    function: object
    hidden: bool
    seconds_max: float

    @property
    def name(self):
        return f"{label(self.exercise)}.{self.number}"


_declared = []


def check(number, title, *, points, stage="unit", usually="", seconds_max=10.0):
    """Declares the function below it as check `number` of the exercise whose file it stands in."""
    assert stage in STAGES and points >= 0

    def declare(function):
        _declared.append((number, title, points, stage, usually, function, seconds_max))
        return function

    return declare


def load_checks(exercise, with_hidden=True):
    """Every check of one exercise in the order of numbers. Hidden ones only where their file is."""
    seam = SEAMS[exercise]
    if exercise == TOGETHER:
        return _declared_in([(ROOT / "exercises" / "ch10" / "together.py", False)], exercise, with_hidden)
    files = [(ROOT / "exercises" / "ch10" / f"{exercise}_{seam}" / "checks.py", False),
             (ROOT / "solutions" / "ch10" / "hidden" / f"{exercise}_{seam}.py", True)]
    return _declared_in(files, exercise, with_hidden)


def _declared_in(files, exercise, with_hidden):
    checks = []
    for path, hidden in files:
        if not path.exists() or (hidden and not with_hidden):
            continue
        _declared.clear()
        spec = importlib.util.spec_from_file_location(f"ch10_{exercise}_{path.stem}", path)
        spec.loader.exec_module(importlib.util.module_from_spec(spec))
        checks += [Check(exercise, *fields[:6], hidden, fields[6]) for fields in _declared]
    checks.sort(key=lambda c: c.number)
    numbers = [c.number for c in checks]
    assert len(numbers) == len(set(numbers)), f"two checks of exercise {exercise} share a number"
    return checks


class Lab:
    """What a running check has at hand: its story, its random numbers and the submission."""

    def __init__(self, seed, runner=None, balancer=None, folder=None, on_step=None):
        self.seed = seed
        self._began, self._on_step = time.monotonic(), on_step
        self.rng = random.Random(seed)
        self.story = []  # the steps so far
        self.attached = {}
        self.log = []  # lines of the submission that help to explain, newest last
        self._runner, self._balancer, self.folder = runner, balancer, folder

    def step(self, text):
        """One more line of the story: what is done to the submission, in the words of the exercise."""
        self.story.append(text)
        if self._on_step:
            self._on_step(time.monotonic() - self._began, text)

    def attach(self, **figures):
        """For the report, never judged: figures={name: number}, page="a whole HTML page" that it links to."""
        self.attached.update(figures)

    def expect(self, condition, *, expected, seen, log=None, usually=""):
        if not condition:
            raise CheckFailed(expected, seen, "\n".join(log if log is not None else self.log), usually)

    def student(self):
        """A fresh process with the submission's code (runner.Student); unit checks. Ended with the check."""
        if self._runner is None:
            raise CouldNotGrade("this check needs a runner")
        return self._runner()

    def balancer(self):
        """Path of the balancer with the submission's code in place; live and zero-drop checks."""
        if self._balancer is None:
            raise CouldNotGrade("this check needs a balancer")
        return self._balancer
