"""Does this machine have what the labs need? One line each, and what to do where the answer is no: make
doctor.

Exit status 0 when nothing is missing without which grading is impossible.
"""
import ctypes
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

from . import contain
from .check import ROOT
from .terminal import colour_wanted

CPU_SLOW_S = 1.0  # for _loop() on the slowest machine on which the time limits were tried
DISK_MIN = 4 << 30
WATCHES_MIN, INSTANCES_MIN = 1024, 16


def _loop():
    began = time.perf_counter()
    total = 0
    for i in range(3_000_000):
        total += i & 7
    return time.perf_counter() - began


def _version(command, pattern=r"(\d+(?:\.\d+)*)"):
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(pattern, (done.stdout or done.stderr).splitlines()[0] if done.stdout or done.stderr
                      else "")
    return found.group(1) if found else None


def compiler():
    name = os.environ.get("CXX", "c++")
    version = _version([name, "-dumpfullversion"]) or _version([name, "-dumpversion"])
    if not version:
        return False, "no C++ compiler", "apt-get install g++"
    if int(version.split(".")[0]) < 12:
        return False, f"version {version}", "C++23 needs GCC 12 or newer: apt-get install g++-12"
    return True, f"version {version}", ""


def packages():
    done = subprocess.run([str(ROOT / "tools" / "setup.sh"), "--check", "build"], capture_output=True,
                          text=True,
                          check=False)
    if done.returncode == 0:
        return True, "everything that the build needs is installed", ""
    return False, done.stderr.strip().splitlines()[0] if done.stderr else "something is missing", "make setup"


def sanitizers():
    folder = ROOT / "build"
    folder.mkdir(exist_ok=True)
    program = folder / "doctor-asan"
    code = "int main(int n, char** v) { int* p = new int[4](); n = p[n + 2]; delete[] p; return n + !v; }"
    done = subprocess.run(["c++", "-fsanitize=address,undefined", "-x", "c++", "-", "-o", str(program)],
                          input=code,
                          capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return False, "AddressSanitizer does not link", "apt-get install libasan8 libubsan1"
    done = subprocess.run([str(program)], capture_output=True, text=True,
                          env={"ASAN_OPTIONS": "detect_leaks=0"},
                          check=False)
    program.unlink()
    if done.returncode != 0:
        return False, "a program with AddressSanitizer does not run", "sysctl vm.mmap_rnd_bits=28"
    return True, "AddressSanitizer and UBSan link and run", ""


def build_tools():
    missing = [name for name in ("cmake", "ninja", "make", "git") if not shutil.which(name)]
    if missing:
        return False, f"missing: {', '.join(missing)}", "make setup"
    return True, f"cmake {_version(['cmake', '--version'])}, ninja {_version(['ninja', '--version'])}", ""


def python():
    missing = []
    for module in ("ctypes", "json", "xml.etree.ElementTree", "resource"):
        try:
            __import__(module)
        except ImportError:
            missing.append(module)
    if sys.version_info < (3, 9) or missing:
        version = sys.version.split()[0]
        return False, f"{version} {' '.join(missing)}", "apt-get install python3; or set LB_PYTHON"
    return True, f"{sys.version.split()[0]} with all modules (only the standard library is used)", ""


def inotify():
    limits = {}
    for name in ("max_user_instances", "max_user_watches", "max_queued_events"):
        try:
            limits[name] = int(pathlib.Path(f"/proc/sys/fs/inotify/{name}").read_text())
        except OSError:
            return None, "this system has no inotify", "exercise 10.1 is graded with its simulation only"
    fd = ctypes.CDLL(None, use_errno=True).inotify_init1(0)
    if fd < 0:
        return False, "no inotify instance is left", "sysctl fs.inotify.max_user_instances=512"
    os.close(fd)
    text = f"{limits['max_user_instances']} instances, {limits['max_user_watches']} watches"
    if limits["max_user_instances"] < INSTANCES_MIN or limits["max_user_watches"] < WATCHES_MIN:
        return None, text, "sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=65536"
    return True, text, ""


def namespaces():
    found = contain.spaces()
    if {"pid", "net", "files"} <= found:
        return True, "processes, network and files of a check are its own", ""
    have = ", ".join(sorted(found)) or "none"
    return None, f"permitted: {have}", ("grading works without, less well contained; as root, or with "
                                        "sysctl kernel.unprivileged_userns_clone=1, there is more")


def processor():
    seconds = min(_loop() for _ in range(3))
    cpus = len(os.sched_getaffinity(0))
    load = os.getloadavg()[0]
    text = f"{cpus} usable, a Python loop takes {seconds * 1000:.0f} ms, load {load:.1f}"
    if seconds > CPU_SLOW_S:
        return None, text, "slow: time limits may be too short; grade with nothing else running"
    if load > 2 * cpus:
        return None, text, "other programs keep it busy: times will be longer"
    return True, text, ""


def disk():
    free = shutil.disk_usage(ROOT).free
    text = f"{free / 2**30:.1f} GiB free where this tree is"
    return (True, text, "") if free >= DISK_MIN else (False, text, "a complete build takes 3 GiB: make clean")


def memory():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    text = f"{total / 2**30:.1f} GiB"
    return (True, text, "") if total >= 3 << 30 else (None, text, "compile with JOBS=1")


def descriptors():
    import resource
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} (may be raised to {hard})"
    return (True, text, "") if hard >= 4096 else (None, text, "ulimit -Hn 20000, for the zero-drop stage")


QUESTIONS = (("compiler", compiler), ("sanitizers", sanitizers), ("build tools", build_tools),
             ("packages", packages),
             ("python", python), ("inotify", inotify), ("namespaces", namespaces), ("processor", processor),
             ("memory", memory), ("disk", disk), ("open files", descriptors))


def main():
    colour = colour_wanted(sys.stdout)
    bad = 0
    for name, question in QUESTIONS:
        try:
            good, text, remedy = question()
        except Exception as error:
            good, text, remedy = None, f"could not find out: {error}", ""
        word, code = {True: ("ok", 32), False: ("MISSING", 31), None: ("note", 33)}[good]
        shown = f"\033[{code}m{word:<8}\033[0m" if colour else f"{word:<8}"
        print(f"  {shown}{name:<13}{text}")
        if remedy:
            print(f"          {'':<13}-> {remedy}")
        bad += good is False
    print("\nthe labs can be graded here" if not bad
          else f"\n{bad} of {len(QUESTIONS)} must be put right first")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
