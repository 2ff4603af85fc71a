"""A grade in all its forms. The text is the one of the specification, character by character."""

import json
import xml.etree.ElementTree as ET

import pytest
from lbgrader import convert, grading, page, terminal
from lbgrader.grading import CheckResult, ExerciseResult, Grade

STORY = """\
10.1.5  an editor saves by renaming (7 points)
    0.  watch lb.json            generation 1 is serving
    1.  write lb.json.tmp
    2.  rename lb.json.tmp -> lb.json
    expected: generation 2 within 500 ms.   seen: still generation 1
    your log: IN_DELETE_SELF wd=1
    usually:  the watch follows the old inode, not the name
    again:    make check-ch10.1 T=5 SEED=48213        hint: make hint-ch10.1
    picture:  build/report/ch10.html#10.1.5"""

WHOLE = f"""\
ch10 hot reload       seed 48213   asan+ubsan   netns yes
10.1 watch      ok ok ok ok --   18/25   3.1 s
10.2 diff       ok ok ok ok      20/20   1.2 s
10.3 rollback   not implemented: RollbackPolicy::on_event (rollback.cpp:31)   0/30
10.4 yaml       ok ok ok         15/15   0.9 s
together        waits for 10.3   0/10

{STORY}
Score 53/100"""


def exercise(number, name, seam, points, seconds, state=grading.GRADED, sentence="", points_max=None):
    checks = [CheckResult(f"{name}.{i}", i, f"check {i}", "unit", p, False, points=p, verdict="pass")
              for i, p in enumerate(points, 1)]
    result = ExerciseResult(number, name, seam, state, sentence, checks=checks, seconds=seconds,
                            points_max=sum(points) if points_max is None else points_max)
    result.settle()
    return result


@pytest.fixture
def grade():
    watch = exercise(1, "10.1", "watch", (5, 5, 4, 4), 3.1, points_max=25)
    watch.checks.append(CheckResult(
        "10.1.5", 5, "an editor saves by renaming", "unit", 7, False, verdict="fail", blame="student",
        story=[[0.0, "watch lb.json            generation 1 is serving"], [0.01, "write lb.json.tmp"],
               [0.02, "rename lb.json.tmp -> lb.json"]],
        expected="generation 2 within 500 ms.", seen="still generation 1", log="IN_DELETE_SELF wd=1",
        usually="the watch follows the old inode, not the name", again="make check-ch10.1 T=5 SEED=48213",
        hint="make hint-ch10.1", picture="build/report/ch10.html#10.1.5", seconds=0.55))
    rollback = exercise(3, "10.3", "rollback", (), 1.0, grading.NOT_WRITTEN,
                        "RollbackPolicy::on_event (rollback.cpp:31)", 30)
    together = exercise(5, "together", "together", (), 0, grading.WAITS, "waits for 10.3", 10)
    return Grade("exercises/ch10", 48213, ["files", "net", "pid"], complete=True, exercises=[
        watch, exercise(2, "10.2", "diff", (5, 5, 5, 5), 1.2), rollback,
        exercise(4, "10.4", "yaml", (5, 5, 5), 0.9), together])


def test_text_is_that_of_the_specification(grade):
    assert terminal.Text().whole(grade) == WHOLE


def test_colour_changes_nothing_but_colour(grade):
    import re
    coloured = terminal.Text(colour=True).whole(grade)
    assert "\033[31m" in coloured and re.sub(r"\033\[[0-9;]*m", "", coloured) == WHOLE


def test_a_terminal_s_width_is_kept_and_nothing_is_lost(grade):
    check = grade.exercises[0].checks[-1]
    check.story.append([0.03, "a step of many words " * 9])
    check.expected = "something that takes more than one line to say, which is not rare"
    wide, narrow = terminal.Text().whole(grade), terminal.Text(columns=80).whole(grade)
    stories = narrow.split("\n\n", 1)[1].splitlines()
    assert max(map(len, wide.splitlines())) > 100 and max(map(len, stories)) <= 80
    assert wide.split() == narrow.split()


def test_what_could_not_be_graded_is_nobodys_failure(grade):
    check = grade.exercises[0].checks[4]
    check.verdict, check.blame, check.seen = "not graded", "environment", "lb_traffic is not there"
    text = terminal.Text().whole(grade)
    assert "ok ok ok ok ??" in text and "not your fault: environment" in text and "expected:" not in text


def test_stories_that_end_alike_are_told_once(grade):
    import dataclasses
    first = grade.exercises[0].checks[4]
    grade.exercises[0].checks += [dataclasses.replace(first, number=n, name=f"10.1.{n}") for n in (6, 7)]
    text = terminal.Text().whole(grade)
    assert text.count("an editor saves by renaming") == 1
    assert "10.1.6, 10.1.7 fail the same way: build/report/ch10.html#10.1" in text


def test_json_and_back(grade):
    data = json.loads(json.dumps(grade.to_json()))
    assert (data["version"], data["points"], data["points_max"]) == (1, 53, 100)
    assert terminal.Text().whole(Grade.from_json(data)) == WHOLE
    assert not grade.full_marks


def test_gradescope(grade):
    result = convert.gradescope(grade)
    assert result["score"] == 53 and len(result["tests"]) == 12
    failed = [test for test in result["tests"] if test["status"] == "failed"]
    assert [t["number"] for t in failed] == ["10.1.5"] and failed[0]["output"] == STORY
    grade.exercises[0].checks[0].hidden = True
    assert convert.gradescope(grade)["tests"][0]["visibility"] == "after_published"


def test_junit(grade):
    suites = ET.fromstring(convert.junit(grade).split("\n", 1)[1])
    watch = suites.find("testsuite")
    assert watch.get("tests") == "5" and watch.get("failures") == "1"
    assert watch.find("testcase/failure").text == STORY


def test_tap(grade):
    lines = convert.tap(grade).splitlines()
    assert lines[:2] == ["TAP version 14", "1..12"]
    assert "not ok 5 - 10.1.5 an editor saves by renaming" in lines and "  blame: student" in lines
    assert sum(line.startswith("ok ") for line in lines) == 11


def test_page_has_a_place_for_every_check_and_escapes_what_it_shows(grade):
    grade.exercises[0].checks[4].log = "<script>alert(1)</script>"
    text = page.render(grade)
    assert 'id="10.1.5"' in text and "<svg" in text and "prefers-color-scheme: dark" in text
    assert "<script>" not in text and "&lt;script&gt;" in text


def test_control_characters_of_a_submission_do_not_reach_a_terminal():
    assert grading.shown("a\x1b[31mb\0c\nd\te") == "a\ufffd[31mb\ufffdc\nd\te"
    assert len(grading.shown("x" * 10000)) < 5000
