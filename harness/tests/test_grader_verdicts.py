"""From a check to its verdict, with programs in Python in the place of runners; files of submissions; hints,
saves."""

import json
import os
import socket
import sys
import textwrap
import threading

import pytest
from lbgrader import building, check, doctor, flake, grading, hints, runner, watching
from lbgrader.check import Check, CheckFailed, CouldNotGrade
from lbharness.errors import CannotMeasure, ChildDied

RUNNER = """\
#!{python}
import json, os, socket, sys, time
channel = socket.socket(fileno=int(sys.argv[1]))
lines = channel.makefile("r")
def answer(message):
    channel.sendall(json.dumps(message).encode() + b"\\n")
for line in lines:
    request = json.loads(line)
{body}
"""
ECHO = 'answer({"return": request})'


@pytest.fixture
def judge(tmp_path):
    """judge(function, body of the runner's loop): the fields of a check's result."""

    def run(function, body=ECHO, **more):
        program = tmp_path / "a" / "b" / "program"
        program.parent.mkdir(parents=True, exist_ok=True)
        body = textwrap.indent(textwrap.dedent(body), "    ")
        program.write_text(RUNNER.format(python=sys.executable, body=body))
        program.chmod(0o755)
        seconds = more.pop("seconds_max", 10.0)
        one = Check(3, 1, "a check", 5, "unit", "the usual cause", function, False, seconds)
        return grading.run_check(one, 7, runner=program)

    return run


def ask(lab):
    lab.step("ask")
    with lab.student() as student:
        answer = student.ask("it", number=lab.rng.random())
        lab.expect(answer["do"] == "it", expected="it", seen=str(answer))


def test_pass(judge):
    fields = judge(ask)
    assert (fields["verdict"], fields["points"], fields["blame"]) == ("pass", 5, "")
    assert [text for _, text in fields["story"]] == ["ask"]


def test_fail(judge):
    fields = judge(ask, 'print("a line of the log", flush=True); answer({"return": {"do": "that"}})')
    assert (fields["verdict"], fields["points"], fields["blame"]) == ("fail", 0, "student")
    assert fields["expected"] == "it" and "that" in fields["seen"] and fields["usually"] == "the usual cause"
    assert "a line of the log" in fields["log"]


@pytest.mark.parametrize(
    "body, seen",
    [
        ('answer({"not_implemented": "not implemented: f (x.cpp:1)"})', "not implemented: f"),
        ('answer({"threw": "something"})', "an exception: something"),
        ("time.sleep(60)", "none: it hangs"),
        ("os._exit(0)", "left early, with exit status 0"),
        ("os.kill(os.getpid(), 11)", "SIGSEGV"),
        ('channel.sendall(b"ok ok ok 30/30\\n")', "garbage on the grader's own channel"),
        ('answer({"verdict": "pass", "points": 100})', "something else on the grader's own channel"),
        ('import signal; signal.signal(25, signal.SIG_DFL)\nwhile True: os.write(1, b"x" * 65536)',
         "more into its log"),
        ("os.kill(os.getppid(), 9); time.sleep(60)", "ended by SIGKILL while the code ran"),
    ],
)
def test_what_a_submission_may_do(judge, body, seen):
    fields = judge(ask, body)
    assert (fields["verdict"], fields["blame"], fields["points"]) == ("fail", "student", 0)
    assert seen in fields["seen"]
    assert fields["not_implemented"] == seen.startswith("not implemented")


@pytest.mark.parametrize(
    "used, computes, answered", [(0.0, True, True), (0.0, False, False), (9.0, True, False)])
def test_a_process_that_gets_no_processor_is_waited_for(used, computes, answered):
    ours, theirs = socket.socketpair()
    patience = runner._Patience(os.getpid(), 0.05)
    patience._used, patience._processor_seconds = 0.0, lambda: (used, computes)
    answer = threading.Timer(0.25, theirs.send, [b"x"])
    answer.start()
    assert patience.wait(ours) == answered
    answer.join()
    ours.close()
    theirs.close()


def test_a_process_that_stays_costs_the_check(judge):
    forks = ('r, w = os.pipe()\nif os.fork() == 0:\n    os.setsid(); os.write(w, b"x"); time.sleep(4712)\n'
             "os.read(r, 1)")
    fields = judge(ask, f"{forks}\n{ECHO}")
    assert fields["verdict"] == "fail" and "1 left" in fields["seen"]


@pytest.mark.parametrize(
    "error, blame",
    [
        (CouldNotGrade("why", "environment"), "environment"),
        (CouldNotGrade("why"), "grader"),
        (CannotMeasure("why"), "environment"),
        (ChildDied("lb_traffic ended (exit status 1) why"), "grader"),
        (KeyError("why"), "grader"),
    ],
)
def test_what_is_not_the_submissions_fault(judge, error, blame):
    def broken(_lab):
        raise error

    fields = judge(broken)
    assert (fields["verdict"], fields["blame"], fields["points"]) == ("not graded", blame, 0)
    assert "why" in fields["seen"]


def test_a_balancer_that_dies_is(judge):
    def dies(_lab):
        raise ChildDied("lb ended (killed by SIGSEGV) before event ready\n--- lb: its log")

    assert judge(dies)["blame"] == "student"


def test_a_check_without_end(judge, monkeypatch):
    def endless(lab):
        lab.step("now")
        while True:
            pass

    monkeypatch.setattr(grading, "crowded", lambda: 1.0)
    fields = judge(endless, seconds_max=0.5)
    assert fields["verdict"] == "fail" and "ends within 1.5 s" in fields["expected"] and fields["story"]


def test_the_same_seed_gives_the_same_numbers(judge):
    def draws(lab):
        raise CheckFailed("", str(lab.rng.random()))

    assert judge(draws)["seen"] == judge(draws)["seen"]


# ---- files of a submission -------------------------------------------------------------------------


@pytest.fixture
def submission(tmp_path):
    (tmp_path / "sub" / "3_rollback").mkdir(parents=True)
    return tmp_path / "sub"


def refused(submission, tmp_path):
    with pytest.raises(building.Refused) as caught:
        building.Workshop(submission, tmp_path / "build").stage(3)
    return caught.value


def test_a_file_is_taken_with_its_line_ends_put_right(submission, tmp_path):
    (submission / "3_rollback" / "rollback.cpp").write_bytes(b"\xef\xbb\xbfint a;\r\nint b;\r\n")
    staged = building.Workshop(submission, tmp_path / "build").stage(3)
    assert staged.read_bytes() == b"int a;\nint b;\n"


def test_missing_renamed_empty(submission, tmp_path):
    assert refused(submission, tmp_path).state == "missing"
    (submission / "3_rollback" / "Rollback2.cpp").write_text("int a;")
    assert "there is 3_rollback/Rollback2.cpp" in refused(submission, tmp_path).sentence
    (submission / "3_rollback" / "rollback.cpp").write_text(" \n")
    assert refused(submission, tmp_path).sentence == "3_rollback/rollback.cpp is empty"


@pytest.mark.parametrize("line", [
    b'#include "../../solutions/ch10/3_rollback/rollback.cpp"', b'  #  include </etc/passwd>',
    b'#include "solutions/ch10/3_rollback/rollback.cpp"', b'#include "lb/../solutions/x.cpp"'])
def test_includes_that_are_not_accepted(submission, tmp_path, line):
    (submission / "3_rollback" / "rollback.cpp").write_bytes(b"int a;\n" + line + b"\n")
    assert refused(submission, tmp_path).state == "not accepted"


def test_links_pipes_and_folders(submission, tmp_path):
    path = submission / "3_rollback" / "rollback.cpp"
    path.symlink_to("/etc/passwd")
    assert refused(submission, tmp_path).state == "not accepted"
    path.unlink()
    os.mkfifo(path)
    assert refused(submission, tmp_path).state == "not accepted"
    path.unlink()
    path.mkdir()
    assert refused(submission, tmp_path).state == "not accepted"


def test_other_files_are_named(submission, tmp_path):
    (submission / "3_rollback" / "rollback.hpp").write_text("")
    (submission / "3_rollback" / "README.md").write_text("")
    (note,) = building.Workshop(submission, tmp_path / "build").notes()
    assert "3_rollback/rollback.hpp" in note and "README" not in note


def test_no_folder_at_all_is_a_grade(tmp_path):
    options = grading.Options(out=tmp_path / "out", seed=3)
    grade = grading.grade(tmp_path / "nowhere", tmp_path / "build", options)
    assert grade.complete and grade.points == 0 and {e.state for e in grade.exercises} == {"missing"}
    assert json.loads((tmp_path / "out" / "grade.json").read_text())["complete"] is True


def test_a_link_in_the_place_of_grade_json_is_replaced(tmp_path):
    (tmp_path / "elsewhere").write_text("keep")
    (tmp_path / "grade.json").symlink_to(tmp_path / "elsewhere")
    grading.write_json(tmp_path / "grade.json", {"a": 1})
    assert (tmp_path / "elsewhere").read_text() == "keep"
    assert json.loads((tmp_path / "grade.json").read_text()) == {"a": 1}


def test_points_of_all_checks_sum_to_a_hundred():
    for exercise, points in check.POINTS.items():
        checks = check.load_checks(exercise)
        if checks and (check.ROOT / "solutions").exists():
            assert sum(c.points for c in checks) == points, check.label(exercise)
    assert sum(check.POINTS.values()) == 100


# ---- hints, saves, the doctor, the flake rate ------------------------------------------------------


def test_hints_come_one_after_the_other(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(hints, "STATE", tmp_path / "hints.json")
    monkeypatch.setattr(hints, "levels", lambda _: [("1 idea", "think"), ("2 interface", "look"),
                                                    ("3 pseudocode", "do")])
    for words in (["1 idea", "think"], ["2 interface", "look"], ["3 pseudocode", "do"], ["3 pseudocode"]):
        monkeypatch.setattr(sys, "argv", ["hints", "2"])
        assert hints.main() == 0
        out = capsys.readouterr().out
        assert all(word in out for word in words)
    monkeypatch.setattr(sys, "argv", ["hints", "2", "--level", "1"])
    assert hints.main() == 0 and "think" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", ["hints", "2", "--level", "4"])
    assert hints.main() == 1


@pytest.mark.parametrize("deaf", [False, True])
def test_a_save_is_noticed(submission, deaf):
    path = submission / "3_rollback" / "rollback.cpp"
    path.write_text("one")
    inotify = None if deaf else watching.working_inotify([path.parent])
    assert deaf or inotify
    before = watching.snapshot(submission)

    def save():
        (submission / "3_rollback" / "new").write_text("two, longer")
        os.replace(submission / "3_rollback" / "new", path)

    saver = threading.Timer(0.05, save)
    saver.start()
    numbers, after = watching.wait_for_change(submission, before, inotify)
    saver.join()
    assert numbers == [3] and after != before


def test_the_doctor_answers_every_question(capsys):
    assert doctor.main() == 0
    assert len([line for line in capsys.readouterr().out.splitlines() if line.startswith("  ok")
                or "note" in line]) >= 8


@pytest.mark.parametrize("hits, trials, upper", [(0, 1000, 0.002991), (0, 59, 0.04951), (1, 1000, 0.004735),
                                                 (3, 100, 0.07571), (5, 5, 1.0)])
def test_clopper_pearson(hits, trials, upper):
    assert flake.clopper_pearson_upper(hits, trials) == pytest.approx(upper, rel=2e-3)


def test_flake_goes_on_where_it_was(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(flake, "RUNS", tmp_path / "flake.jsonl")
    monkeypatch.setattr(flake, "REPORT", tmp_path)
    monkeypatch.setattr(flake, "ROOT", tmp_path)
    monkeypatch.setattr(flake.building, "build_targets", lambda *_: None)
    monkeypatch.setattr(flake, "tree_of", lambda _: "tree")
    asked = []

    def run_all(tasks, _jobs, on_result):
        for seed, _ in tasks:
            asked.append(seed)
            failures = [{"check": "10.1.1", "seed": seed, "seen": "x"}] if seed == 3 else []
            on_result(seed, {"failures": failures, "seconds": 1.0, "load": 2.0})

    monkeypatch.setattr(flake.forked, "run_all", run_all)

    def call(runs):
        asked.clear()
        monkeypatch.setattr(sys, "argv", ["flake", "--runs", str(runs), "--burners", "0"])
        return flake.main()

    assert call(2) == 0 and asked == [1, 2]
    with open(flake.RUNS, "a") as file:
        file.write('{"key": ["tree", [1, 2, 3, 4], 50, 0], "seed": 3, "fail')  # it was killed just then
    assert call(2) == 0 and asked == []
    assert call(4) == 1 and asked == [3, 4]
    assert call(4) == 1 and asked == []
    assert "4 runs" in capsys.readouterr().out
    monkeypatch.setattr(flake, "tree_of", lambda _: "another tree")
    assert call(1) == 0 and asked == [1]
