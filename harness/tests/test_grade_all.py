"""harness/grade_all.py: what it takes of what students hand in, and that nothing in a batch stops the batch.
Grading itself is stubbed here: a worker's place is taken by a small process that writes a grade."""
import csv
import io
import json
import os
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile

import pytest
from lbbatch import collect, pages, runs, statistics
from lbgrader import grading
from lbgrader.check import SEAMS, source_name

import grade_all

FOUR = {
    source_name(n): f"// the answer to {n}\nint answer_{n}() {{ return {n}; }}\n".encode()
    for n in (1, 2, 3, 4)
}


# ---- reading ----


def write(folder, files):
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def tar(path, files, others=()):
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        for name, kind, link in others:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, link
            archive.addfile(entry)
    return path


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


def taken(path):
    """({path in the submission: bytes}, remarks as one text)."""
    got = collect.read("x", path)
    return {source_name(n): data for n, data in got.files.items()}, "; ".join(got.remarks)


def test_a_folder_as_it_should_be(tmp_path):
    assert taken(write(tmp_path, FOUR)) == (FOUR, "")


@pytest.mark.parametrize("prefix", ["ada/", "hw/ada_42/", "lb-labs/exercises/ch10/"])
def test_nested_in_each_container(tmp_path, prefix):
    files = {prefix + name: data for name, data in FOUR.items()}
    assert taken(write(tmp_path / "folder", files)) == (FOUR, "")
    assert taken(zipped(tmp_path / "a.zip", files)) == (FOUR, "")
    assert taken(tar(tmp_path / "a.tar.gz", files)) == (FOUR, "")


@pytest.mark.parametrize(
    "name",
    [
        "3_rollback/Rollback.cpp",
        "3_rollback/rollback (1).cpp",
        "3_rollback/rollback_final.cpp",
        "rollback.cpp",
        "3_ROLLBACK/ROLLBACK.CPP",
        "ex3/rollback.cpp",
        "doe_jane_1234_rollback-2.cpp",
        "3_rollback/solution.cpp",
        "3_rollback/rollback.cc",
        "3_rollback/rollback.cpp.txt",
    ],
)
def test_renamed(tmp_path, name):
    files = {**{n: d for n, d in FOUR.items() if "rollback" not in n}, name: FOUR["3_rollback/rollback.cpp"]}
    got, remarks = taken(write(tmp_path, files))
    assert got == FOUR
    assert remarks == f"10.3: {name} is taken as 3_rollback/rollback.cpp"


def test_the_right_name_wins_and_the_other_is_mentioned(tmp_path):
    got, remarks = taken(
        write(tmp_path, {**FOUR, "1_watch/watch (1).cpp": b"older", "1_watch/watch_old.cpp": b"x"})
    )
    assert got == FOUR
    assert remarks == "not used: 1_watch/watch (1).cpp, 1_watch/watch_old.cpp"


def test_two_that_are_equally_likely_are_mentioned(tmp_path):
    got, remarks = taken(write(tmp_path, {"a/2_diff/diff.cpp": b"one", "b/2_diff/diff.cpp": b"two"}))
    assert got == {"2_diff/diff.cpp": b"one"}
    assert "10.2: a/2_diff/diff.cpp is taken; b/2_diff/diff.cpp is different" in remarks


def test_what_cannot_be_told_is_not_guessed(tmp_path):
    got, remarks = taken(write(tmp_path, {"2_diff/mine.cpp": b"one", "2_diff/helper.cpp": b"two"}))
    assert got == {} and "cannot be told" in remarks


def test_files_of_the_whole_tree_are_no_answers(tmp_path):
    """The whole hand-out is handed in, and built: lb/config/diff.cpp and cmake/absent are the tree's own."""
    files = {
        "lb-labs/lb/config/diff.cpp": b"own",
        "lb-labs/cmake/absent/watch.cpp": b"own",
        "lb-labs/lb/config/diff_test.cpp": b"own",
        "lb-labs/build/grade/student/src/4_yaml/yaml.cpp": b"copy",
        "lb-labs/exercises/ch10/3_rollback/rollback.cpp": b"mine",
        "__MACOSX/3_rollback/._rollback.cpp": b"x",
    }
    for container in (write(tmp_path / "x", files), zipped(tmp_path / "a.zip", files)):
        got, remarks = taken(container)
        assert got == {"3_rollback/rollback.cpp": b"mine"}
        assert "there is no watch.cpp and no diff.cpp and no yaml.cpp" in remarks


def test_changed_headers_and_tests_are_ignored_with_a_sentence(tmp_path):
    same = (collect.ROOT / "lb/reload/rollback.hpp").read_bytes().replace(b"\n", b"\r\n")
    got, remarks = taken(
        write(
            tmp_path,
            {
                **FOUR,
                "lb/config/diff.hpp": b"// mine",
                "lb/reload/rollback.hpp": same,
                "3_rollback/checks.py": b"# all pass",
            },
        )
    )
    assert got == FOUR
    assert remarks.startswith(
        "changed and ignored: exercises/ch10/3_rollback/checks.py, lb/config/diff.hpp ("
    )


def test_crlf_is_mentioned_and_missing_ones_are(tmp_path):
    _, remarks = taken(write(tmp_path, {"1_watch/watch.cpp": b"int a;\r\n"}))
    assert "lines end as on Windows (CRLF): 10.1" in remarks
    assert "there is no diff.cpp and no rollback.cpp and no yaml.cpp" in remarks
    assert (
        taken(write(tmp_path / "none", {"notes.txt": b"sorry"}))[1]
        == "there is none of the four exercise files"
    )


def test_links_are_never_followed(tmp_path):
    secret = tmp_path / "secret.cpp"
    secret.write_text("the reference")
    folder = write(tmp_path / "folder", {"1_watch/watch.cpp": b"mine"})
    (folder / "4_yaml").symlink_to(tmp_path)
    (folder / "2_diff").mkdir()
    (folder / "2_diff" / "diff.cpp").symlink_to(secret)
    os.mkfifo(folder / "rollback.cpp")
    got, remarks = taken(folder)
    assert got == {"1_watch/watch.cpp": b"mine"}
    assert (
        "links are not followed: 4_yaml, 2_diff/diff.cpp" in remarks
        and "rollback.cpp is no plain file" in remarks
    )
    packed = tar(
        tmp_path / "a.tar.gz",
        {"1_watch/watch.cpp": b"mine"},
        [
            ("2_diff/diff.cpp", tarfile.SYMTYPE, str(secret)),
            ("4_yaml/yaml.cpp", tarfile.LNKTYPE, "1_watch/watch.cpp"),
            ("3_rollback/rollback.cpp", tarfile.FIFOTYPE, ""),
        ],
    )
    got, remarks = taken(packed)
    assert got == {"1_watch/watch.cpp": b"mine"} and "links are not followed" in remarks
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        entry = zipfile.ZipInfo("2_diff/diff.cpp")
        entry.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(entry, str(secret))
    assert taken(tmp_path / "b.zip")[0] == {}
    (tmp_path / "subs").mkdir()
    (tmp_path / "subs" / "eve").symlink_to(folder)
    assert collect.entries(tmp_path / "subs") == ([], ["eve: links are not followed"])


@pytest.mark.parametrize(
    "name",
    [
        "../1_watch/watch.cpp",
        "/1_watch/watch.cpp",
        "a/../../1_watch/watch.cpp",
        "C:\\1_watch\\watch.cpp",
        "..\\1_watch\\watch.cpp",
    ],
)
def test_paths_that_leave_the_submission(tmp_path, name):
    before = sorted(tmp_path.parent.rglob("watch.cpp"))
    for path in (zipped(tmp_path / "a.zip", {name: b"x"}), tar(tmp_path / "a.tar.gz", {name: b"x"})):
        got, remarks = taken(path)
        assert got == {} and "points outside" in remarks
    assert sorted(tmp_path.parent.rglob("watch.cpp")) == before


def test_backslashes_of_windows_archives(tmp_path):
    assert taken(zipped(tmp_path / "a.zip", {n.replace("/", "\\"): d for n, d in FOUR.items()})) == (FOUR, "")


def test_bombs_and_damage_become_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr(collect, "UNPACKED_BYTES_MAX", 4 << 20)
    monkeypatch.setattr(collect, "READ_BYTES_MAX", 2 << 20)
    monkeypatch.setattr(collect, "ENTRIES_MAX", 50)
    monkeypatch.setattr(collect, "ARCHIVE_BYTES_MAX", 1 << 20)
    zeros = bytes(3 << 20)
    cases = {
        "large.tar.gz": ("holds more than", lambda p: tar(p, {"a.bin": zeros, "b.bin": zeros})),
        "many.zip": ("more than 50 files", lambda p: zipped(p, {f"{n}.cpp": b"" for n in range(60)})),
        "many.tar.gz": ("more than 50 files", lambda p: tar(p, {f"{n}.cpp": b"" for n in range(60)})),
        "sum.zip": (
            "hold more than",
            lambda p: zipped(p, {f"{n}/a.cpp": zeros[: 1 << 20] for n in range(3)}),
        ),
        "huge.zip": ("larger than", lambda p: p.write_bytes(os.urandom(2 << 20))),
        "broken.zip": ("damaged", lambda p: p.write_bytes(b"PK\3\4" + os.urandom(200))),
        "cut.tar.gz": ("damaged", lambda p: p.write_bytes(tar(p, FOUR).read_bytes()[:100])),
        "empty.zip": ("damaged", lambda p: p.write_bytes(b"")),
        "x.rar": ("only .zip and .tar.gz", lambda p: p.write_bytes(b"Rar!")),
    }
    for name, (sentence, make) in cases.items():
        make(tmp_path / name)
        got, remarks = taken(tmp_path / name)
        assert got == {} and sentence in remarks, (name, remarks)
    monkeypatch.setattr(collect, "ARCHIVE_BYTES_MAX", 8 << 20)
    pax = tarfile.TarInfo("header")
    pax.type, pax.size = tarfile.XHDTYPE, 3 << 20
    (tmp_path / "pax.tar").write_bytes(pax.tobuf() + zeros + bytes(1024))
    assert "header of the archive is larger" in taken(tmp_path / "pax.tar")[1]


def test_names_of_submissions(tmp_path):
    for name in ("ada", "Müller, A", "-rf", "index", "a&b<c>"):
        (tmp_path / name).mkdir()
    zipped(tmp_path / "ADA.zip", FOUR)
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".DS_Store").write_text("")
    found, ignored = collect.entries(tmp_path)
    assert sorted(n for n, _ in found) == sorted(["ada-2", "ADA", "Müller, A", "-rf", "_index", "a_b_c_"])
    assert ignored == ["notes.txt: neither a folder nor an archive (.zip, .tar.gz)"]


def test_normal_form_sees_through_comments_and_blanks():
    one = b'int f(int a) { return a; }  // "mine"\nauto s = "// no comment /* */";\n'
    two = b'/* by me */ int f( int a )\r\n{\r\n  return a; }\r\nauto s = "// no comment /* */";'
    assert collect.normal_form(one) == collect.normal_form(two)
    assert collect.normal_form(one) != collect.normal_form(one.replace(b"return a", b"return b"))


# ---- a batch, with stubs in the workers' place ----


def graded(points, **changes):
    """A grade with one check for each exercise."""
    grade = grading.Grade("x", 7, ["net"], complete=True, seconds=0.1)
    for number, seam in SEAMS.items():
        name = runs.building_label(number)
        check = grading.CheckResult(
            f"{name}.1", 1, f"does {seam}", "unit", 10, False, verdict="pass", points=10
        )
        hidden = grading.CheckResult(
            f"{name}.20",
            20,
            f"secretly does {seam}",
            "unit",
            5,
            True,
            verdict="fail",
            blame="student",
            expected="a secret",
            seen="something",
            usually="haste",
            story=[[0.1, "a secret step"]],
            log="a secret log",
        )
        if number > points:
            check.verdict, check.points, check.blame, check.seen = "fail", 0, "student", "nothing"
            check.usually = f"{seam} is not understood"
        result = grading.ExerciseResult(number, name, seam, "graded", points_max=15, checks=[check, hidden])
        result.settle()
        grade.exercises.append(result)
    for key, value in changes.items():
        setattr(grade, key, value)
    return grade


class Stub(runs.Worker):
    """Its process does what the first line of 10.1's file says."""

    script = (
        "import json, sys, os, time, signal\nout, what = sys.argv[1:]\n"
        "grades = json.load(open(out + '/../prepared.json'))\n"
        "grade = grades[what] if what in grades else None\n"
        "if what == 'hang': time.sleep(60)\n"
        "if what == 'crash': os.kill(os.getpid(), signal.SIGSEGV)\n"
        "json.dump(grade, open(out + '/grade.json', 'w'))\n"
    )
    started = []

    def __init__(self, record, exercise_jobs):
        self.record, self.began = record, time.monotonic()
        record.folder.mkdir(parents=True, exist_ok=True)
        (record.folder / "grade.json").unlink(missing_ok=True)
        self.build = record.folder / "build"
        self._log = open(record.folder / "worker.log", "wb")
        what = record.submission.files.get(1, b"4").decode().strip()
        self.process = subprocess.Popen(
            [sys.executable, "-S", "-c", self.script, str(record.folder), what],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )
        Stub.started.append(record.submission.name)


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """batch(arguments...): runs grade_all on tmp_path/in; (exit status, names graded in their order)."""
    doubtful = graded(4)
    doubtful.exercises[1].checks[0].verdict, doubtful.exercises[1].checks[0].blame = (
        "not graded",
        "environment",
    )
    prepared = {**{str(n): graded(n).to_json() for n in range(6)}, "doubt": doubtful.to_json()}
    (tmp_path / "out" / ".batch").mkdir(parents=True)
    (tmp_path / "out" / ".batch" / "prepared.json").write_text(json.dumps(prepared))
    (tmp_path / "in").mkdir()
    monkeypatch.setattr(runs, "prepare", lambda settings: None)
    monkeypatch.setattr(runs, "fingerprint", lambda: "tree 1")
    run = runs.run
    monkeypatch.setattr(runs, "run", lambda *arguments: run(*arguments, start=Stub))

    def start(*arguments):
        Stub.started.clear()
        monkeypatch.setattr(
            sys, "argv", ["grade_all.py", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *arguments]
        )
        return grade_all.main(), list(Stub.started)

    start.folder, start.out = tmp_path / "in", tmp_path / "out"
    start.submit = lambda name, what: write(start.folder / name, {**FOUR, "1_watch/watch.cpp": what.encode()})
    return start


def rows_of(batch):
    return {row["name"]: row for row in csv.DictReader((batch.out / "grades.csv").open())}


def test_a_batch(batch):
    for name, what in {"ada": "5", "bob": "2", "=1+1": "0", "a&b": "5"}.items():
        batch.submit(name, what)
    (batch.folder / "broken.zip").write_bytes(b"not a zip")
    status, started = batch("--seed", "7")
    assert (status, len(started)) == (0, 5)
    rows = rows_of(batch)
    assert (rows["ada"]["total"], rows["ada"]["of"], rows["ada"]["10.1 watch"], rows["ada"]["seed"]) == (
        "50",
        "75",
        "10",
        "7",
    )
    assert rows["bob"]["total"] == "20" and rows["_1+1"]["total"] == "0"
    assert "damaged" in rows["broken"]["remarks"]
    for name in ("ada", "bob", "_1+1", "a_b", "broken"):
        assert json.loads((batch.out / f"{name}.json").read_text())["submission"] == name
        assert name in (batch.out / f"{name}.html").read_text()
        assert "secret" not in (batch.out / "feedback" / f"{name}.html").read_text()
        assert f'href="{pages.urllib.parse.quote(name)}.html"' in (batch.out / "index.html").read_text()
    assert "a secret step" in (batch.out / "ada.html").read_text()
    figures = json.loads((batch.out / "statistics.json").read_text())
    assert sum(count for *_, count in figures["histogram"]) == 5
    by_name = {row["name"]: row for row in figures["checks"]}
    assert by_name["10.3.1"]["failed"] == 2 and by_name["10.3.20"]["rate"] == 1.0
    assert [
        row["submissions"] for row in figures["causes"] if row["cause"] == "rollback is not understood"
    ] == [["_1+1", "bob"]]
    # All share 10.2 to 10.4, two share everything.
    assert {"exercises": ["10.1"], "submissions": ["a_b", "ada"]} in figures["identical"]
    assert {"exercises": ["10.2", "10.3", "10.4"], "submissions": ["_1+1", "a_b", "ada", "bob"]} in figures[
        "identical"
    ]
    assert "likely causes" in (batch.out / "statistics.txt").read_text()


def test_only_what_changed_is_graded_again(batch, monkeypatch):
    for name in ("ada", "bob", "cleo"):
        batch.submit(name, "4")
    assert batch("--seed", "7") == (0, ["ada", "bob", "cleo"])
    assert batch() == (0, [])  # the same seed, kept
    batch.submit("bob", "5")
    assert batch() == (0, ["bob"]) and rows_of(batch)["bob"]["total"] == "50"
    assert batch("--only", "c*", "--again") == (0, ["cleo"])
    assert batch("--seed", "8", "--only", "ada") == (0, ["ada"])
    assert batch("--seed", "7") == (0, ["ada"]), "the others have that seed"
    monkeypatch.setattr(runs, "fingerprint", lambda: "tree 2")
    assert batch() == (0, ["ada", "bob", "cleo"])
    (batch.out / "ada.json").unlink()
    assert batch() == (0, ["ada"])


def test_a_tree_that_changes_meanwhile_is_said(batch, monkeypatch, capsys):
    batch.submit("ada", "5")
    versions = iter(["tree 1", "tree 2", "tree 2", "tree 2"])
    monkeypatch.setattr(runs, "fingerprint", lambda: next(versions))
    assert batch() == (2, ["ada"]) and "was changed while it graded" in capsys.readouterr().out
    assert batch() == (0, ["ada"])


def test_a_crash_a_hang_and_doubt_stop_nothing_and_are_tried_once_more(batch):
    for name, what in {"ada": "5", "crash": "crash", "doubt": "doubt", "hang": "hang", "zoe": "5"}.items():
        batch.submit(name, what)
    status, started = batch("--minutes", "0.01")
    assert status == 2
    assert started == ["ada", "crash", "doubt", "hang", "zoe", "crash", "doubt", "hang"]
    rows = rows_of(batch)
    assert rows["ada"]["state"] == rows["zoe"]["state"] == "graded"
    for name, says in {
        "crash": "process ended (-11)",
        "hang": "not graded within 0.6 s",
        "doubt": "10.2.1: could not",
    }.items():
        assert rows[name]["state"] == "look at it" and says in rows[name]["remarks"], name
    assert "To look at" in (batch.out / "index.html").read_text()
    batch.submit("crash", "5")
    batch.submit("hang", "5")
    assert batch()[1] == ["crash", "doubt", "hang", "doubt"], "what is doubtful is never finished"


def test_an_interrupted_run_goes_on(batch, monkeypatch):
    for name in ("ada", "bob", "cleo"):
        batch.submit(name, "4")
    batch.submit("bob", "hang")
    finished = grade_all.Batch.finished

    def interrupt_after_ada(self, record):
        finished(self, record)
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(grade_all.Batch, "finished", interrupt_after_ada)
    with pytest.raises(KeyboardInterrupt):
        batch("--jobs", "2")
    assert rows_of(batch)["bob"]["state"] == "not graded yet"
    monkeypatch.setattr(grade_all.Batch, "finished", finished)
    batch.submit("bob", "3")
    status, started = batch("--jobs", "2")
    assert status == 0 and "ada" not in started and set(started) >= {"bob"}


def test_two_batches_do_not_share_a_folder(batch):
    batch.submit("ada", "5")
    with grade_all.alone(batch.out), pytest.raises(SystemExit, match="another run"):
        batch()


def test_no_formula_gets_into_a_spreadsheet():
    for text in ("=1+1", "+1", "-1", "@x"):
        assert pages.spreadsheet_safe(text) == "'" + text
    assert pages.spreadsheet_safe("ada") == "ada"


def test_feedback_keeps_points_and_hides_what_hidden_checks_do():
    told = runs.for_student(graded(5))
    assert told.points == graded(5).points
    assert "secret" not in json.dumps(told.to_json())
    assert told.exercises[0].checks[0].title == "does watch"


def test_what_is_not_written_does_not_count_as_a_failure_of_its_checks():
    grade = graded(0)
    grade.exercises[0].state = grading.NOT_WRITTEN
    grade.exercises[1].checks[0].not_implemented = True
    rows = {row["name"]: row for row in statistics._checks([grade])}
    assert (rows["10.1.1"]["failed"], rows["10.1.1"]["not_run"]) == (0, 1)
    assert (rows["10.2.1"]["failed"], rows["10.2.20"]["failed"], rows["10.3.1"]["failed"]) == (0, 1, 1)


def test_figures_of_nothing():
    assert statistics.as_text(statistics.of_class([])) == "No submission is graded yet.\n"
