"""make verify-labs: proves the grader against answers that are known.

  right     the reference and every alternative get full marks, the reference also with the real balancer
  starter   gets exactly the expected messages (fixtures/golden/starter.txt)
  wrong     each entry of the bug bank is killed by the check named in its file, with the message named there
  hostile   each submission of fixtures/hostile leaves no process, no port and an honest grade with a sentence
  golden    the grader's own output: pass, fail, hang, crash, forged (fixtures/golden/*.txt)

The kill matrix (wrong answer x check) is written to build/report/kill_matrix.txt and .json; --quick, as in
make check, leaves it out. The last line is "N passed, M failed".
"""
import argparse
import dataclasses
import json
import os
import pathlib
import re
import socket
import sys
import time

from . import building, contain, convert, edits, forked, grading, page, terminal
from .check import ROOT, SEAMS, TOGETHER, load_checks, source_name

SEED = 48213
REPORT = ROOT / "build" / "report"
GOLDEN = ROOT / "fixtures" / "golden"
HOSTILE = ROOT / "fixtures" / "hostile"
SENTINEL = REPORT / "hostile-sentinel"
PARTS = ("right", "wrong", "starter", "hostile", "golden")
EXERCISES = [n for n in SEAMS if n != TOGETHER]


@dataclasses.dataclass(frozen=True)
class Answer:
    """A known answer to one exercise."""

    exercise: int
    path: pathlib.Path
    killed_by: str = ""  # empty: right
    message: str = ""

    @property
    def name(self):
        return self.path.stem

    def target(self, kind):
        return f"lab_case_{SEAMS[self.exercise]}_{self.name}_{kind}"

    def program(self, kind):
        return ROOT / "build" / building.PRESETS[kind] / "labs" / self.target(kind)


def right_answers(exercise):
    folder = ROOT / "solutions" / "ch10" / f"{exercise}_{SEAMS[exercise]}"
    return [Answer(exercise, path) for path in sorted(folder.glob("*.cpp"))]


def wrong_answers(exercise):
    folder = ROOT / "fixtures" / "bugbank" / f"{exercise}_{SEAMS[exercise]}"
    answers = []
    for path in sorted([*folder.glob("*.cpp"), *folder.glob("*.edit")], key=lambda path: path.stem):
        head = path.read_text().splitlines()[:12]
        said = {key: next((line.split(":", 1)[1].strip() for line in head if line.startswith(f"// {key}:")),
                          "")
                for key in ("killed by", "message")}
        answers.append(Answer(exercise, path, said["killed by"] or "?", said["message"]))
    return answers


class Verification:
    def __init__(self, options):
        self.options = options
        self.passed, self.failures = 0, []
        self.matrix = {}

    def count(self, what, problems):
        if problems:
            self.failures.append((what, problems))
            print(f"FAILED {what}: " + "\n    ".join(str(problem) for problem in problems), flush=True)
        else:
            self.passed += 1

    def wanted(self, part):
        return not self.options.parts or part in self.options.parts

    def exercises(self):
        return self.options.exercise or EXERCISES

    # -- right and wrong answers, with prebuilt runners ------------------------------------------------

    def answers(self):
        began = time.monotonic()
        checks = {n: load_checks(n) for n in self.exercises()}
        right = [a for n in self.exercises() for a in right_answers(n)] if self.wanted("right") else []
        wrong = [a for n in self.exercises() for a in wrong_answers(n)] if self.wanted("wrong") else []
        stage = {c.name: c.stage for n in checks for c in checks[n]}
        balancers = [a for a in right if a.name == SEAMS[a.exercise]]
        balancers += [a for a in wrong if stage.get(a.killed_by) == "live"]
        balancers = [a for a in balancers if any(c.stage == "live" for c in checks[a.exercise])]
        building.build_targets("asan", [a.target("runner") for a in [*right, *wrong]])
        building.build_judges(SEAMS[n] for n in self.exercises())
        if balancers:
            building.build_targets("release", [*building.TOOLS, *(a.target("lb") for a in balancers)])
        print(f"built {len(right)} right and {len(wrong)} wrong answers in {time.monotonic() - began:.0f} s",
              flush=True)
        if self.options.build:
            return
        tasks = [(a, lambda a=a: _unit(a, checks[a.exercise], self.options.quick)) for a in [*right, *wrong]]
        live = [(a, lambda a=a: _live(a, checks[a.exercise])) for a in balancers]
        began = time.monotonic()
        units = forked.run_all(tasks, self.options.jobs)
        lives = forked.run_all(live, 1)  # balancers measure time: one at a time
        for answer in right:
            self._judge_right(answer, checks[answer.exercise], units[answer], lives.get(answer))
        for answer in wrong:
            self._judge_wrong(answer, units[answer], lives.get(answer))
        for exercise in self.exercises() if self.wanted("right") else ():
            self.count(f"10.{exercise} has a reference and two alternatives",
                       [] if len(right_answers(exercise)) >= 3
                       else [f"only {len(right_answers(exercise))} answers"])
        for exercise in self.exercises() if self.wanted("wrong") else ():
            self.count(f"10.{exercise} has at least five wrong answers",
                       [] if len(wrong_answers(exercise)) >= 5 else [f"only {len(wrong_answers(exercise))}"])
        print(f"judged them in {time.monotonic() - began:.0f} s", flush=True)

    def _judge_right(self, answer, checks, unit, live):
        results = {**unit, **(live or {})}
        for name, fields in results.items():
            if name == "broken":
                self.count(f"10.{answer.exercise} {answer.name}", [fields])
                continue
            self.count(f"{name} passes {answer.name}", [] if fields["verdict"] == "pass"
                       else [_in_short(fields)])

    def _judge_wrong(self, answer, unit, live):
        row = self.matrix.setdefault(f"10.{answer.exercise}", {})
        results = {**unit, **(live or {})}
        row[answer.name] = {name: fields["verdict"] for name, fields in results.items() if name != "broken"}
        what = f"10.{answer.exercise} {answer.name} is killed by {answer.killed_by}"
        fields = results.get(answer.killed_by)
        if "broken" in results:
            self.count(what, [results["broken"]])
        elif fields is None:
            self.count(what, [f"there is no check {answer.killed_by}"])
        elif fields["verdict"] != "fail":
            killers = [name for name, f in results.items() if f["verdict"] == "fail"]
            self.count(what, [f"it is not: {fields['verdict']} (killed by {', '.join(killers) or 'none'})"])
        else:
            text = " ".join([fields["expected"], fields["seen"], fields["usually"]])
            good = answer.message and answer.message in text
            self.count(what, [] if good else [f"no message {answer.message!r} in: {_in_short(fields)}"])

    def write_matrix(self):
        if not self.matrix or self.options.quick:
            return
        lines = []
        for exercise, rows in self.matrix.items():
            names = list(dict.fromkeys(name for row in rows.values() for name in row))
            lines.append(f"{exercise}  wrong answer x check: X killed, . passes, ? could not be graded")
            lines.append(" " * 34 + " ".join(name.rsplit(".", 1)[1].rjust(2)
                                             for name in names) + "  killed by")
            marks = {"fail": " X", "pass": " .", "not graded": " ?"}
            for answer, row in rows.items():
                lines.append(f"  {answer:<32}" + " ".join(marks.get(row.get(name), "  ") for name in names)
                             + f"  {sum(v == 'fail' for v in row.values()):2}")
            alone = {name: [a for a, row in rows.items() if [n for n, v in row.items()
                                                             if v == "fail"] == [name]]
                     for name in names}
            idle = [name for name in names if not any(row.get(name) == "fail" for row in rows.values())]
            only = ", ".join(name for name in names if alone[name])
            lines.append(f"  checks that alone kill something: {only or 'none'}")
            lines.append(f"  checks that kill nothing: {', '.join(idle) or 'none'}")
            lines.append("")
        REPORT.mkdir(parents=True, exist_ok=True)
        (REPORT / "kill_matrix.txt").write_text("\n".join(lines))
        grading.write_json(REPORT / "kill_matrix.json", self.matrix)
        if self.options.matrix:
            print("\n".join(lines))

    # -- the starter, hostile submissions, the grader's own output -------------------------------------

    def submissions(self):
        began = time.monotonic()
        tasks = []
        if self.wanted("starter"):
            tasks.append(("starter", lambda: _graded(ROOT / "exercises" / "ch10", grading.Options.exercises)))
        if self.wanted("golden"):
            for name, folder in golden_submissions().items():
                tasks.append((f"golden {name}", lambda folder=folder: _graded(folder, (3,))))
        hostile = [f for f in sorted(HOSTILE.iterdir()) if f.is_dir()] if self.wanted("hostile") else []
        if not self.options.exercise:
            REPORT.mkdir(parents=True, exist_ok=True)
            SENTINEL.write_text("still here\n")
            tasks += [(f"hostile {f.name}", lambda f=f: _graded(f, (3,))) for f in hostile]
        if not tasks:
            return
        results = forked.run_all(tasks, self.options.jobs)
        for name, result in results.items():
            if "broken" in result:
                self.count(name, [result["broken"]])
            elif name.startswith("hostile "):
                self.count(name, _hostile_problems(HOSTILE / name.split()[1], result))
            else:
                self.count(name, self._golden_problems(name.split()[-1], result))
        self.count("no process of a submission is left", _left())
        print(f"graded {len(tasks)} submissions in {time.monotonic() - began:.0f} s", flush=True)

    def _golden_problems(self, name, result):
        text = normal(terminal.Text(timed=False).whole(grading.Grade.from_json(result)))
        path = GOLDEN / f"{name}.txt"
        if self.options.update_golden:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        if not path.exists():
            return [f"{path.relative_to(ROOT)} does not exist (--update-golden writes it)"]
        want = path.read_text()
        if want == text:
            return []
        import difflib
        lines = difflib.unified_diff(want.splitlines(), text.splitlines(), str(path.relative_to(ROOT)), "now",
                                     lineterm="")
        return ["the output differs from its golden file (--update-golden, if that is right):",
                *list(lines)[:40]]

    def run(self):
        if self.wanted("right") or self.wanted("wrong"):
            self.answers()
            self.write_matrix()
        self.submissions()


def _in_short(fields):
    return (f"{fields['verdict']}: expected {fields['expected']!r}, seen {fields['seen']!r}, "
            f"{fields['usually']!r}")[:1500]


def _unit(answer, checks, quick):
    wanted = [c for c in checks if c.stage == "unit" and (not quick or answer.killed_by in ("", c.name))]
    return {c.name: grading.run_check(c, SEED, runner=answer.program("runner")) for c in wanted}


def _live(answer, checks):
    wanted = [c for c in checks if c.stage == "live" and answer.killed_by in ("", c.name)]
    return {c.name: grading.run_check(c, SEED, balancer=answer.program("lb")) for c in wanted}


def _graded(folder, exercises):
    options = grading.Options(exercises=exercises, seed=SEED, stages=("unit",), jobs=1,
                              out=REPORT / "verify" / folder.name)
    return grading.grade(folder, ROOT / "build" / "grade", options).to_json()


def _hostile_problems(folder, result):
    want = json.loads((folder / ".expect.json").read_text())
    exercise = result["exercises"][0]
    problems = []
    if exercise["state"] != want["state"]:
        problems.append(f"state {exercise['state']!r} instead of {want['state']!r}")
    if not want["points"] <= exercise["points"] <= want.get("points_max", want["points"]):
        problems.append(f"{exercise['points']} points")
    text = terminal.Text().whole(grading.Grade.from_json(result))
    problems += [f"no {says!r} in its story:\n{text[:3000]}" for says in want["says"] if says not in text]
    if want.get("note", "") not in " ".join(result["notes"]):
        problems.append(f"no note {want['note']!r}, but {result['notes']}")
    if not result["complete"] or any(c["verdict"] == "not graded" for c in exercise["checks"]):
        problems.append("not everything was graded")
    if want.get("sentinel") and "files" in result["containment"] and SENTINEL.read_text() != "still here\n":
        problems.append("it has changed a file of the tree")
    if "port" in want:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", want["port"]))
            except OSError as error:
                problems.append(f"port {want['port']}: {error}")
    written = json.loads((REPORT / "verify" / folder.name / "grade.json").read_text())
    if written != result:
        problems.append("grade.json is not what the grader wrote")
    for convert_it in (convert.gradescope, convert.junit, convert.tap, page.render):
        convert_it(grading.Grade.from_json(result))
    return problems


def _left():
    """Programs of the hostile submissions that still run, in any session."""
    submissions = [f for f in HOSTILE.iterdir() if f.is_dir()]
    folders = [str(building.Workshop(f, ROOT / "build" / "grade").folder) for f in submissions]
    lines = [contain.command_line(int(entry)) for entry in os.listdir("/proc") if entry.isdigit()]
    return [line for line in lines if line.startswith(tuple(folders))]


def golden_submissions():
    """Folders with one answer each, made of known ones."""
    made = {"hang": HOSTILE / "hang", "crash": HOSTILE / "segfault", "forged": HOSTILE / "forged",
            "compile": HOSTILE / "does_not_compile"}
    for name, origin in (("pass", ROOT / "solutions/ch10/3_rollback/rollback.cpp"),
                         ("fail", ROOT / "fixtures/bugbank/3_rollback/sum_of_backends.edit")):
        target = ROOT / "build" / "verify" / name / source_name(3)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(edits.source_of(origin))
        made[name] = ROOT / "build" / "verify" / name
    return made


def normal(text):
    """Without what differs between machines: addresses, process numbers, the tree's place, namespaces."""
    text = re.sub(r"0x[0-9a-f]{6,}", "0xADDRESS", text)
    text = re.sub(r"==\d+==", "==PID==", text)
    text = text.replace(f"{ROOT}/", "").replace("netns no", "netns yes").replace("   files not protected", "")
    text = re.sub(r"build/grade/[0-9a-f]{16}/", "build/grade/KEY/", text)
    text = re.sub(r"BuildId: [0-9a-f]+", "BuildId: ID", text)
    return text.rstrip("\n") + "\n"


def main():
    parser = argparse.ArgumentParser(prog="verify_labs.py", description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="default: all")
    parser.add_argument("--exercise", type=int, action="append", choices=EXERCISES)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--matrix", action="store_true", help="print the kill matrix")
    parser.add_argument("--quick", action="store_true",
                        help="wrong answers meet only the check that is to kill them; no kill matrix")
    parser.add_argument("--build", action="store_true",
                        help="build what the right and wrong answers need, and judge nothing")
    parser.add_argument("--update-golden", action="store_true",
                        help="take the present output as the expected one")
    options = parser.parse_args()
    contain.become_reaper()
    began = time.monotonic()
    verification = Verification(options)
    if options.build:
        verification.answers()
        return 0
    verification.run()
    where = "" if options.quick else "; kill matrix in build/report/kill_matrix.txt"
    print(f"{time.monotonic() - began:.0f} s{where}")
    print(f"{verification.passed} passed, {len(verification.failures)} failed")
    return 1 if verification.failures or not verification.passed else 0


if __name__ == "__main__":
    sys.exit(main())
