"""The tools that judge the tree can themselves fail: positive controls for the test runner, the style check,
the set-up script and the entry point of continuous integration."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"


def script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def call(*command, **options):
    options.setdefault("timeout", 60)
    return subprocess.run([str(word) for word in command], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, **options)


# ---- tools/check.py: counting ----------------------------------------------------------------------------

PASSING = """#!/bin/sh
echo '[ RUN      ] Suite.one'
echo '[       OK ] Suite.one (0 ms)'
echo '[ RUN      ] Suite.two'
echo '[  SKIPPED ] Suite.two (0 ms)'
"""
FAILING = """#!/bin/sh
echo '[ RUN      ] Suite.good'
echo '[       OK ] Suite.good (0 ms)'
echo '[ RUN      ] Suite.bad/0'
echo 'x.cpp:3: the reason of the failure'
echo '[  FAILED  ] Suite.bad/0, where GetParam() = 7 (0 ms)'
echo '[  FAILED  ] 1 test, listed below:'
echo '[  FAILED  ] Suite.bad/0, where GetParam() = 7'
exit 1
"""
CRASHING = """#!/bin/sh
echo '[ RUN      ] Suite.one'
echo '[       OK ] Suite.one (0 ms)'
echo '[ RUN      ] Suite.two'
echo 'a.cpp:1:2: runtime error: signed integer overflow'
kill -SEGV $$
"""
EMPTY = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def tree(tmp_path):
    """A tree with the tools and a build script that builds nothing."""
    (tmp_path / "tools").mkdir()
    for name in ("check.py", "python.sh", "setup.sh", "packages.txt"):
        shutil.copy(TOOLS / name, tmp_path / "tools" / name)
    script(tmp_path / "tools" / "build.sh", "#!/bin/sh\nexit 0\n")
    (tmp_path / "build" / "release").mkdir(parents=True)
    return tmp_path


def run_unit(tree, **programs):
    lines = []
    for name, text in programs.items():
        lines.append(f"unit_tests {script(tree / 'build' / 'release' / name, text)}\n")
    (tree / "build" / "release" / "groups.txt").write_text("".join(lines))
    done = call(sys.executable, tree / "tools" / "check.py", "unit")
    summary = json.loads((tree / "build" / "logs" / "summary.json").read_text())
    return done.returncode, done.stdout, (summary["passed"], summary["failed"], summary["skipped"])


def test_passing_programs_are_counted(tree):
    status, output, counts = run_unit(tree, a_test=PASSING, b_test=PASSING)
    assert (status, counts) == (0, (2, 0, 2)), output
    assert output.splitlines()[-1] == "2 passed, 0 failed, 2 skipped"


def test_failure_is_counted_once_and_shown(tree):
    status, output, counts = run_unit(tree, a_test=PASSING, b_test=FAILING)
    assert (status, counts) == (1, (2, 1, 1)), output
    assert "b_test (release): Suite.bad/0" in output and "the reason of the failure" in output


def test_crash_after_passing_tests_is_a_failure(tree):
    status, output, counts = run_unit(tree, a_test=CRASHING)
    assert (status, counts) == (1, (1, 1, 0)), output
    assert "killed by SIGSEGV" in output and "signed integer overflow" in output


def test_program_without_tests_is_a_failure(tree):
    status, _, counts = run_unit(tree, a_test=PASSING, b_test=EMPTY)
    assert (status, counts[1]) == (1, 1)


def test_no_program_at_all_is_a_failure(tree):
    assert run_unit(tree)[0] == 1


def test_failed_build_is_shown(tree):
    script(tree / "tools" / "build.sh", "#!/bin/sh\necho 'x.cpp:1: error: no such thing'\nexit 1\n")
    status, output, counts = run_unit(tree, a_test=PASSING)
    assert (status, counts) == (1, (0, 1, 0))
    assert "no such thing" in output


# ---- .ci/run: the last line and the exit status ------------------------------------------------------------

@pytest.mark.parametrize("lint, check, summary, status, last", [
    (0, 0, (5, 0, 0), 0, "6 passed, 0 failed"),
    (0, 0, (5, 0, 2), 0, "6 passed, 0 failed, 2 skipped"),
    (1, 0, (5, 0, 0), 1, "5 passed, 1 failed"),
    (0, 1, (5, 3, 0), 1, "6 passed, 3 failed"),
    (0, 1, (5, 0, 0), 1, "6 passed, 1 failed"),
    (0, 0, (0, 0, 0), 1, "1 passed, 1 failed"),
    (0, 2, None, 1, "1 passed, 1 failed"),
])
def test_ci_ends_with_the_counts(tree, lint, check, summary, status, last):
    script(tree / ".ci" / "run", (ROOT / ".ci" / "run").read_text())
    script(tree / "tools" / "setup.sh", "#!/bin/sh\nexit 0\n")
    line = ""
    if summary:
        text = json.dumps(dict(zip(("passed", "failed", "skipped"), summary)))
        line = f"\t@mkdir -p build/logs; echo '{text}' > build/logs/summary.json\n"
    (tree / "Makefile").write_text(f"lint:\n\t@exit {lint}\ncheck:\n{line}\t@exit {check}\n")
    done = call(tree / ".ci" / "run", cwd="/")
    assert done.stdout.splitlines()[-1] == last, done.stdout + done.stderr
    assert done.returncode == status


# ---- tools/setup.sh ----------------------------------------------------------------------------------------

def run_setup(tree, *arguments, installed="", identity="0", more=()):
    """Runs setup.sh with a PATH on which only stand-ins for the package tools are found."""
    bin_folder = tree / "bin"
    script(bin_folder / "dpkg-query", f"#!/bin/sh\nprintf '%s\\n' {installed or '-'}\n")
    script(bin_folder / "id", f"#!/bin/sh\necho {identity}\n")
    script(bin_folder / "apt-get", "#!/bin/sh\necho \"$@\" >> apt.log\n")
    for name, text in more:
        script(bin_folder / name, text)
    for name in ("bash", "sh", "env", "sed", "mktemp", "tail", "rm", "dirname"):
        (bin_folder / name).unlink(missing_ok=True)
        (bin_folder / name).symlink_to(shutil.which(name))
    (tree / "tools" / "packages.txt").write_text("[test]\nbeta  # why\n[build]\nalpha\ngamma\n")
    return call(tree / "tools" / "setup.sh", *arguments, cwd=tree, env={"PATH": str(bin_folder)})


def test_setup_is_silent_when_nothing_is_missing(tree):
    done = run_setup(tree, installed="'installed alpha' 'installed gamma' 'installed beta'")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tree / "apt.log").exists()


def test_setup_installs_only_what_is_missing(tree):
    done = run_setup(tree, "build", installed="'installed alpha' 'deinstall gamma'")
    assert done.returncode == 0, done.stderr
    assert (tree / "apt.log").read_text().endswith(" install -y --no-install-recommends gamma\n")


def test_setup_check_installs_nothing(tree):
    done = run_setup(tree, "--check", "build", installed="'installed alpha'")
    assert done.returncode == 1
    assert "apt-get install -y --no-install-recommends gamma" in done.stderr
    assert not (tree / "apt.log").exists()


def test_setup_without_rights_says_what_to_do(tree):
    done = run_setup(tree, installed="'installed alpha'", identity="1000")
    assert done.returncode == 1
    assert "As root:" in done.stderr and "apt-get install" in done.stderr and "beta gamma" in done.stderr


def test_setup_uses_sudo(tree):
    sudo = "#!/bin/sh\n[ \"$1\" = -n ] && exit 0\necho sudo >> sudo.log\nexec \"$@\"\n"
    done = run_setup(tree, "test", identity="1000", more=[("sudo", sudo)])
    assert done.returncode == 0, done.stderr
    assert (tree / "sudo.log").exists() and "beta" in (tree / "apt.log").read_text()


def test_setup_refreshes_the_lists_after_a_failure(tree):
    apt = ("#!/bin/sh\necho \"$@\" >> apt.log\ncase \"$*\" in *update*) : > updated;; esac\n"
           "case \"$*\" in *install*) [ -e updated ];; esac\n")
    done = run_setup(tree, "test", more=[("apt-get", apt)])
    assert done.returncode == 0, done.stderr
    assert [line.split()[3] for line in (tree / "apt.log").read_text().splitlines()] == [
        "install", "update", "install"]


def test_setup_reports_that_apt_failed(tree):
    apt = "#!/bin/sh\necho 'E: Unable to locate package beta'\nexit 100\n"
    done = run_setup(tree, "test", more=[("apt-get", apt)])
    assert done.returncode == 1
    assert "Unable to locate package beta" in done.stderr


# ---- tools/python.sh ---------------------------------------------------------------------------------------

def test_python_skips_an_interpreter_that_lacks_a_module(tmp_path):
    script(tmp_path / "python3", "#!/bin/sh\nexit 1\n")
    poor = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LB_PYTHON": str(tmp_path / "python3")}
    done = call(TOOLS / "python.sh", "--needs", "json", "--which", env={**os.environ, **poor})
    assert done.returncode == 0 and done.stdout.strip() != str(tmp_path / "python3")


def test_python_says_what_is_missing():
    done = call(TOOLS / "python.sh", "--needs", "no_such_module_anywhere", "--which")
    assert done.returncode != 0 and "no_such_module_anywhere" in done.stderr


# ---- tools/check_style.py ----------------------------------------------------------------------------------

LONG_BODY = "".join(f"  step({number});\n" for number in range(120))


@pytest.mark.parametrize("name, text, complaint", [
    ("lb/a/x.hpp", "// About.\nint f();\n", "pragma once"),
    ("lb/a/x.hpp", "#pragma once\nint f();\n", "opens with a comment"),
    ("lb/a/x.cpp", "int f() { return 1; } \n", "white space"),
    ("lb/a/x.cpp", "int f();", "no newline"),
    ("lb/a/x.cpp", "\tint f();\n", "tab"),
    ("lb/a/x.cpp", "int f();\r\n", "carriage return"),
    ("lb/a/x.cpp", "// FIX" + "ME later\n", "unfinished"),
    ("lb/a/x.cpp", "<" * 7 + " HEAD\n", "conflict marker"),
    ("lb/a/x.cpp", 'auto p = "/ho' + 'me/someone/x";\n', "path of one machine"),
    ("lb/a/x.cpp", "int x;\n" * 601, "the file has 601 lines"),
    ("lb/a/x.cpp", f"void f(int a) {{\n{LONG_BODY}}}\n", "function f has 122 lines"),
    ("lb/a/x.cpp", f"void f(int a,\n       int b) {{\n{LONG_BODY}}}\n", "function f has 123 lines"),
    ("lb/a/x_test.cpp", f"TEST(Suite, name) {{\n{LONG_BODY}}}\n", "function Suite.name has 122"),
    ("tools/x.py", "def f():\n" + "    pass\n" * 120, "function f has 121 lines"),
    ("tools/x.sh", "#!/bin/sh\n", "not executable"),
    ("README.md", "See [there](missing.md).\n", "leads nowhere"),
], ids=lambda value: value if len(value) < 30 and "\n" not in value else "")
def test_style_complains(tmp_path, name, text, complaint):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())
    done = call(sys.executable, TOOLS / "check_style.py", "--root", tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith(name) and complaint in done.stdout


def test_style_accepts_what_is_right(tmp_path):
    folder = tmp_path / "lb" / "a"
    folder.mkdir(parents=True)
    (folder / "x.hpp").write_text("// About.\n#pragma once\n\nint f();\n")
    (folder / "x.cpp").write_text('#include "lb/a/x.hpp"\n\nint f() {\n  if (a) {\n    b();\n  }\n}\n')
    table = "const auto kTable = make({\n" + "    {1},\n" * 150 + "});\n"
    raw = 'const auto kText = R"(\nvoid f() {\n' + "a\n" * 150 + '}\n)";\n'
    (folder / "y.cpp").write_text(table + raw)
    done = call(sys.executable, TOOLS / "check_style.py", "--root", tmp_path)
    assert (done.returncode, done.stdout) == (0, "")


def test_style_demands_the_own_header_first(tmp_path):
    folder = tmp_path / "lb" / "a"
    folder.mkdir(parents=True)
    (folder / "x.hpp").write_text("// About.\n#pragma once\n")
    (folder / "x.cpp").write_text('#include <string>\n\n#include "lb/a/x.hpp"\n')
    done = call(sys.executable, TOOLS / "check_style.py", "--root", tmp_path)
    assert done.returncode == 1 and "the first include should be its own header" in done.stdout


def test_style_ratchet_lets_shrink_and_forbids_growth(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / "lb").mkdir()
    baseline = tmp_path / "tools" / "style_baseline.txt"
    big = tmp_path / "lb" / "big.cpp"
    baseline.write_text("file lb/big.cpp 650\n")
    checker = (sys.executable, TOOLS / "check_style.py", "--root", tmp_path)
    big.write_text("int x;\n" * 640)
    assert call(*checker).returncode == 0
    assert call(*checker, "--update").returncode == 0
    assert "file lb/big.cpp 640" in baseline.read_text()
    big.write_text("int x;\n" * 641)
    assert call(*checker).returncode == 1
