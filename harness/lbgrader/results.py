"""What a grade is: plain values, to and from JSON. The schema is in README.md."""
import dataclasses

from .check import TOGETHER

SCHEMA_VERSION = 1

# States of an exercise: what its line says instead of verdicts, but for "graded".
GRADED, MISSING, NOT_WRITTEN, NO_COMPILE, NOT_ACCEPTED = (
    "graded", "missing", "not implemented", "does not compile", "not accepted")
WAITS, NOT_GRADED, PENDING = "waits", "could not be graded", "pending"


@dataclasses.dataclass
class CheckResult:
    name: str
    number: int
    title: str
    stage: str
    points_max: int
    hidden: bool
    points: int = 0
    verdict: str = "pending"  # pass, fail, not graded; pending: not run (yet)
    blame: str = ""  # student, grader, environment; empty: nobody
    seconds: float = 0.0
    story: list = dataclasses.field(default_factory=list)  # [[seconds since the check began, step], ...]
    expected: str = ""
    seen: str = ""
    log: str = ""
    usually: str = ""
    again: str = ""
    hint: str = ""
    picture: str = ""
    not_implemented: bool = False
    attached: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class ExerciseResult:
    number: int
    name: str  # "10.1", "together"
    seam: str
    state: str = PENDING
    sentence: str = ""
    usually: str = ""
    log: str = ""
    blame: str = ""
    points: int = 0
    points_max: int = 0  # of the checks that are here
    points_hidden: int = 0  # of checks that are not here (the hand-out)
    seconds: float = 0.0
    seconds_build: float = 0.0
    notes: list = dataclasses.field(default_factory=list)
    checks: list = dataclasses.field(default_factory=list)

    def settle(self):
        self.points = sum(check.points for check in self.checks)


@dataclasses.dataclass
class Grade:
    submission: str
    seed: int
    containment: list
    complete: bool = False
    partial: bool = False  # not every exercise and check was asked for
    started: str = ""
    seconds: float = 0.0
    notes: list = dataclasses.field(default_factory=list)
    exercises: list = dataclasses.field(default_factory=list)

    @property
    def points(self):
        return sum(exercise.points for exercise in self.exercises)

    @property
    def points_max(self):
        return sum(exercise.points_max for exercise in self.exercises)

    @property
    def full_marks(self):
        return self.complete and self.points_max > 0 and self.points == self.points_max

    def checks(self):
        return [check for exercise in self.exercises for check in exercise.checks]

    def to_json(self):
        head = {"version": SCHEMA_VERSION, "chapter": "10", "points": self.points,
                "points_max": self.points_max}
        return {**head, **dataclasses.asdict(self)}

    @staticmethod
    def from_json(data):
        """The grade that to_json() described."""
        data = {key: value for key, value in data.items() if key not in ("version", "chapter", "points",
                                                                         "points_max")}
        grade = Grade(**data)
        grade.exercises = [ExerciseResult(**exercise) for exercise in grade.exercises]
        for exercise in grade.exercises:
            exercise.checks = [CheckResult(**check) for check in exercise.checks]
        return grade


@dataclasses.dataclass
class Options:
    exercises: tuple = (1, 2, 3, 4, TOGETHER)
    check: int = 0  # one check of the one exercise
    seed: int = 0  # 0: a new one
    hidden: bool = True
    stages: tuple = ("unit", "live", "zero-drop")
    jobs: int = 2
    out: object = None  # folder for grade.json; None: not written
    started: object = None  # called with the grade before anything is built
    observer: object = None  # called with (grade, exercise) when one is finished
