#!/usr/bin/env python3
"""Every linter, with one line for each that is content and its complaints for each that is not.

  tools/lint.py [--format]

--format rewrites the C++ files as clang-format wants them, and does nothing else.
"""
import argparse
import collections
import concurrent.futures
import os
import subprocess
import sys
import time

import sources

ROOT = sources.ROOT
CLANG_FORMAT = "clang-format-19"
LINE_LENGTH = 110
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def is_shell(path):
    if path.suffix == ".sh":
        return True
    if path.suffix or path.parts[0] == "fixtures":
        return False
    with open(ROOT / path, "rb") as file:
        return b"sh" in file.readline(40).split(b"#!")[-1] if file.read(2) == b"#!" else False


def call(*command):
    """(whether it succeeded, its output)"""
    done = subprocess.run([str(word) for word in command], cwd=ROOT, stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return done.returncode == 0, done.stdout.rstrip()


def in_parts(files, *command):
    """The command on all files, in as many processes as there are processors."""
    parts = [part for part in (files[start::CPUS] for start in range(CPUS)) if part]
    with concurrent.futures.ThreadPoolExecutor(CPUS) as pool:
        answers = list(pool.map(lambda part: call(*command, *part), parts))
    return all(good for good, _ in answers), "\n".join(text for _, text in answers if text)


def check_format():
    good, text = in_parts(sources.tracked(suffixes=set(sources.CPP)), CLANG_FORMAT, "--dry-run", "-Werror")
    places = [line.split(": error")[0] for line in text.splitlines() if ": error: " in line]
    counts = collections.Counter(place.split(":")[0] for place in places)
    lines = [f"{file}: {count} places" for file, count in sorted(counts.items())]
    return good, "\n".join([*lines, "make format puts it right."]) if counts else text


def check_python():
    files = sources.tracked(suffixes={".py"})
    return call("flake8", f"--max-line-length={LINE_LENGTH}", "--extend-ignore=E203,W503", *files)


def check_shell():
    files = [path for path in sources.tracked() if is_shell(path)]
    for file in files:
        good, text = call("bash", "-n", file)
        if not good:
            return good, text
    return call("shellcheck", *files)


def check_includes():
    return call(sys.executable, "tools/check_includes.py")


def check_style():
    return call(sys.executable, "tools/check_style.py")


def check_tidy():
    # The compiler's flags come from the configured build; nothing has to be compiled for it.
    good, text = call("tools/build.sh", "release", "-t", "targets", "depth", "0")
    return call(sys.executable, "tools/tidy.py") if good else (good, text)


CHECKS = (("clang-format", check_format), ("include rule", check_includes), ("style", check_style),
          ("Python", check_python), ("shell", check_shell), ("clang-tidy", check_tidy))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", action="store_true")
    if parser.parse_args().format:
        good, text = in_parts(sources.tracked(suffixes=set(sources.CPP)), CLANG_FORMAT, "-i")
        if text:
            print(text)
        return 0 if good else 1
    bad = 0
    for name, check in CHECKS:
        started = time.monotonic()
        good, text = check()
        print(f"  {'ok  ' if good else 'FAIL'}  {name:<13} {time.monotonic() - started:5.1f} s", flush=True)
        if not good:
            bad += 1
            print(text + "\n", flush=True)
    print("lint: clean" if not bad else f"lint: {bad} of {len(CHECKS)} linters complain")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
