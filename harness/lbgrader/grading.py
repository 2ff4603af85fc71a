"""Grades one submission: grade(submission, build, options) -> Grade. See README.md for what the result says.

Two exercises at a time, each in a driver process of its own that builds, and runs its checks one after the
other, each in a cell (contain.py). The drivers tell what happens over pipes; this process alone holds the
grade and writes grade.json, atomically, after every check.
"""
import dataclasses
import functools
import json
import os
import pathlib
import random
import re
import select
import signal
import sys
import time
import traceback

from lbharness.errors import CannotMeasure, HarnessError

from . import building, contain
from .check import (POINTS, ROOT, SEAMS, TOGETHER, CheckFailed, CouldNotGrade, Lab, NotImplementedYet, label,
                    load_checks)
from .results import (GRADED, MISSING, NOT_GRADED, NOT_WRITTEN, PENDING, WAITS, CheckResult, ExerciseResult,
                      Grade, Options)
from .runner import Student

TEXT_MAX = 4000
STEPS_MAX = 200
UNIT_STANDSTILL = 3  # times the time that a check without sleeping takes at most
NOT_IMPLEMENTED = "not implemented: "


def grade(submission, build=None, options=None):
    """Grades the folder `submission` (laid out as exercises/ch10). `build`: folder for what is built of it
    (default: build/grade). Never raises for what a submission does; what the tree or the machine cannot do is
    in the grade."""
    return _Session(pathlib.Path(submission), build, options or Options()).run()


# ---- the session -----------------------------------------------------------------------------------


class _Session:
    def __init__(self, submission, build, options):
        self.options = options
        self.submission, self.build = submission, build
        seed = options.seed or random.SystemRandom().randrange(10000, 100000)
        partial = bool(options.check) or set(options.exercises) != set(Options.exercises)
        self.grade = Grade(str(submission), seed, sorted(contain.spaces()), partial=partial,
                           started=time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()))
        self.began = time.monotonic()
        self.checks = {}
        self.asked = [n for n in sorted(options.exercises) if n != TOGETHER]
        self.results = {}
        self.no_balancer, self.unit_first, self.build_balancer = None, False, None
        for number in sorted(set(options.exercises)):
            self._prepare(number)

    def _prepare(self, number):
        result = ExerciseResult(number, label(number), SEAMS[number])
        self.results[number] = result
        self.grade.exercises.append(result)
        try:
            all_checks = load_checks(number, self.options.hidden)
        except Exception as error:  # a checks.py that does not load: of this tree, not of the submission
            result.state, result.blame = NOT_GRADED, "grader"
            result.sentence = f"the checks do not load: {type(error).__name__}: {error}"
            all_checks = []
        self.checks[number] = [c for c in all_checks if self.options.check in (0, c.number)
                               and c.stage in self.options.stages]
        result.points_max = sum(c.points for c in self.checks[number])
        if not self.options.check and len(self.options.stages) == 3:
            result.points_hidden = max(0, POINTS[number] - result.points_max)
        for check in self.checks[number]:
            goal = f"make check-ch10.{'together' if number == TOGETHER else number}"
            result.checks.append(CheckResult(
                check.name, check.number, check.title, check.stage, check.points, check.hidden,
                usually=check.usually,
                again=f"{goal} T={check.number} SEED={self.grade.seed}",
                hint="" if number == TOGETHER else f"make hint-ch10.{number}",
                picture=f"build/report/ch10.html#{check.name}"))

    def run(self):
        workshop = building.Workshop(self.submission, self.build)
        self.grade.notes = workshop.notes()
        self._save()
        if self.options.started:
            self.options.started(self.grade)
        if self.submission.is_dir():
            self._run_exercises(workshop)
        else:
            for result in self.results.values():
                result.state, result.blame = MISSING, "student"
                result.sentence = f"there is no folder {self.submission}"
        self.grade.complete = True
        self.grade.seconds = round(time.monotonic() - self.began, 3)
        self._save()
        return self.grade

    def _run_exercises(self, workshop):
        waiting = [n for n in self.asked if self.results[n].state == PENDING]
        units = [SEAMS[n] for n in self.asked if any(c.stage == "unit" for c in self.checks[n])]
        live = [SEAMS[n] for n in self.results if any(c.stage != "unit" for c in self.checks[n])]
        tools = any(c.stage == "zero-drop" for checks in self.checks.values() for c in checks)
        self.build_balancer = functools.partial(building.build_base, kinds=("lb",), tools=tools)
        try:
            building.build_base(units, ("runner",))
            building.build_judges(SEAMS[n] for n in self.asked)
        except CouldNotGrade as error:
            for result in self.results.values():
                _not_graded(result, error)
            return
        if building.balancer_is_there() or not units:
            try:
                self.build_balancer(live)
            except CouldNotGrade as error:
                self.no_balancer = error  # unit checks can be judged all the same
        else:
            self.unit_first = True  # each driver builds it, or waits for the one that does
        drivers = {}
        while waiting or drivers:
            while waiting and len(drivers) < max(1, self.options.jobs):
                number = waiting.pop(0)
                driver = _Driver(self, number, workshop)
                drivers[driver.fd] = driver
            for fd in select.select(list(drivers), [], [])[0]:
                if not drivers[fd].read():
                    drivers.pop(fd).close()
        if TOGETHER in self.results and self.results[TOGETHER].state == PENDING:
            self._run_together(workshop)

    def _run_together(self, workshop):
        result = self.results[TOGETHER]
        missing = [label(n) for n in SEAMS if n != TOGETHER and not self._implemented(n, workshop)]
        if missing:
            result.state, result.sentence = WAITS, f"waits for {', '.join(missing)}"
            result.blame = "student"
            self.finished(TOGETHER)
            return
        driver = _Driver(self, TOGETHER, workshop)
        while driver.read():
            pass
        driver.close()

    def _implemented(self, number, workshop):
        """As its own stage has shown; asked for alone, the joint stage builds and asks each of the others."""
        result = self.results.get(number)
        if result is None:
            options = dataclasses.replace(self.options, exercises=(number,), stages=("unit",), out=None,
                                          observer=None, started=None,
                                          check=0, seed=self.grade.seed)
            result = grade(workshop.submission, self.build, options).exercises[0]
        return result.state == GRADED or (result.state == NOT_GRADED and result.blame != "student")

    def message(self, number, message):
        """From a driver: fields of the exercise, or of one of its checks. Nothing else can get into the
        grade."""
        result = self.results[number]
        if "check" in message:
            check = next(c for c in result.checks if c.number == message["check"])
            for key, value in message["fields"].items():
                setattr(check, key, value)
        else:
            for key, value in message["fields"].items():
                setattr(result, key, value)
        result.settle()
        self._save()

    def finished(self, number):
        self.results[number].settle()
        self._save()
        if self.options.observer:
            self.options.observer(self.grade, self.results[number])

    def _save(self):
        self.grade.seconds = round(time.monotonic() - self.began, 3)
        if self.options.out:
            write_json(pathlib.Path(self.options.out) / "grade.json", self.grade.to_json())


def write_json(path, data):
    """Whoever reads it sees the old file or the new one, never half of one; a link in its place is
    replaced."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_text(json.dumps(data, indent=1) + "\n")
    os.replace(beside, path)


def _not_graded(result, error):
    result.state, result.sentence, result.blame = NOT_GRADED, str(error), error.blame
    result.log = getattr(error, "log", "")
    for check in result.checks:
        check.verdict, check.blame, check.seen = "not graded", error.blame, str(error)


# ---- a driver: one exercise, in a process of its own -----------------------------------------------


class _Driver:
    """The session's end of it."""

    def __init__(self, session, number, workshop):
        self.session, self.number, self.input = session, number, b""
        self.fd, write_end = os.pipe()
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _drive(session, number, workshop, write_end)
        os.close(write_end)

    def read(self):
        """False when it has ended."""
        part = os.read(self.fd, 1 << 16)
        *lines, self.input = (self.input + part).split(b"\n")
        for line in lines:
            self.session.message(self.number, json.loads(line))
        return bool(part)

    def close(self):
        os.close(self.fd)
        _, status = os.waitpid(self.pid, 0)
        result = self.session.results[self.number]
        result.seconds = round(time.monotonic() - self.began, 3)
        if status != 0 or result.state == PENDING:
            result.state, result.blame = NOT_GRADED, "grader"
            result.sentence = f"the grader's own process ended ({os.waitstatus_to_exitcode(status)})"
        self.session.finished(self.number)


def _drive(session, number, workshop, write_end):
    """Never returns."""
    status = 1
    try:
        contain.die_with_parent(signal.SIGTERM)
        signal.signal(signal.SIGTERM, _end_all)
        signal.signal(signal.SIGINT, _end_all)

        def tell(check=None, **fields):
            message = {"fields": fields} if check is None else {"check": check, "fields": fields}
            text = json.dumps(message).encode() + b"\n"
            while text:
                text = text[os.write(write_end, text):]

        _Exercise(session, number, workshop, tell).run()
        status = 0
    except BaseException:  # noqa: B036: a process of its own
        traceback.print_exc(file=sys.stderr)
    finally:
        sys.stderr.flush()
        os._exit(status)


def _end_all(_number, _frame):
    contain.end_below(os.getpid())
    os._exit(1)


class _Exercise:
    def __init__(self, session, number, workshop, tell):
        self.session, self.number, self.workshop, self.tell = session, number, workshop, tell
        self.checks = session.checks[number]
        self.result = session.results[number]
        self.seed = session.grade.seed
        self.points = self.points_max = 0  # of the checks so far

    def run(self):
        unit = [c for c in self.checks if c.stage == "unit"]
        live = [c for c in self.checks if c.stage != "unit"]
        began = time.monotonic()
        balancer = None
        try:
            runner = self.workshop.start(self.number, "runner") if unit else None
            if live and not (self.session.no_balancer or self.session.unit_first):
                balancer = self.workshop.start(self.number, "lb")
            if runner:
                program = runner.finish()
                self.tell(seconds_build=round(time.monotonic() - began, 3))
                if runner.warnings:
                    more = len(runner.warnings) - 1
                    self.tell(notes=[f"the compiler warns: {runner.warnings[0]}"
                                     + (f", and {more} more" if more else "")])
                if not self._unit(unit, program):
                    return
            if live and self.session.unit_first:
                balancer = self._first_balancer()
            if balancer:
                self._live(live, balancer)
            elif live:
                self._not_graded(live, self.session.no_balancer)
            self.tell(state=GRADED)
        except building.Refused as refused:
            self.tell(state=refused.state, sentence=refused.sentence, usually=refused.usually,
                      log=refused.log,
                      blame="student")
        except CouldNotGrade as error:
            self._not_graded(self.checks, error)
            self.tell(state=NOT_GRADED, sentence=str(error), blame=error.blame)
        finally:
            if balancer:
                balancer.stop()

    def _first_balancer(self):
        """On a tree in which no balancer was ever built: after the unit checks, whose result is told."""
        points = f", {self.points} of {self.points_max} points" if self.points_max else ""
        print(f"{self.result.name}: unit checks are judged{points}; now the balancer is built for the rest, "
              "which at first takes minutes", file=sys.stderr, flush=True)
        try:
            self.session.build_balancer([self.result.seam])
        except CouldNotGrade as error:
            self.session.no_balancer = error
            return None
        return self.workshop.start(self.number, "lb")

    def _not_graded(self, checks, error):
        for check in checks:
            self.tell(check.number, verdict="not graded", blame=error.blame, seen=str(error))

    def _unit(self, checks, program):
        """False when there is nothing that could be judged live."""
        results = []
        for check in checks:
            if hopeless(results):
                self.tell(check.number, verdict="fail", blame="student", usually="", seen="not run",
                          expected=f"the first {HOPELESS_AFTER} checks do not all end like this")
            else:
                results.append(self._one(check, runner=program))
        if all(r["not_implemented"] for r in results):
            self.tell(state=NOT_WRITTEN, sentence=results[0]["seen"].removeprefix(NOT_IMPLEMENTED),
                      blame="student")
            return False
        if not self.session.options.check and not any(r["verdict"] == "pass" for r in results):
            for check in self.checks:
                if check.stage != "unit":
                    self.tell(check.number, verdict="fail", blame="student", usually="",
                              expected="at least one unit check passes first", seen="not run")
            self.tell(state=GRADED)
            return False
        return True

    def _live(self, checks, building_of_it):
        program = building_of_it.finish()
        for check in checks:
            self._one(check, balancer=program)

    def _one(self, check, **programs):
        fields = run_check(check, self.seed, **programs)
        if fields["verdict"] == "not graded":
            again = run_check(check, self.seed, **programs)  # what was the machine's fault may be over
            fields = again
        page = fields["attached"].pop("page", None)
        if page and self.session.options.out:
            name = f"{check.name}.html"
            (pathlib.Path(self.session.options.out) / name).write_text(page)
            fields["attached"]["report"] = name
        self.tell(check.number, **fields)
        self.points += check.points if fields["verdict"] == "pass" else 0
        self.points_max += check.points
        return fields


HOPELESS_AFTER = 2


def hopeless(results):
    """Whether the first checks all ended in the same hang or crash: the others would, too, and take their
    time."""
    first = results[:HOPELESS_AFTER]
    return (len(first) == HOPELESS_AFTER and len({r["seen"] for r in first}) == 1
            and all(r["verdict"] == "fail" and not r["not_implemented"] for r in first)
            and first[0]["expected"].startswith(("the call returns", "the check ends", "the code leaves",
                                                 "at most")))


# ---- a check, in its cell --------------------------------------------------------------------------


def crowded():
    """How many times longer things may take because others want the processors, too: 1 to 8."""
    try:
        return min(8.0, max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0))))
    except (OSError, AttributeError):
        return 1.0


def limits_of(check):
    if check.stage == "unit":
        tasks = contain.tasks_of_user()
        # What computes too long meets the limit of computing time; a machine that stands still is nobody's
        # mistake.
        return contain.Limits(seconds=UNIT_STANDSTILL * check.seconds_max * crowded(),
                              user_tasks=tasks and tasks + 100, cpu_seconds=max(20, int(check.seconds_max)))
    if check.stage == "live":
        return contain.Limits(seconds=max(check.seconds_max, 30.0) * crowded(), processes=200,
                              memory_bytes=4096 * contain.MIB)
    return contain.Limits(seconds=max(check.seconds_max, 120.0) * crowded(), processes=200,
                          memory_bytes=4096 * contain.MIB)


def run_check(check, seed, runner=None, balancer=None):
    """Runs one check in a cell; the fields of its CheckResult that follow."""
    steps = []
    limits = limits_of(check)

    def on_message(message):
        if "step" in message and len(steps) < STEPS_MAX:
            steps.append([message["at"], message["step"]])

    began = time.monotonic()
    ended = contain.Cell(limits).run(lambda emit, scratch: _in_cell(check, seed, runner, balancer, limits,
                                                                    emit, scratch),
                                     on_message)
    verdict = next((m for m in reversed(ended.messages) if "verdict" in m), None)
    fields = {"verdict": "pass", "blame": "", "expected": "", "seen": "", "log": "", "not_implemented": False,
              "attached": {}, "usually": check.usually, "story": steps}
    if verdict:
        fields.update(verdict)
    fields["seconds"] = round(time.monotonic() - began, 3)
    _what_the_cell_saw(check, ended, verdict, limits, fields)
    fields["points"] = check.points if fields["verdict"] == "pass" else 0
    sources = f"{pathlib.Path(runner).resolve().parents[2] / 'src'}/" if runner else None
    for key in ("expected", "seen", "log", "usually"):
        fields[key] = shown(fields[key].replace(sources, "") if sources else fields[key])
    fields["story"] = [[round(at, 4), shown(text, 600)] for at, text in steps]
    return fields


def _what_the_cell_saw(check, ended, verdict, limits, fields):
    """What is worse than the judge's verdict: a limit exceeded, a judge that is gone, a process left
    behind."""
    failed = None
    if ended.exceeded == "time":
        failed = (f"the check ends within {limits.seconds:.3g} s", "it does not",
                  "a loop without end, or one call that "
                  "is far too slow")
    elif ended.exceeded.startswith("more than"):
        failed = (f"at most {limits.processes} processes and {limits.memory_bytes // contain.MIB} MiB",
                  ended.exceeded, "the code starts processes or allocates in a loop that does not end")
    elif ended.exceeded:
        fields.update(verdict="not graded", blame="grader", seen=ended.exceeded)
    elif verdict is None and ended.status > 0 and os.WIFSIGNALED(ended.status):
        name = signal.Signals(os.WTERMSIG(ended.status)).name
        failed = ("the code leaves other processes alone",
                  f"the judge of this check was ended by {name} while the "
                  "code ran", "kill() with a process number that is not its own")
    elif verdict is None:
        fields.update(verdict="not graded", blame="grader",
                      seen="the judge of this check ended without a verdict")
    elif ended.leftovers and check.stage == "unit":
        failed = ("nothing runs on when the check is over",
                  f"{len(ended.leftovers)} left: {ended.leftovers[0]}",
                  "the code forks, and its child leaves the session")
    if failed:
        expected, seen, usually = failed
        fields.update(verdict="fail", blame="student", expected=expected, seen=seen, usually=usually,
                      not_implemented=False)


def shown(text, length_max=TEXT_MAX):
    """Text of a submission, safe for terminals and files: no control characters but line ends, and an end."""
    text = re.sub(r"[^\x20-\x7e\n\t\u00a0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", "\ufffd", str(text))
    return text if len(text) <= length_max else text[:length_max] + " ..."


def _in_cell(check, seed, runner, balancer, limits, emit, scratch):
    """The judge: runs the check and says how it went."""
    os.environ["LB_BUILD_DIR"] = str(ROOT / "build" / building.PRESETS["lb"])
    opened = []

    def start(**arguments):
        opened.append(Student(runner, limits=limits, **arguments))
        return opened[-1]

    if balancer:
        balancer = contain.unprivileged(balancer, scratch)
        os.environ["LB_BIN"] = str(balancer)
    lab = Lab(seed, start if runner else None, balancer, scratch,
              on_step=lambda at, text: emit({"at": at, "step": str(text)}))
    try:
        fields = _verdict(check, lab)
    finally:
        for student in opened:
            student.close()
        if opened and not lab.log:
            lab.log = opened[-1].output().splitlines()[-8:]
    if fields["verdict"] != "pass" and not fields.get("log"):
        fields["log"] = "\n".join(lab.log)
    return {**fields, "attached": lab.attached}


def _verdict(check, lab):
    try:
        check.function(lab)
        return {"verdict": "pass"}
    except NotImplementedYet as missing:
        return {"verdict": "fail", "blame": "student", "not_implemented": True, "expected": missing.expected,
                "seen": missing.seen, "usually": ""}
    except CheckFailed as failure:
        return {"verdict": "fail", "blame": "student", "expected": str(failure.expected),
                "seen": str(failure.seen),
                "log": str(failure.log), "usually": failure.usually or check.usually}
    except CouldNotGrade as error:
        return {"verdict": "not graded", "blame": error.blame, "seen": str(error)}
    except CannotMeasure as error:
        return {"verdict": "not graded", "blame": "environment", "seen": str(error)}
    except HarnessError as error:
        text = str(error)
        if re.match(r"lb( ended| died|: waited| is ready| status failed)|reload refused", text):
            first, _, rest = text.partition("\n")
            return {"verdict": "fail", "blame": "student",
                    "expected": "the balancer goes on and does as asked",
                    "seen": first, "log": _balancer_log(rest)}
        return {"verdict": "not graded", "blame": "grader", "seen": text[:1500]}
    except MemoryError:
        return {"verdict": "not graded", "blame": "environment", "seen": "no memory left for the judge"}
    except Exception:  # the check itself is wrong: never the submission's fault
        return {"verdict": "not graded", "blame": "grader", "seen": traceback.format_exc(limit=-4)[-1500:]}


def _balancer_log(text):
    """The last lines of its log, without the noise of JSON."""
    lines = []
    for line in text.splitlines():
        found = re.search(r'"event":"([^"]*)".*?"message":"((?:[^"\\]|\\.)*)"', line)
        lines.append(f"{found.group(1)}: {found.group(2)}" if found else line.strip())
    return "\n".join(lines[-12:])
