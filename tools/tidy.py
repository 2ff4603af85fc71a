#!/usr/bin/env python3
"""Runs clang-tidy on the C++ files of the tree, in parallel, and remembers which were clean.

  tools/tidy.py [--no-cache] [--times] [FILE...]

A file is looked at again only when it, a project header that it includes (directly or not), .clang-tidy,
its compiler flags or clang-tidy itself changed. Most of the work on a file goes into the standard headers,
so files of one folder are looked at together, as one source that includes them: a quarter of the time. Where
that does not compile (two files use the same private name) they are looked at one by one. Unit tests and
benchmarks are left out: gtest costs seconds a file and trips checks for its own macros; the compiler's
warnings (-Werror) hold there too. Headers are checked through the files that include them. The checks see
declarations of the project only, by a plugin (tools/tidy_scope.cpp); where it cannot be built they see the
standard library's too, and everything takes five times as long.
"""
import argparse
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import time

import sources

ROOT = sources.ROOT
CACHE = ROOT / "build" / "tidy"
CLANG_TIDY = "clang-tidy-19"
CPUS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
FILE_SECONDS_MAX = 300
PLUGIN_SOURCE = ROOT / "tools" / "tidy_scope.cpp"
PLUGIN_HEADERS = "/usr/lib/llvm-19/include"  # of clang-tidy's own version: it has no stable interface
TOGETHER_MIN, TOGETHER_MAX = 3, 8  # fewer are not worth it; more would leave a CPU idle at the end
KEPT_FLAGS = re.compile(r"-(I|D|U|std=|isystem)")  # what clang needs of GCC's command line, and no more


def flags_by_file():
    """Include paths, definitions and language of each file, as CMake knows them for the release build."""
    database = ROOT / "build" / "release" / "compile_commands.json"
    result = {}
    if not database.exists():
        return result
    for entry in json.loads(database.read_text()):
        words = shlex.split(entry["command"])
        kept = []
        for word, following in zip(words, words[1:] + [""]):
            if word in ("-isystem", "-I", "-D"):
                kept += [word, following]
            elif KEPT_FLAGS.match(word) and word not in ("-isystem", "-I", "-D"):
                kept.append(word)
        file = pathlib.Path(entry["file"]).resolve()
        for path in together(file):
            result[path] = kept
    return result


def together(file):
    """The sources that CMake compiles as one (LB_UNITY), or just `file`."""
    if file.parent.name != "Unity":
        return [file]
    return [pathlib.Path(name) for name in re.findall(r'^#include "(/.*)"$', file.read_text(), re.M)]


class Dependencies:
    """A file's project headers, found by reading #include "..." lines, which name paths from ROOT."""

    def __init__(self):
        self.direct = {}

    def of(self, path):
        seen, todo = set(), [path]
        while todo:
            current = todo.pop()
            if current in seen:
                continue
            seen.add(current)
            todo += self._direct(current)
        return sorted(seen)

    def _direct(self, path):
        if path not in self.direct:
            names = re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(errors="replace"), re.M)
            places = [place for name in names for place in (ROOT / name, path.parent / name)]
            self.direct[path] = [place for place in places if place.is_file()]
        return self.direct[path]


def key_of(path, flags, dependencies, common):
    digest = hashlib.sha256(common)
    digest.update(json.dumps([str(path.relative_to(ROOT)), flags]).encode())
    for file in dependencies.of(path):
        digest.update(file.read_bytes())
    return digest.hexdigest()


def plugin_options():
    """Options that load the plugin, built anew when its source or clang-tidy changed; [] where it cannot be
    built, or does not let complaints pass that are known to be right."""
    tool = pathlib.Path(shutil.which(CLANG_TIDY)).resolve()
    digest = hashlib.sha256(PLUGIN_SOURCE.read_bytes() + tool.read_bytes()).hexdigest()[:16]
    plugin = CACHE / f"scope-{digest}.so"
    options = [f"--load={plugin}"]
    if plugin.exists():
        return options
    CACHE.mkdir(parents=True, exist_ok=True)
    unproven = plugin.with_suffix(".new")
    build = ["c++", "-std=c++17", "-fno-rtti", "-fPIC", "-shared", f"-I{PLUGIN_HEADERS}", str(PLUGIN_SOURCE)]
    if subprocess.run([*build, "-o", str(unproven)], capture_output=True, check=False).returncode != 0:
        print("clang-tidy: without the plugin that makes it quick (libclang-19-dev, llvm-19-dev: make setup)")
        return []
    wrong = CACHE / "wrong.cpp"
    wrong.write_text('#include "wrong.hpp"\nint* NotOurWay() { return 0; }\n')
    wrong.with_suffix(".hpp").write_text("#pragma once\nstruct not_our_way {};\n")
    text = run_tidy(wrong, [], f"--load={unproven}", "--config-file=.clang-tidy", "--header-filter=.*")
    expected = ("wrong.cpp:2:6", "wrong.cpp:2:27", "wrong.hpp:2:8")
    if not all(place in text for place in expected):
        print(f"clang-tidy: the plugin that makes it quick does not work and is not used\n{text}")
        return []
    unproven.rename(plugin)
    return options


def run_tidy(path, flags, *options):
    """Complaints or "". `path`: a file of the project, or one that includes some."""
    command = [CLANG_TIDY, "--quiet", *options, str(path), "--", "-x", "c++", *flags, "-Wno-everything"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                              timeout=FILE_SECONDS_MAX, check=False)
    except subprocess.TimeoutExpired:
        return f"{path.relative_to(ROOT)}: {CLANG_TIDY} took more than {FILE_SECONDS_MAX} s"
    if done.returncode == 0:
        return ""
    text = done.stdout.strip() or done.stderr.strip() or f"{CLANG_TIDY} failed with status {done.returncode}"
    return text.replace(f"{ROOT}/", "")


def tidy(paths, flags, plugin):
    """(paths, complaints or "", seconds)"""
    started = time.monotonic()
    text = ""
    if len(paths) > 1:
        name = hashlib.sha256("\n".join(map(str, paths)).encode()).hexdigest()
        unity = CACHE / "together" / f"{name}.cpp"
        unity.parent.mkdir(parents=True, exist_ok=True)
        unity.write_text("".join(f'#include "{path}"\n' for path in paths))
        text = run_tidy(unity, flags, *plugin, "--config-file=.clang-tidy",
                        "--checks=-bugprone-suspicious-include",
                        "--header-filter=/(lb|harness|solutions|exercises)/")
    if len(paths) == 1 or text:  # one by one the complaints name the file, and names do not meet
        text = "\n".join(filter(None, (run_tidy(path, flags, *plugin) for path in paths)))
    return paths, text, time.monotonic() - started


def groups(files, flags_of):
    """Files of one folder with the same flags together, and the rest alone; the biggest group first, so that
    the last one to end is a short one."""
    folders = {}
    for path in sorted(files):
        # A program's main() and a fuzz target have names that all others of their kind have too.
        alone = "fuzz" in path.parts or path.stem == "main" or path.stem.endswith("_main")
        folders.setdefault((path.parent, tuple(flags_of(path)), path if alone else None), []).append(path)
    result = []
    for paths in folders.values():
        size = TOGETHER_MAX if len(paths) >= TOGETHER_MIN else 1
        count = -(-len(paths) // size)
        result += [paths[i::count] for i in range(count)]
    return sorted(result, key=lambda paths: -sum(path.stat().st_size for path in paths))


def candidates():
    for path in sources.tracked(ROOT, {".cpp"}):
        # Of the solutions those that ship; the others are as students might write them.
        other_answer = path.parts[0] == "solutions" and path.name.startswith("other_")
        of_project = path.parts[0] in ("lb", "harness", "solutions") and not other_answer
        if of_project and not path.name.endswith(("_test.cpp", "_bench.cpp")):
            yield ROOT / path


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--no-cache", action="store_true", help="look at every file")
    parser.add_argument("--times", action="store_true", help="list what each file took")
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    options = parser.parse_args()

    version = subprocess.run([CLANG_TIDY, "--version"], capture_output=True, check=True).stdout
    common = version + (ROOT / ".clang-tidy").read_bytes()
    flags = flags_by_file()
    default = ["-std=c++23", f"-I{ROOT}", f'-DLB_SOURCE_DIR="{ROOT}"']
    dependencies = Dependencies()
    clean = CACHE / "clean"
    clean.mkdir(parents=True, exist_ok=True)
    todo = {}
    files = [path.resolve() for path in options.files] or list(candidates())
    for path in files:
        key = key_of(path, flags.get(path, default), dependencies, common)
        if options.no_cache or not (clean / key).exists():
            todo[path] = key

    def flags_of(path):
        return flags.get(path, default)

    bad = 0
    times = []
    with concurrent.futures.ThreadPoolExecutor(CPUS) as pool:
        plugin = plugin_options() if todo else []
        for paths, text, seconds in pool.map(lambda group: tidy(group, flags_of(group[0]), plugin),
                                             groups(todo, flags_of)):
            times.append((seconds, paths))
            if text:
                bad += 1
                print(text, flush=True)
                continue
            for path in paths:
                (clean / todo[path]).touch()
    if options.times:
        for seconds, paths in sorted(times, reverse=True):
            print(f"{seconds:6.1f} s  {' '.join(str(path.relative_to(ROOT)) for path in paths)}")
    complaints = f"complaints about {bad} groups of them" if bad else "no complaints"
    print(f"clang-tidy: {len(files)} files, {len(todo)} looked at, {complaints}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
