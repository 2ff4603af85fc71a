#!/usr/bin/env python3
"""Builds and runs the tests, shows what failed, and counts.

  tools/check.py [--fuzz-seconds N] [--pytest-args ARGS] [STEP...]

Steps, in this order; all of them when none is named:
  unit    every unit test, optimised build
  pytest  harness/tests against the real programs
  asan    every unit test under AddressSanitizer and UndefinedBehaviorSanitizer
  tsan    the tests of the modules where threads meet, under ThreadSanitizer
  fuzz    each libFuzzer target for N seconds, from its corpus
  labs    the grader of the labs against right, wrong and hostile answers (make verify-labs)

The log of each step is kept in build/logs/, with build/logs/summary.json for other programs. The last line
is "N passed, N failed[, N skipped]". Exit status 0 only when something ran and nothing failed.
"""
import argparse
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import re
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
LOGS = ROOT / "build" / "logs"
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
BUILD_SECONDS_MAX = 1800
PROGRAM_SECONDS_MAX = 600
PYTEST_SECONDS_MAX = 1200
LABS_SECONDS_MAX = 1800
EXCERPT_LINES_MAX = 120
FUZZ_QUICK_SECONDS_MAX = 10
CLANG = "clang++-19"


@dataclasses.dataclass
class Outcome:
    """What one program, or one step, came to."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    excerpts: list = dataclasses.field(default_factory=list)  # (title, text) of each failure
    notes: list = dataclasses.field(default_factory=list)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.excerpts += other.excerpts
        self.notes += other.notes

    def counts(self):
        text = f"{self.passed} passed, {self.failed} failed"
        return text + (f", {self.skipped} skipped" if self.skipped else "")

    @staticmethod
    def failure(title, text):
        return Outcome(failed=1, excerpts=[(title, text)])


running = set()  # Our children that have not ended, so that an interruption can end them.


def run(command, log, seconds_max, env=None):
    """Runs a command in a session of its own, its output in the file `log`; (exit status, output, seconds).

    At the deadline, or when we are interrupted, the whole process group ends. Status None: deadline.
    """
    started = time.monotonic()
    with open(log, "wb") as out:
        child = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **(env or {})}, start_new_session=True,
                                 stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT)
        running.add(child)
        try:
            status = child.wait(timeout=seconds_max)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end_group(child)
            running.discard(child)
    return status, pathlib.Path(log).read_text(errors="replace"), time.monotonic() - started


def interrupt(_number, _frame):
    """Ctrl-C and TERM: what we started lives in sessions of its own and would not hear of it."""
    for child in list(running):
        end_group(child)
    os._exit(130)


def end_group(child):
    """Ends the child's process group: first politely, so that test suites can stop what they started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except (ProcessLookupError, PermissionError):
            break
        deadline = time.monotonic() + 5
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)


def tail(text, lines=EXCERPT_LINES_MAX):
    kept = text.rstrip().splitlines()
    return "\n".join((["..."] if len(kept) > lines else []) + kept[-lines:])


def complaint(output):
    """The part of a crashed program's output that tells why: from a sanitizer's report on, else the end."""
    report = re.search(r"^.*(?:WARNING: ThreadSanitizer|ERROR: \w+Sanitizer|: runtime error: |LB_ASSERT)",
                       output, re.M)
    if not report:
        return tail(output)
    return "\n".join(output[report.start():].splitlines()[:EXCERPT_LINES_MAX])


# What each step needs built: preset, group of targets, and what belongs to no group. Those of the labs are
# known to their verifier.
BUILDS = {
    "unit": ("release", "unit_tests"),
    "asan": ("sanitize", "unit_tests"),
    "tsan": ("tsan", "thread_tests"),
    "fuzz": ("sanitize", "fuzzers"),  # for FUZZ_QUICK_SECONDS_MAX; beyond that the optimised preset
    "pytest": ("release", "programs", "crash_lb"),
}


def build_of(step, fuzz_seconds):
    """What a step needs built: preset and targets, the group of programs first."""
    if step == "fuzz" and fuzz_seconds > FUZZ_QUICK_SECONDS_MAX:
        return "fuzz", "fuzzers"
    return BUILDS[step]


def labs_are_here():
    return (ROOT / "harness" / "verify_labs.py").exists() and (ROOT / "solutions").exists()


def has_compiler(step):
    """The sanitizers' builds are clang's, which takes half of GCC's time with them."""
    return step not in ("asan", "tsan", "fuzz") or shutil.which(CLANG) is not None


def without_compiler():
    return Outcome(skipped=1, notes=[f"{CLANG} is not installed (make setup)"])


class Builder:
    """Builds for the steps to come while those before them run their tests, which wait more than compute.
    One build at a time, in the order of the steps, and the tests have precedence (nice)."""

    def __init__(self):
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.results = {}

    def begin(self, steps, fuzz_seconds):
        for step in steps:
            if not has_compiler(step):
                continue
            if step in BUILDS:
                preset, *targets = build_of(step, fuzz_seconds)
                self.results[step] = self.pool.submit(self._build, f"preset {preset}, {targets[0]}",
                                                      ["tools/build.sh", preset, *targets])
            if step == "labs" and labs_are_here():
                self.results[step] = self.pool.submit(
                    self._build, "the labs' known answers",
                    ["tools/python.sh", "harness/verify_labs.py", "right", "wrong", "--build"])

    def result(self, step):
        """(failure or None, seconds that it took)"""
        return self.results[step].result()

    @staticmethod
    def _build(what, command):
        log = LOGS / f"build-{re.sub('[^a-z_]+', '-', what)}.log"
        status, output, seconds = run(["nice", "-n", "10", *command], log, BUILD_SECONDS_MAX)
        if status == 0:
            return None, seconds
        return Outcome.failure(f"build of {what}", tail(output)), seconds


builder = Builder()


# So that no core idles at the end.
LONGEST_FIRST = ("supervisor_test", "balance_test", "proxy_test", "traffic_test")


def programs(preset, group):
    listing = ROOT / "build" / preset / "groups.txt"
    pairs = (line.split(" ", 1) for line in listing.read_text().splitlines() if line)
    return sorted((pathlib.Path(path) for name, path in pairs if name == group),
                  key=lambda path: (path.name not in LONGEST_FIRST, path))


def ended(status):
    if status is None:
        return "did not end in time"
    return f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def without_random_addresses():
    """A command prefix for ThreadSanitizer: GCC 12's refuses to start where the kernel randomises addresses
    by more than 28 bits, so it gets a process without randomisation where that is so and is permitted."""
    try:
        bits = int(pathlib.Path("/proc/sys/vm/mmap_rnd_bits").read_text())
    except (OSError, ValueError):
        return []
    prefix = ["setarch", "-R"]
    if bits <= 28 or not shutil.which(prefix[0]):
        return []
    allowed = subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0
    return prefix if allowed else []


def run_gtest(program, preset, env, prefix=()):
    """Runs one unit test program; counted from its output, so that a crash half-way is counted too."""
    name = program.name
    status, output, _ = run([*prefix, str(program), "--gtest_color=no"], LOGS / f"{preset}-{name}.log",
                            PROGRAM_SECONDS_MAX, env)
    verdicts = re.findall(r"^\[ +(OK|FAILED|SKIPPED) +\] (\S+?)(?:, where .*)? \(\d+ ms\)$", output, re.M)
    kinds = [verdict for verdict, _ in verdicts]
    outcome = Outcome(kinds.count("OK"), kinds.count("FAILED"), kinds.count("SKIPPED"))
    for verdict, test in verdicts:
        if verdict == "FAILED":
            story = re.search(rf"^\[ RUN +\] {re.escape(test)}$.*?^\[ +FAILED +\] {re.escape(test)}", output,
                              re.M | re.S)
            outcome.excerpts.append((f"{name} ({preset}): {test}", tail(story.group(0) if story else output)))
    if status != 0 and not outcome.failed:
        outcome.add(Outcome.failure(f"{name} ({preset}): {ended(status)}", complaint(output)))
    elif not verdicts:
        outcome.add(Outcome.failure(f"{name} ({preset}): ran no test", tail(output)))
    return outcome


def unit_step(step, env=None, prefix=()):
    if not has_compiler(step):
        return without_compiler()
    preset, group = BUILDS[step]
    failure, build_seconds = builder.result(step)
    if failure:
        return failure
    started = time.monotonic()
    outcome = Outcome()
    with concurrent.futures.ThreadPoolExecutor(CPUS) as pool:
        parts = pool.map(lambda program: run_gtest(program, preset, env, prefix), programs(preset, group))
        for part in parts:
            outcome.add(part)
    if group == "unit_tests" and outcome.passed + outcome.failed == 0:
        outcome.add(Outcome.failure("unit tests", "There is no unit test, which cannot be right."))
    outcome.notes.append(f"built in {build_seconds:.0f} s, ran {time.monotonic() - started:.0f} s")
    return outcome


def step_unit(_options):
    return unit_step("unit")


def step_asan(_options):
    return unit_step("asan", {
        "ASAN_OPTIONS": "detect_stack_use_after_return=1:strict_string_checks=1:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1"})


# Long, and of one thread: distributions and disruptions over many keys, which the other two runs look at.
OF_ONE_THREAD = ("Hashing/KeyMoves.*", "IpHashMany.*", "Sizes/IpHash.*", "SlotOwners.Shares*",
                 "SlotOwners.BothWays*", "Balancer/Distribution.Of*", "Balancer/SlowStartUnder.A*")


def step_tsan(_options):
    options = {"TSAN_OPTIONS": "second_deadlock_stack=1", "GTEST_FILTER": "-" + ":".join(OF_ONE_THREAD)}
    return unit_step("tsan", options, without_random_addresses())


def run_fuzzer(program, seconds):
    """One libFuzzer target for some seconds, from the corpus beside it; what it finds stays in build/fuzz."""
    name = program.name.removesuffix("_fuzz")
    found = ROOT / "build" / "fuzz" / "corpus" / name
    crashes = ROOT / "build" / "fuzz" / "crashes"
    found.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    command = [str(program), f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048",
               "-print_final_stats=1", f"-artifact_prefix={crashes}/{name}-"]
    for folder in {source.parent for source in ROOT.glob(f"lb/*/fuzz/{name}_fuzz.cpp")}:
        # A dictionary of its own, or the one that the folder's targets share.
        dictionaries = sorted(folder.glob(f"{name}.dict")) or sorted(folder.glob("*.dict"))
        command += [f"-dict={dictionary}" for dictionary in dictionaries[:1]]
    command.append(str(found))
    command += [str(path) for path in ROOT.glob(f"lb/*/fuzz/corpus_{name}") if path.is_dir()]
    status, output, _ = run(command, LOGS / f"fuzz-{name}.log", seconds + 60)
    runs = re.search(r"stat::number_of_executed_units: *(\d+)", output)
    if status == 0 and runs and int(runs.group(1)) > 0:
        return Outcome(passed=1, notes=[f"{name} {int(runs.group(1)):,} runs"])
    again = f"\nTo repeat: {program.relative_to(ROOT)} build/fuzz/crashes/{name}-..."
    return Outcome.failure(f"fuzz target {name}: {ended(status)}", complaint(output) + again)


def step_fuzz(options):
    if not has_compiler("fuzz"):
        return without_compiler()
    failure, build_seconds = builder.result("fuzz")
    if failure:
        return failure
    outcome = Outcome()
    with concurrent.futures.ThreadPoolExecutor(CPUS) as pool:
        targets = programs(*build_of("fuzz", options.fuzz_seconds))
        for part in pool.map(lambda program: run_fuzzer(program, options.fuzz_seconds), targets):
            outcome.add(part)
    outcome.notes.insert(0, f"built in {build_seconds:.0f} s, {options.fuzz_seconds} s each")
    return outcome


def step_pytest(options):
    failure, build_seconds = builder.result("pytest")
    if failure:
        return failure
    if not (ROOT / "harness" / "tests").is_dir():
        return Outcome(notes=["no harness/tests"])
    report = LOGS / "pytest.xml"
    report.unlink(missing_ok=True)
    command = ["tools/python.sh", "--needs", "pytest", "-m", "pytest", "-p", "no:cacheprovider", "--color=no",
               f"--junitxml={report}", *shlex.split(options.pytest_args), "harness/tests"]
    status, output, seconds = run(command, LOGS / "pytest.log", PYTEST_SECONDS_MAX)
    outcome = Outcome(notes=[f"built in {build_seconds:.0f} s, ran {seconds:.0f} s"])
    if report.exists():
        for case in xml.etree.ElementTree.parse(report).iter("testcase"):
            kinds = {child.tag for child in case}
            if kinds & {"failure", "error"}:
                outcome.failed += 1
            elif "skipped" in kinds:
                outcome.skipped += 1
            else:
                outcome.passed += 1
    if outcome.failed:
        start = re.search(r"^=+ (FAILURES|ERRORS) =+$", output, re.M)
        outcome.excerpts.append(("pytest", tail(output[start.start():] if start else output, 400)))
    elif status != 0:
        outcome.add(Outcome.failure(f"pytest: {ended(status)}", tail(output)))
    return outcome


def step_labs(_options):
    """Counted from its last line; each of its failures begins with FAILED."""
    if not labs_are_here():
        return Outcome(notes=["no solutions: the students' tree"])
    failure, build_seconds = builder.result("labs")
    if failure:
        return failure
    status, output, seconds = run(["tools/python.sh", "harness/verify_labs.py", "--quick"], LOGS / "labs.log",
                                  LABS_SECONDS_MAX)
    counts = re.search(r"^(\d+) passed, (\d+) failed$", output, re.M)
    if not counts or (status != 0) != (counts.group(2) != "0"):
        return Outcome.failure(f"verify-labs: {ended(status)}", tail(output))
    notes = [f"built in {build_seconds:.0f} s, ran {seconds:.0f} s"]
    outcome = Outcome(int(counts.group(1)), int(counts.group(2)), notes=notes)
    for story in re.findall(r"^FAILED (.*?)$(.*?)(?=^FAILED |^\S.*\d+ s$|\Z)", output, re.M | re.S):
        outcome.excerpts.append((f"labs: {story[0]}", tail(story[1], 40)))
    return outcome


# The step's name, what a reader is told, and the function; in the order of running: cheap answers first.
STEPS = {
    "unit": ("unit tests", step_unit),
    "pytest": ("pytest, harness/tests", step_pytest),  # waits more than it computes: the rest is built
    "asan": ("unit tests, ASan+UBSan", step_asan),
    "tsan": ("unit tests, TSan", step_tsan),
    "fuzz": ("fuzz targets", step_fuzz),
    "labs": ("the labs' grader", step_labs),
}


def colour(text, code):
    return f"\033[{code}m{text}\033[0m" if sys.stdout.isatty() and "NO_COLOR" not in os.environ else text


def run_step(name, options):
    title, step = STEPS[name]
    if sys.stdout.isatty():
        print(f"  ...   {title}", end="\r", flush=True)
    outcome = step(options)
    word = colour("FAIL", 31) if outcome.failed else colour("ok", 32) + "  "
    print(f"  {word}  {title:<24} {outcome.counts():<34} {'; '.join(outcome.notes)}", flush=True)
    for heading, text in outcome.excerpts:
        print(f"\n--- {heading}\n{text}\n", flush=True)
    return outcome


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("steps", nargs="*", metavar="STEP")
    parser.add_argument("--fuzz-seconds", type=int, default=5, metavar="N", help="for each target (5)")
    parser.add_argument("--pytest-args", default="", metavar="ARGS", help="further arguments for pytest")
    options = parser.parse_args()
    unknown = [step for step in options.steps if step not in STEPS]
    if unknown:
        parser.error(f"unknown step {unknown[0]!r}; there are: {', '.join(STEPS)}")
    LOGS.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    total = Outcome()
    steps = {}
    chosen = [step for step in STEPS if not options.steps or step in options.steps]
    builder.begin(chosen, options.fuzz_seconds)
    for name in chosen:
        outcome = run_step(name, options)
        total.add(outcome)
        steps[name] = {"passed": outcome.passed, "failed": outcome.failed, "skipped": outcome.skipped}
    summary = {"passed": total.passed, "failed": total.failed, "skipped": total.skipped, "steps": steps,
               "seconds": round(time.monotonic() - started, 1)}
    (LOGS / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"\n{summary['seconds']:.0f} s; logs in build/logs/")
    print(total.counts())
    return 0 if total.passed and not total.failed else 1


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    sys.exit(main())
