"""The course text says what the tree says: excerpts are compared, programs compiled, commands run.

    python3 harness/tests/test_chapters.py --update      take excerpts and tables from the tree again

Markers in chapters/*.md, each for the fenced block (or table) that follows it:

    <!-- from FILE: START ... END -->   the lines of FILE from the first with START to the first after
                                        it with END; } or }; is the one at START's indentation
    <!-- compile -->                    compiles, with the headers of the balancer
    <!-- run -->                        compiles, runs, and prints what the next <!-- output --> block shows
    <!-- session -->                    lines after "$ " (and "> ") are run by one bash, the others are what
                                        they print; ... stands for anything, alone on a line for any lines
    <!-- session: seams -->             the same, where the reference solutions are
    <!-- keys: /a /b -->                rows of `lb/lb schema --markdown`
    <!-- measured -->                   a table of harness/experiments/reuseport.py
"""

import concurrent.futures
import functools
import importlib.util
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "harness"))

from lbharness import paths  # noqa: E402

CHAPTERS = sorted((ROOT / "chapters").glob("*.md"))
MARKER = re.compile(r"^<!-- (from|compile|run|output|session|keys|measured)(?:: (.*?)| (.*?))? ?-->$")
COMPILE = ["g++", "-std=c++23", "-Wall", "-Wextra", "-Werror"]
AGAIN = "if the tree is right: python3 harness/tests/test_chapters.py --update"


@dataclass
class Block:
    file: Path
    line: int  # of the marker, or of the fence without one; 1-based
    kind: str  # of the marker; "" without one
    argument: str
    language: str
    first: int  # the body is lines[first:last] of the file
    last: int
    body: list = field(default_factory=list)

    @property
    def where(self):
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def blocks_of(file):
    lines = file.read_text().splitlines()
    found, number = [], 0
    while number < len(lines):
        kind, argument, start = "", "", number
        if match := MARKER.match(lines[number]):
            kind, argument = match[1], (match[2] or match[3] or "").strip()
            number += 1
        if kind == "keys":
            first = number
            while number < len(lines) and lines[number].startswith("|"):
                number += 1
            found.append(Block(file, start + 1, kind, argument, "", first, number, lines[first:number]))
        elif number < len(lines) and lines[number].startswith("```"):
            language, first = lines[number][3:], number + 1
            number = first
            while lines[number] != "```":
                number += 1
            found.append(Block(file, start + 1, kind, argument, language, first, number, lines[first:number]))
            number += 1
        else:
            assert not kind, f"{file.name}:{start + 1}: nothing follows the marker"
            number += 1
    return found


BLOCKS = [block for file in CHAPTERS for block in blocks_of(file)]


def of_kind(kind):
    return [block for block in BLOCKS if block.kind == kind]


def by_place(block):
    return f"{block.file.stem}-{block.line}"


# ---- excerpts ----


def indentation(line):
    return len(line) - len(line.lstrip())


def excerpt(argument):
    """The lines that a `from` marker asks for, without common indentation."""
    name, _, anchors = argument.partition(": ")
    start, _, end = anchors.partition(" ... ")
    lines = (ROOT / name).read_text().splitlines()
    first = next((i for i, line in enumerate(lines) if start in line), None)
    assert first is not None, f"{name} has no line with: {start}"
    last = first
    if end in ("}", "};"):
        closing = " " * indentation(lines[first]) + end
        last = next((i for i, line in enumerate(lines) if i > first and line == closing), None)
    elif end:
        last = next((i for i, line in enumerate(lines) if i > first and end in line), None)
    assert last is not None, f"{name} has no line with {end} after: {start}"
    return textwrap.dedent("\n".join(lines[first : last + 1])).split("\n")


@functools.lru_cache(maxsize=None)
def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout


def key_rows(argument):
    """The rows of the reference table for these keys, with its head."""
    table = output_of(paths.lb_binary(), "schema", "--markdown").splitlines()
    rows = {re.match(r"\| `([^`]+)`", row)[1]: row for row in table[2:] if row.startswith("| `")}
    missing = [key for key in argument.split() if key not in rows]
    assert not missing, f"no such keys: {missing}"
    return table[:2] + [rows[key] for key in argument.split()]


SOURCES = {"from": excerpt, "keys": key_rows}


def update():
    for file in CHAPTERS:
        lines = file.read_text().splitlines()
        changed = 0
        for block in reversed(blocks_of(file)):
            if block.kind in SOURCES:
                body = SOURCES[block.kind](block.argument)
                changed += body != block.body
                lines[block.first : block.last] = body
        file.write_text("\n".join(lines) + "\n")
        print(f"{file.relative_to(ROOT)}: {changed} blocks changed")


if __name__ == "__main__":
    if sys.argv[1:] != ["--update"]:
        sys.exit(__doc__)
    update()
    sys.exit()

import pytest  # noqa: E402  (--update does without)


@pytest.mark.parametrize("block", of_kind("from") + of_kind("keys"), ids=by_place)
def test_the_excerpt_is_what_the_tree_has(block):
    assert block.body == SOURCES[block.kind](block.argument), f"{block.where} has drifted; {AGAIN}"


def test_every_program_is_tested():
    loose = [b.where for b in BLOCKS if b.language in ("cpp", "json", "console") and not b.kind]
    assert not loose, f"code without a marker above it: {loose}"


# ---- programs ----


def build(block, directory):
    """(compiler's complaints, program or None)"""
    source = directory / f"{by_place(block)}.cpp"
    source.write_text("\n".join(block.body) + "\n")
    program = source.with_suffix("")
    how = ["-o", program] if block.kind == "run" else ["-fsyntax-only", "-I", ROOT]
    done = subprocess.run([*COMPILE, source, *how], capture_output=True, text=True, timeout=60)
    return done.stderr, program if done.returncode == 0 else None


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    directory = tmp_path_factory.mktemp("chapters")
    programs = of_kind("compile") + of_kind("run")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        return dict(zip(map(by_place, programs), pool.map(lambda b: build(b, directory), programs)))


@pytest.mark.parametrize("block", of_kind("compile"), ids=by_place)
def test_the_program_compiles(block, built):
    complaints, program = built[by_place(block)]
    assert program, f"{block.where}\n{complaints}"


@pytest.mark.parametrize("block", of_kind("run"), ids=by_place)
def test_the_program_prints_what_the_text_says(block, built):
    complaints, program = built[by_place(block)]
    assert program, f"{block.where}\n{complaints}"
    done = subprocess.run([program], capture_output=True, text=True, timeout=20)
    expected = BLOCKS[BLOCKS.index(block) + 1]
    assert expected.kind == "output", f"{block.where}: no output block follows"
    assert done.returncode == 0 and done.stdout.splitlines() == expected.body, f"{block.where}: {done}"


# ---- sessions and commands ----


def steps_of(block):
    """[(command, expected lines)]"""
    steps = []
    for line in block.body:
        if line.startswith("$ "):
            steps.append((line[2:], []))
        elif line.startswith("> ") and not steps[-1][1]:
            steps[-1] = (steps[-1][0] + "\n" + line[2:], [])
        else:
            steps[-1][1].append(line)
    return steps


def pattern(lines):
    text = ""
    for line in lines:
        text += "(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + "\n"
    return text


@pytest.mark.parametrize("block", of_kind("session"), ids=by_place)
def test_the_session_goes_as_shown(block, tmp_path):
    if block.argument == "seams" and not (ROOT / "solutions").exists():
        pytest.skip("needs the reference solutions")
    (tmp_path / "lb").mkdir()
    (tmp_path / "lb" / "lb").symlink_to(paths.lb_binary())
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    steps = steps_of(block)
    script = "trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT\nexec 2>&1\n"
    for number, (command, _) in enumerate(steps):
        script += f"echo '=== {number}'\n{command}\n"
    shell = subprocess.Popen(["bash", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
                             env={**os.environ, "LC_ALL": "C"}, start_new_session=True)  # fmt: skip
    try:
        output, _ = shell.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(shell.pid, signal.SIGTERM)
        output, _ = shell.communicate(timeout=20)
    seen = re.split(r"^=== \d+\n", output, flags=re.M)[1:]
    assert len(seen) == len(steps), f"{block.where}: it did not end\n{output}"
    for (command, expected), text in zip(steps, seen):
        assert re.fullmatch(pattern(expected), text), f"{block.where}: $ {command}\n{text}"


def shell_lines():
    return [(b, line) for b in BLOCKS if b.language == "sh" for line in b.body if line.strip()]


@pytest.mark.parametrize("block,line", shell_lines(), ids=lambda v: v if isinstance(v, str) else by_place(v))
def test_the_command_exists(block, line):
    program, *arguments = shlex.split(line)
    if program == "make":
        dry = ["make", "-n", *arguments]
        done = subprocess.run(dry, cwd=ROOT, capture_output=True, text=True, timeout=20)
        assert done.returncode == 0, f"{block.where}: {line}\n{done.stderr}"
        passed_on = [a.partition("=")[2] for a in arguments if a.startswith("ARGS=")]
        if not passed_on:
            return
        program, arguments = "harness/experiments/reuseport.py", passed_on[0].split()
    executable = paths.lb_binary() if program == "lb/lb" else ROOT / program
    subcommand = [a for a in arguments[:1] if not a.startswith("-")]
    shown = output_of(executable, *subcommand, "--help")
    for option in (a for a in arguments if a.startswith("--")):
        assert re.search(re.escape(option) + r"\b", shown), f"{block.where}: {program} has no {option}"


# ---- paths ----

TOP = "lb|harness|chapters|exercises|solutions|fixtures|tools|cmake"
PLACE = re.compile(rf"(?<![\w/.:-])((?:{TOP})/[\w./-]*\w)")
NOT_HANDED_OUT = ("solutions/", "fixtures/bugbank/")


@pytest.mark.parametrize("file", CHAPTERS, ids=lambda f: f.stem)
def test_every_path_exists(file):
    named = set(PLACE.findall(file.read_text())) - {"lb/lb"}
    if not (ROOT / "solutions").exists():
        named = {name for name in named if not name.startswith(NOT_HANDED_OUT)}
    missing = sorted(name for name in named if not (ROOT / name).exists())
    assert not missing, f"{file.name} names what is not there: {missing}"


@pytest.mark.parametrize("file", CHAPTERS, ids=lambda f: f.stem)
def test_every_section_that_is_linked_exists(file):
    text = file.read_text()
    heads = re.findall(r"^#+ (.*)", text, re.M)
    anchors = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}
    assert not set(re.findall(r"\]\(#([^)]+)\)", text)) - anchors


# ---- the experiment ----


def driver():
    spec = importlib.util.spec_from_file_location("reuseport", ROOT / "harness/experiments/reuseport.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["reuseport"] = module
    spec.loader.exec_module(module)
    return module


def test_the_measured_table_is_one_of_the_experiment():
    reuseport = driver()
    (block,) = of_kind("measured")
    head = next(line for line in reuseport.table([]) if line)
    assert block.body[0] == head
    rows = {way.title: row for way, row in zip(reuseport.WAYS, block.body[1:])}
    assert len(block.body) - 1 == len(reuseport.WAYS)
    for title, row in rows.items():
        assert row.startswith(f"{title:<37}"), row


@pytest.fixture(scope="module")
def experiment():
    """Two reloads of the ways that differ most: {name: result}."""
    server = driver().SERVER
    if not server.exists():
        pytest.skip(f"{server} is not built: tools/build.sh release reuseport_server")
    command = [sys.executable, ROOT / "harness/experiments/reuseport.py", "--json", "--reloads", "2",
               "--only", "restart,rebind,shrink,adopt,share"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done
    return {way["way"]: way for way in json.loads(done.stdout)["ways"]}


def test_restart_rebind_and_shrink_lose(experiment):
    """The positive controls: a measurement that cannot find these losses measures nothing."""
    assert experiment["restart"]["refused"] > 0
    assert experiment["rebind"]["reset"] > 0 and experiment["rebind"]["refused"] == 0
    assert experiment["shrink"]["reset"] > 0


def test_inherited_sockets_lose_nothing(experiment):
    for way in ("adopt", "share"):
        assert experiment[way]["lost"] == 0 and experiment[way]["in_queue"] > 0, experiment[way]


def test_every_generation_answered(experiment):
    for way in experiment.values():
        assert way["reloads"] == 2 and set(way["per_generation"]) == {"0", "1", "2"}, way


def test_the_experiment_refuses_what_it_cannot_do():
    command = [sys.executable, ROOT / "harness/experiments/reuseport.py"]
    for wrong in (["--only", "magic"], ["--reloads", "0"], ["--clients", "100000"]):
        assert subprocess.run([*command, *wrong], capture_output=True).returncode == 2
