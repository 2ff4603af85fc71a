#!/usr/bin/env python3
"""Makes the students' tree: build/handout/lb-labs and lb-labs.tar.gz.

It holds what git tracks, but for what gives an answer away (solutions, hidden checks, known-wrong
answers), what only the instructor needs, and the tests that need either. Nothing is written when a
passage of what is left out is still found in what is handed out. The archive is reproducible: the same
tree gives the same bytes.
"""
import argparse
import fnmatch
import gzip
import hashlib
import io
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
NAME = "lb-labs"

# Answers, and what judges them. * spans folders.
SECRET = ("solutions/*", "fixtures/bugbank/*", "fixtures/hostile/*", "fixtures/golden/*")
# Of no use without them, or the instructor's own.
INSTRUCTOR = (
    ".ci/*",
    "tools/instructor.mk",
    "harness/handout.py",
    "harness/grade_all.py",
    "harness/lbbatch/*",
    "harness/verify_labs.py",
    "harness/lbgrader/verify.py",
    "harness/lbgrader/edits.py",
    "harness/lbgrader/flake.py",
    "harness/tests/test_tools.py",
    "harness/tests/test_handout.py",
    "harness/tests/test_grade_all.py",
    "harness/tests/test_grader_*.py",
)
# Tests of the abilities behind the seams: with the starters in place they could only fail. What students need
# of them is in the checks, which tell more.
SEAM_TESTS = (
    "lb/config/diff_test.cpp",
    "lb/config/yaml_reader_test.cpp",
    "lb/reload/rollback_test.cpp",
    "lb/watch/config_watcher_test.cpp",
    "lb/supervisor/config_keeper_test.cpp",
    "harness/tests/test_by_itself.py",
)
NO_ANSWERS = ("fixtures/hostile/*", "fixtures/golden/*")  # secret only because they help to fool the grader
EXCLUDED = SECRET + INSTRUCTOR + SEAM_TESTS

CHECK = re.compile(r'^@check\(\s*(\d+),\s*"([^"]{24,})"', re.M)  # hidden: such a title tells enough
STARTERS = ("exercises/ch10/*/*.cpp",)
STARTER_SHARE_MAX = 0.15  # of an answer's passages: the frame that a starter gives
RUN_LINES, RUN_CHARACTERS = 5, 160  # what counts as a passage


class Leak(Exception):
    pass


def git(*arguments):
    done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"handout: git {arguments[0]} failed: {done.stderr.decode().strip()}")
    return done.stdout.decode()


def matches(name, patterns):
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def tracked():
    """What git tracks and is there, in order."""
    names = (name for name in git("ls-files", "-z").split("\0") if name)
    return sorted(name for name in names if (ROOT / name).is_file())


# ---- files that mention what is left out -----------------------------------------------------------


def without_goals(text, goals):
    """A makefile without some of its goals."""
    blocks = re.split(r"\n(?=\S)", text)
    gone = re.compile(rf"(?:{'|'.join(goals)}) ?:")
    kept = [block for block in blocks if not gone.match(block)]
    text = "\n".join(kept)
    return re.sub(
        r"^(\.PHONY:.*)$",
        lambda line: re.sub(rf" (?:{'|'.join(goals)})\b", "", line.group(1)),
        text,
        flags=re.M,
    )


def without_lines(text, pattern):
    return "".join(line for line in text.splitlines(keepends=True) if not re.search(pattern, line))


def without_section(text, title):
    """A Markdown text without one section of the second level."""
    return re.sub(rf"^## {re.escape(title)}$.*?(?=^## |\Z)", "", text, flags=re.M | re.S)


def without_tests(text, *names):
    """A file without some of its tests: TEST_F(Suite, Name) or def test_name."""
    for name in names:
        kind = r"^def " if name.startswith("test_") else r"^TEST(?:_F|_P)?\("
        text, count = re.subn(rf"{kind}{name}\b.*?\n(?:\}}\n+|\n\n(?=\S)|\Z)", "", text, flags=re.M | re.S)
        if count != 1:
            raise SystemExit(f"handout: there are {count} tests {name}")
    return text


EDITS = {
    # Tests among others that need an ability behind a seam.
    "lb/supervisor/supervisor_test.cpp": lambda text: without_tests(
        text, "SupervisorTest, ChangesThatNeedARestartAreWarnedAbout"
    ),
    "lb/main/cli_test.cpp": lambda text: without_tests(text, "CommandTest, Diff"),
    "harness/tests/test_reload.py": lambda text: without_tests(text, "test_answer_of_lb_reload"),
    "harness/tests/test_cli.py": lambda text: without_tests(
        text, "test_diff", "test_check_print_is_the_effective_configuration_and_stable"
    ),
    "tools/labs.mk": lambda text: without_goals(text, ["verify-labs", "flake"]),
    "harness/README.md": lambda text: without_section(text, "For the instructor"),
    "harness/lbgrader/README.md": lambda text: without_lines(text, r"^\| `verify\.py`"),
}


def contents():
    """{name: (bytes, executable)} of the hand-out."""
    made = {}
    for name in tracked():
        if matches(name, EXCLUDED):
            continue
        path = ROOT / name
        data = path.read_bytes()
        if name in EDITS:
            data = EDITS[name](data.decode()).encode()
        made[name] = (data, bool(path.stat().st_mode & 0o100))
    digest = hashlib.sha256()
    for name, (data, _) in sorted(made.items()):
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    made["HANDOUT"] = (
        f"The labs of chapter 10. Edition {digest.hexdigest()[:12]}, of {commit_date()}.\n".encode(),
        False,
    )
    return made


def commit_time():
    return int(git("log", "-1", "--format=%ct").strip())


def commit_date():
    return git("log", "-1", "--date=short", "--format=%cd").strip()


# ---- is an answer among it? ------------------------------------------------------------------------


def code_lines(data):
    """The lines that say something: no comments, blanks, #include or lone brackets. Spaces do not count."""
    text = data.decode(errors="replace")
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    lines = []
    for line in text.splitlines():
        line = re.sub(r"(^|\s)(//|# ).*$", "", line)
        line = re.sub(r"\s+", "", line)
        if len(line) > 3 and not line.startswith(("#", "using", "namespace", "import", "from", "return{}")):
            lines.append(line)
    return lines


def runs(lines):
    for at in range(len(lines) - RUN_LINES + 1):
        part = lines[at : at + RUN_LINES]
        if sum(map(len, part)) >= RUN_CHARACTERS:
            yield "\n".join(part)


def secret_files():
    """{name: bytes}, also of those that git does not track yet."""
    others = git("ls-files", "-z", "--others", "--exclude-standard", "solutions", "fixtures/bugbank").split(
        "\0"
    )
    names = [name for name in tracked() if matches(name, SECRET)]
    names += [name for name in others if name and (ROOT / name).is_file()]
    return {name: (ROOT / name).read_bytes() for name in names}


def leaks(made, secrets=None):
    """Sentences on what of the secret files is in the hand-out `made`. `secrets`: {name: bytes}."""
    secrets = secrets or secret_files()
    whole = {hashlib.sha256(data).digest(): name for name, data in secrets.items() if len(data) > 40}
    answers = {n: data for n, data in secrets.items() if n.endswith(".cpp") and not matches(n, NO_ANSWERS)}
    passages = {run: name for name, data in answers.items() for run in runs(code_lines(data))}
    titles = {}
    for name, data in secrets.items():
        if name.endswith(".py"):
            titles.update({title: (number, name) for number, title in CHECK.findall(data.decode())})
    found = []
    for name in sorted(name for name in made if matches(name, STARTERS)):
        given = {run for run in runs(code_lines(made[name][0])) if run in passages}
        of_answer = list(runs(code_lines(secrets.get(name.replace("exercises", "solutions"), b""))))
        if len(given) > STARTER_SHARE_MAX * len(of_answer):
            found.append(f"{name} holds {len(given)} passages of the answer's {len(of_answer)}")
        for run in given:  # what a starter gives is no secret elsewhere
            del passages[run]
    for name, (data, _) in sorted(made.items()):
        text = data.decode(errors="replace")
        same = whole.get(hashlib.sha256(data).digest())
        if same:
            found.append(f"{name} is {same}")
        elif matches(name, SECRET):
            found.append(f"{name} must not be handed out")
        elif name not in CONTRACTS:
            found += [
                f"{name} names check {titles[t][0]} of {titles[t][1]}: {t}" for t in titles if t in text
            ]
            run = next((run for run in runs(code_lines(data)) if run in passages), None)
            if run:
                found.append(f"{name} has a passage of {passages[run]}:\n    " + run.replace("\n", "\n    "))
    return found


# The contracts: whoever fulfils one repeats its declarations.
CONTRACTS = (
    "lb/watch/config_watcher.hpp",
    "lb/config/diff.hpp",
    "lb/reload/rollback.hpp",
    "lb/config/yaml_reader.hpp",
)


# ---- writing ---------------------------------------------------------------------------------------


def write_tree(made, folder):
    """The old tree is replaced at the end, whole."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    beside = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    stamp = commit_time()
    for name, (data, executable) in made.items():
        path = beside / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o755 if executable else 0o644)
        os.utime(path, (stamp, stamp))
    beside.chmod(0o755)
    if folder.exists():
        shutil.rmtree(folder)
    beside.rename(folder)


def archive(made, prefix=NAME):
    """The .tar.gz as bytes."""
    plain, stamp = io.BytesIO(), commit_time()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, (data, executable) in sorted(made.items()):
            entry = tarfile.TarInfo(f"{prefix}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o755 if executable else 0o644, stamp
            tar.addfile(entry, io.BytesIO(data))
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=packed, mode="wb", mtime=0) as file:
        file.write(plain.getvalue())
    return packed.getvalue()


def make(out):
    """Writes both into `out`; what the hand-out holds. Raises Leak, and writes nothing."""
    made = contents()
    found = leaks(made)
    if found:
        raise Leak("\n".join(found))
    write_tree(made, out / NAME)
    (out / f"{NAME}.tar.gz").write_bytes(archive(made))
    return made


def main():
    parser = argparse.ArgumentParser(prog="handout.py", description=__doc__.splitlines()[0])
    parser.add_argument("--out", metavar="DIR", type=pathlib.Path, default=ROOT / "build" / "handout")
    parser.add_argument(
        "--verify", action="store_true", help="also builds it, elsewhere, and compares its scores"
    )
    parser.add_argument("--list", action="store_true", help="prints the names instead of writing anything")
    options = parser.parse_args()
    if options.list:
        print("\n".join(sorted(contents())))
        return 0
    try:
        made = make(options.out.resolve())
    except Leak as leak:
        print(f"handout: not written, it would give answers away:\n{leak}", file=sys.stderr)
        return 1
    size = (options.out / f"{NAME}.tar.gz").stat().st_size
    print(f"{options.out / NAME}: {len(made)} files; {options.out / NAME}.tar.gz: {size >> 10} KiB")
    if git("status", "--porcelain", "--untracked-files=no").strip():
        print("note: it holds changes that are not committed yet")
    if options.verify:
        from lbbatch import verify_handout

        return verify_handout.run(options.out / f"{NAME}.tar.gz")
    return 0


if __name__ == "__main__":
    sys.exit(main())
