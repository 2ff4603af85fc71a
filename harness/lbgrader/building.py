"""Builds the programs of one submission against the libraries of this tree.

Only the four files of a submission are taken, copied to a folder of their own: whatever else lies beside
them, changed headers and tests included, is not seen by the compiler. The commands are those of the targets
lab_student_SEAM_runner (preset asan) and lab_student_SEAM_lb (release) of cmake/labs.cmake, with the file and
the outputs exchanged, so that any number of submissions can be built from one configured tree, also at the
same time. One ninja call brings the tree's own libraries up to date, one more each program.
"""
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import os
import pathlib
import re
import resource
import signal
import stat
import subprocess
import sys
import time

from . import explain
from .check import ROOT, SEAMS, TOGETHER, CouldNotGrade, source_name

PRESETS = {"runner": "asan", "lb": "release"}
TOOLS = ("lb_backend", "lb_traffic", "lb_ledger")  # of the stage zero-drop
JUDGES = {"diff": ("config_keys",)}  # of the preset release: what the checks of a seam ask
SOURCE_BYTES_MAX = 1 << 20
COMPILE_SECONDS_MAX = 120
BASE_SECONDS_MAX = 1800
SILENT_SECONDS_MAX = 5
COMPILE_MEMORY_MAX = 6 << 30
_FORBIDDEN = re.compile(rb'^[ \t]*(?:#|%:)[ \t]*include(?:_next)?[ \t]*'
                        rb'["<]((?:/|[^">]*\.\./|solutions/|fixtures/)[^">]*)',
                        re.M)


@dataclasses.dataclass
class Refused(Exception):
    """The submission cannot be built: whose fault, and why in the words for its story."""

    state: str  # "missing", "does not compile" or "not accepted"
    sentence: str
    usually: str = ""
    log: str = ""


@dataclasses.dataclass(frozen=True)
class Template:
    """How CMake builds one program of the labs: its commands and what they need."""

    folder: pathlib.Path
    sources: tuple  # (seam, object, command) of each file that a submission brings
    link: str
    output: str
    needs: tuple  # outputs of the tree's build that the link reads


def _ninja(folder, *arguments):
    done = subprocess.run(["ninja", "-C", str(folder), *arguments], capture_output=True, text=True,
                          check=False)
    return done.stdout if done.returncode == 0 else None


def template(seam, kind):
    """Of the runner or the balancer of one exercise, or of all ("together")."""
    folder = ROOT / "build" / PRESETS[kind]
    try:
        stamp = (folder / "build.ninja").stat().st_mtime_ns
    except OSError as error:
        raise CouldNotGrade(f"{folder} is not configured", "environment") from error
    return _template(folder, seam, kind, stamp)


@functools.lru_cache(maxsize=None)
def _template(folder, seam, kind, _stamp):
    everything = seam == SEAMS[TOGETHER]
    names = ["lab_student_all_lb"] if everything else [f"lab_student_{seam}_{kind}",
                                                       f"lab_case_{seam}_{seam}_{kind}"]
    for name in names:
        query = _ninja(folder, "-t", "query", f"labs/{name}")
        if query is not None:
            break
    else:
        raise CouldNotGrade(f"the tree has no target {names[0]} (no starter, no {seam}_runner.cpp?)")
    inputs = query.split("outputs:")[0].splitlines()[2:]
    inputs = [line.strip().lstrip("| ") for line in inputs if line.strip() and "||" not in line]
    sources, needs = [], []
    for one in inputs:
        own = [s for n, s in SEAMS.items()
               if one.endswith(f"/{n}_{s}/{s}.cpp.o") and (everything or s == seam)]
        if own and f"/{name}.dir/" in f"/{one}":
            command = _ninja(folder, "-t", "commands", "-s", one)
            sources.append((own[0], one, command.split("\n", 1)[-1].strip() if "Entering" in command
                            else command.strip()))
        elif not one.startswith("/"):
            needs.append(one)
    if everything and len(sources) != len(SEAMS) - 1:
        taken = ", ".join(one for one, *_ in sources)
        raise CouldNotGrade(f"{name} of the tree takes only {taken} from a submission")
    link = _ninja(folder, "-t", "commands", "-s", f"labs/{name}").strip().splitlines()[-1]
    return Template(folder, tuple(sources), link, f"labs/{name}", tuple(dict.fromkeys(needs)))


# ---- the tree's own part ---------------------------------------------------------------------------


def balancer_is_there():
    """Whether the balancer's libraries were ever built: if not, that takes minutes."""
    return (ROOT / "build" / PRESETS["lb"] / "lb" / "main" / "liblb_main.a").exists()


def build_base(seams, kinds=("runner", "lb"), tools=True):
    """Brings up to date what the programs of these seams are linked with; one ninja call for each preset."""
    for kind in kinds if seams else ():
        preset = PRESETS[kind]
        if not (ROOT / "build" / preset / "build.ninja").exists():
            _base_call(preset, ["lab_wire"])
        targets = [need for seam in seams if kind == "lb" or seam != SEAMS[TOGETHER]
                   for need in template(seam, kind).needs]
        targets += TOOLS if kind == "lb" and tools else ()
        if targets:
            _base_call(preset, sorted(set(targets)))


def build_judges(seams):
    targets = [program for seam in seams for program in JUDGES.get(seam, ())]
    if targets:
        _base_call("release", targets)


def build_targets(preset, targets):
    """For verify-labs: targets of cmake/labs.cmake by name."""
    _base_call(preset, targets)


@contextlib.contextmanager
def _locked(preset):
    """Two graders do not run ninja in one folder at the same time."""
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    with open(folder / f".{preset}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _base_call(preset, targets):
    with _locked(preset), subprocess.Popen(
            ["tools/build.sh", preset, *targets], cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True) as build:
        try:
            output = _output_of(build)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(build.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            raise CouldNotGrade(f"the balancer's own build (preset {preset}) did not end",
                                "environment") from error
    if build.returncode != 0:
        sentence, _, lines = explain.compile_error(output, "the tree")
        error = CouldNotGrade(f"the tree around the exercises does not compile: {sentence}", "environment")
        error.log = lines
        raise error


_told = []


def _output_of(build):
    """What it prints, when it has ended. Whoever waits for long is told why, once."""
    try:
        return build.communicate(timeout=SILENT_SECONDS_MAX)[0]
    except subprocess.TimeoutExpired:
        if not _told:
            print("building what surrounds the exercises: at first that takes minutes", file=sys.stderr,
                  flush=True)
        _told.append(build.args)
    return build.communicate(timeout=BASE_SECONDS_MAX)[0]


# ---- the submission's part -------------------------------------------------------------------------


class Workshop:
    """The build folder of one submission: build/grade/KEY. `notes` says what was found beside the four
    files."""

    def __init__(self, submission, folder=None):
        self.submission = pathlib.Path(submission)
        key = ("student" if self.submission.resolve() == (ROOT / "exercises" / "ch10").resolve()
               else hashlib.sha256(str(self.submission.resolve()).encode()).hexdigest()[:16])
        self.folder = pathlib.Path(folder or ROOT / "build" / "grade") / key
        self.folder.mkdir(parents=True, exist_ok=True)

    def stage(self, exercise):
        """Copies the file of one exercise; Refused when there is none that could be compiled."""
        name = source_name(exercise)
        origin = self.submission / name
        target = self.folder / "src" / name
        try:
            mode = os.lstat(origin).st_mode
            if stat.S_ISLNK(mode) and self.submission.resolve() in origin.resolve().parents:
                mode = os.stat(origin).st_mode
        except OSError:
            raise Refused("missing", f"{name} is missing{self._likely(exercise)}",
                          "the file was renamed, or lies in another folder") from None
        if not stat.S_ISREG(mode):
            raise Refused("not accepted", f"{name} is no plain file")
        if os.stat(origin).st_size > SOURCE_BYTES_MAX:
            raise Refused("not accepted", f"{name} is larger than {SOURCE_BYTES_MAX >> 10} KiB")
        text = origin.read_bytes()
        if text[:2] in (b"\xff\xfe", b"\xfe\xff"):
            raise Refused("does not compile", f"{name} is UTF-16", "the editor's encoding: save it as UTF-8")
        text = text.removeprefix(b"\xef\xbb\xbf").replace(b"\r\n", b"\n")
        if not text.strip():
            raise Refused("missing", f"{name} is empty")
        forbidden = _FORBIDDEN.search(text)
        if forbidden:
            raise Refused("not accepted", f"{name} includes {forbidden.group(1).decode(errors='replace')}",
                          "a submission may include the system's headers and those of lb/")
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists() or target.read_bytes() != text:
            target.write_bytes(text)
        return target

    def _likely(self, exercise):
        """What lies there instead, for the sentence."""
        seam = SEAMS[exercise]
        near = sorted(p.relative_to(self.submission).as_posix()
                      for p in self.submission.glob(f"{exercise}_{seam}/*")
                      if p.suffix in (".cpp", ".cc", ".cxx", ".CPP", ".txt", ".c", ".hpp"))
        near += sorted(p.relative_to(self.submission).as_posix()
                       for p in self.submission.glob(f"**/{seam}.cpp"))[:3]
        return f"; there is {', '.join(near[:3])}" if near else ""

    def notes(self):
        """Sentences about files that are not used."""
        known = {source_name(n) for n in SEAMS if n != TOGETHER}
        mine = re.compile(r"^(\d_\w+/)?(README\.md|hints\.md|checks\.py|together\.py|.*\.pyc|\.[^/]*)$")
        extra = []
        with contextlib.suppress(OSError):
            for folder, folders, files in os.walk(self.submission):
                folders[:] = [f for f in folders if f not in ("__pycache__", ".git", "build")]
                for file in files:
                    path = (pathlib.Path(folder) / file).relative_to(self.submission).as_posix()
                    if path not in known and not mine.match(path):
                        extra.append(path)
                if len(extra) > 100:
                    break
        if not extra:
            return []
        more = f" and {len(extra) - 3} more" if len(extra) > 3 else ""
        some = ", ".join(sorted(extra)[:3])
        return [f"not used: {some}{more} (of a submission only the four exercise files are)"]

    def start(self, exercise, kind):
        """Begins to build a program in the background."""
        seam = SEAMS[exercise]
        seams = [n for n in SEAMS if n != TOGETHER] if exercise == TOGETHER else [exercise]
        files = {SEAMS[n]: self.stage(n) for n in seams}
        folder = self.folder / f"{exercise}_{seam}" / kind
        folder.mkdir(parents=True, exist_ok=True)
        made = template(seam, kind)
        _write_if_new(folder / "build.ninja", _ninja_file(made, files, folder))
        return Building(folder, files[seam].name if seam in files else "the four files", self.folder / "src")


def _ninja_file(made, files, folder):
    text = ["ninja_required_version = 1.5", "rule compile", "  command = $cmd", "  depfile = $out.d",
            "  deps = gcc",
            "rule link", "  command = $cmd"]
    link, objects = made.link, []
    for seam, template_object, command in made.sources:
        new = str(folder / f"{seam}.o")
        words = command.replace(template_object, new).replace(" -Werror ", " ")
        words = re.sub(r" -c \S+$", f" -c {files[seam]}", words)
        objects.append(new)
        link = link.replace(f" {template_object} ", f" {new} ")
        text += [f"build {new}: compile {files[seam]}",
                 f"  cmd = cd {made.folder} && {words.replace('$', '$$')}"]
    link = link.replace(f"-o {made.output} ",
                        f"-o {folder / 'program'} ").removeprefix(": && ").removesuffix(" && :")
    needs = " ".join(str(made.folder / need) for need in made.needs)
    text += [f"build {folder / 'program'}: link {' '.join(objects)} | {needs}",
             f"  cmd = cd {made.folder} && {link.replace('$', '$$')}", f"default {folder / 'program'}", ""]
    return "\n".join(text)


def _write_if_new(path, text):
    if not path.exists() or path.read_text() != text:
        path.write_text(text)


def _compiler_limits():
    resource.setrlimit(resource.RLIMIT_CPU, (COMPILE_SECONDS_MAX, COMPILE_SECONDS_MAX))
    resource.setrlimit(resource.RLIMIT_AS, (COMPILE_MEMORY_MAX, COMPILE_MEMORY_MAX))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 30, 1 << 30))


class Building:
    """One program that is being built."""

    def __init__(self, folder, name, sources):
        self.sources, self.folder, self.name, self.warnings = sources, folder, name, []
        self._began = time.monotonic()
        self._log = open(folder / "build.log", "w+b")
        self._child = subprocess.Popen(["ninja", "-j", "2", "-C", str(folder)], stdin=subprocess.DEVNULL,
                                       stdout=self._log, stderr=subprocess.STDOUT, start_new_session=True,
                                       preexec_fn=_compiler_limits)

    def finish(self):
        """The program's path; Refused when it does not compile."""
        try:
            status = self._child.wait(timeout=max(1.0, self._began + COMPILE_SECONDS_MAX - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise Refused("does not compile", f"the compiler did not end within {COMPILE_SECONDS_MAX} s",
                          "a template or constant expression without end") from None
        finally:
            self.stop()
        output = (self.folder / "build.log").read_text(errors="replace").replace(f"{self.sources}/", "")
        if status != 0:
            raise Refused("does not compile", *explain.compile_error(output, self.name))
        self.warnings = explain.compile_warnings(output)
        return self.folder / "program"

    def stop(self):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._child.wait()
        self._log.close()
