"""harness/handout.py: what the hand-out holds, what it must not, and that a leak is seen. That it builds and
scores as expected takes minutes: `make verify-handout`."""
import hashlib
import io
import re
import subprocess
import tarfile
from pathlib import Path

import handout
import pytest
from lbbatch import verify_handout
from lbgrader import grading
from lbgrader.check import POINTS, SEAMS, TOGETHER

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """The hand-out in a folder of its own, as written and as unpacked."""
    out = tmp_path_factory.mktemp("handout")
    handout.make(out)
    return out


@pytest.fixture(scope="module")
def tree(made):
    return made / handout.NAME


def names_of(tree):
    return sorted(p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.is_file())


def test_holds_what_students_need(tree):
    for name in (
        "Makefile",
        "README.md",
        "CMakeLists.txt",
        "chapters/ch10-hot-reload.md",
        "harness/grade.py",
        "harness/reload_zero_drop.py",
        "tools/labs.mk",
        "lb/reload/rollback.hpp",
        "cmake/absent/watch.cpp",
        *(
            f"exercises/ch10/{n}/{f}"
            for n in ("1_watch", "2_diff", "3_rollback", "4_yaml")
            for f in ("README.md", "hints.md", "checks.py", f"{n[2:]}.cpp")
        ),
    ):
        assert (tree / name).is_file(), name


def test_holds_nothing_that_is_excluded(tree):
    assert [n for n in names_of(tree) if handout.matches(n, handout.EXCLUDED)] == []
    for folder in ("solutions", "fixtures/bugbank", "fixtures/hostile", "fixtures/golden", ".ci", ".git"):
        assert not (tree / folder).exists(), folder


def test_each_pattern_excludes_something():
    names = handout.tracked()
    idle = [p for p in handout.EXCLUDED if not any(handout.matches(n, [p]) for n in names)]
    assert idle == []


def test_no_file_of_the_secret_ones_is_in_it(tree):
    secret = {
        hashlib.sha256((ROOT / n).read_bytes()).digest(): n
        for n in handout.tracked()
        if handout.matches(n, handout.SECRET)
    }
    found = [
        (n, secret[digest])
        for n in names_of(tree)
        if (digest := hashlib.sha256((tree / n).read_bytes()).digest()) in secret
        and (tree / n).stat().st_size > 40
    ]
    assert found == []


def test_no_passage_of_a_solution_is_in_it():
    assert handout.leaks(handout.contents()) == []


def test_no_goal_of_the_instructor_is_in_it(tree):
    make = subprocess.run(["make", "-C", str(tree), "help"], capture_output=True, text=True, check=False)
    assert make.returncode == 0, make.stderr
    assert "check-ch10" in make.stdout and "hint-ch10" in make.stdout
    goals = {line.split()[0] for line in make.stdout.splitlines() if line.startswith("  ")}
    assert not goals & {"handout", "verify-handout", "verify-labs", "flake", "grade-all"}
    assert "## For the instructor" not in (tree / "harness" / "README.md").read_text()


def test_python_files_import_nothing_that_is_missing(tree):
    for program in ("grade.py", "reload_zero_drop.py"):
        done = subprocess.run(
            ["python3", str(tree / "harness" / program), "--help"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    modules = [
        "lbgrader." + p.stem for p in (tree / "harness" / "lbgrader").glob("*.py") if p.stem != "__init__"
    ]
    done = subprocess.run(
        ["python3", "-B", "-c", f"import {', '.join(modules)}"],
        cwd=tree / "harness",
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def exercises_in(folder, target):
    """The seams whose exercise `target` depends on, in whatever way."""
    done = subprocess.run(
        ["ninja", "-C", str(folder), "-t", "inputs", target], capture_output=True, text=True, check=True
    )
    return set(re.findall(r"exercises/ch10/\d_\w+/(\w+)\.cpp$", done.stdout, re.M))


def test_what_one_exercise_says_concerns_no_other(tree, tmp_path):
    done = subprocess.run(
        ["cmake", "--preset", "release", "-B", str(tmp_path)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    listed = subprocess.run(
        ["ninja", "-C", str(tmp_path), "-t", "targets", "all"], capture_output=True, text=True, check=True
    ).stdout
    assert "lab_case_" not in listed
    seams = {"watch", "diff", "rollback", "yaml"}
    for seam in seams:
        for kind in ("runner", "lb"):
            assert exercises_in(tmp_path, f"labs/lab_student_{seam}_{kind}") == {seam}
    assert exercises_in(tmp_path, "lab_student_all_lb") == seams
    assert exercises_in(tmp_path, "lb") == seams
    assert exercises_in(tmp_path, "unit_tests") == set()
    for tool in ("lb_backend", "lb_traffic", "lb_ledger"):
        assert exercises_in(tmp_path, tool) == set()


def test_the_archive_is_the_tree_and_reproducible(made, tree):
    packed = (made / f"{handout.NAME}.tar.gz").read_bytes()
    assert packed == handout.archive(handout.contents())
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        members = tar.getmembers()
    assert [m.name for m in members] == [f"{handout.NAME}/{n}" for n in sorted(names_of(tree))]
    assert {(m.uid, m.gid, m.uname, m.gname) for m in members} == {(0, 0, "", "")}
    assert len({m.mtime for m in members}) == 1
    assert {m.mode for m in members} == {0o644, 0o755}


# ---- a check that cannot fail is none: leaks that must be found ----


def solution():
    return next(
        n for n in handout.tracked() if n.endswith("3_rollback/rollback.cpp") and n.startswith("solutions")
    )


def test_a_copied_solution_is_found():
    assert "is solutions" in handout.leaks({"lb/reload/x.cpp": ((ROOT / solution()).read_bytes(), False)})[0]


def test_a_passage_of_a_solution_is_found_with_other_spaces():
    lines = (ROOT / solution()).read_text().splitlines()
    third, half = len(lines) // 3, len(lines) // 2
    part = "\n".join("   " + line + "  // why" for line in lines[third:half])
    found = handout.leaks({"chapters/notes.md": (f"# Notes\n{part}\n".encode(), False)})
    assert len(found) == 1 and "chapters/notes.md has a passage of " in found[0]


def test_nothing_is_written_when_there_is_a_leak(tmp_path, monkeypatch):
    monkeypatch.setattr(handout, "EXCLUDED", handout.INSTRUCTOR)
    with pytest.raises(handout.Leak, match="solutions/"):
        handout.make(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_title_of_a_hidden_check_is_found():
    hidden = next(n for n in handout.tracked() if n.startswith("solutions/ch10/hidden/1"))
    title = handout.CHECK.search((ROOT / hidden).read_text())[2]
    found = handout.leaks({"README.md": (f"Mind this: {title}.\n".encode(), False)})
    assert len(found) == 1 and title in found[0]


# ---- edits ----


def test_goals_are_taken_out_of_a_makefile():
    text = ".PHONY: a b-c d\n\na: ## one\n\t@x\n\nb-c: ## two\n\t@y\n\t@z\n\nd: a ## three\n\t@w\n"
    assert handout.without_goals(text, ["b-c"]) == ".PHONY: a d\n\na: ## one\n\t@x\n\nd: a ## three\n\t@w\n"


def test_a_section_is_taken_out_of_a_text():
    text = "# T\n\n## A\na\n\n## For the instructor\nb\n\n### c\nd\n\n## Z\nz\n"
    assert handout.without_section(text, "For the instructor") == "# T\n\n## A\na\n\n## Z\nz\n"


def test_tests_are_taken_out_of_a_file():
    text = "TEST(A, B) {\n  {\n  }\n}\n\nTEST_F(A, C) {\n  x;\n}\n\nTEST(A, D) {\n}\n"
    assert handout.without_tests(text, "A, C") == "TEST(A, B) {\n  {\n  }\n}\n\nTEST(A, D) {\n}\n"
    text = "import os\n\n\ndef test_a():\n    x\n\n    y\n\n\ndef test_ab():\n    z\n"
    assert handout.without_tests(text, "test_a") == "import os\n\n\ndef test_ab():\n    z\n"
    assert handout.without_tests(text, "test_ab") == "import os\n\n\ndef test_a():\n    x\n\n    y\n\n\n"
    with pytest.raises(SystemExit, match="0 tests A, E"):
        handout.without_tests(text, "A, E")


# ---- what make verify-handout expects of the scores ----


def scored(state, points, hidden=2):
    grade = grading.Grade("x", 1, [], complete=True)
    for number, seam in SEAMS.items():
        together = number == TOGETHER
        most = POINTS[number] - (0 if together else hidden)
        check = grading.CheckResult(f"10.{number}.1", 1, "t", "unit", most, False, points=points and most)
        check.verdict = "pass" if points else "pending"
        waits = grading.WAITS if together and state == grading.NOT_WRITTEN else state
        result = grading.ExerciseResult(number, seam, seam, waits, points_max=most, checks=[check])
        result.points_hidden = POINTS[number] - most
        result.settle()
        grade.exercises.append(result)
    return grade


def test_what_is_expected_of_starters_and_references():
    starters, references = scored(grading.NOT_WRITTEN, 0), scored(grading.GRADED, 1)
    assert verify_handout.starter_problems(starters) == []
    assert verify_handout.reference_problems(references) == []
    assert len(verify_handout.starter_problems(references)) == 6
    assert verify_handout.reference_problems(starters)
    assert "has no hidden points" in verify_handout.starter_problems(scored(grading.NOT_WRITTEN, 0, 0))[0]
