"""System calls per request, counted by strace. It slows the proxy down, so this is a run of its own, and no
other figure is taken from it; how many events one epoll_wait brings is the one thing that it shifts."""

import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

from . import procfs

ATTACH_S = 10


def available():
    return shutil.which("strace") is not None


def parse(text):
    """name -> calls, from strace's table; without its last line."""
    counts = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 5 and re.fullmatch(r"[\d.]+", fields[0]) and fields[3].isdigit():
            counts[fields[-1]] = int(fields[3])
    counts.pop("total", None)
    return counts


def _traced(pid):
    """Every thread of `pid` and of its descendants has a tracer."""
    for member in procfs.family(pid):
        for task in Path(f"/proc/{member}/task").iterdir():
            if re.search(r"TracerPid:\t0$", (task / "status").read_text(), re.M):
                return False
    return True


def count(pid, directory, load):
    """Calls `load()` (which returns the requests answered) with strace attached: {call: per request}, or
    None when strace may not attach here."""
    table = directory / "strace.txt"
    argv = ["strace", "-f", "-q", "-c", "-o", str(table)]
    for member in procfs.family(pid):
        argv += ["-p", str(member)]
    tracer = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + ATTACH_S
        while not _traced(pid):
            if tracer.poll() is not None or time.monotonic() > deadline:
                return None
            time.sleep(0.01)
        requests = load()
    finally:
        if tracer.poll() is None:
            tracer.send_signal(signal.SIGINT)
        try:
            tracer.wait(ATTACH_S)
        except subprocess.TimeoutExpired:
            tracer.kill()
            tracer.wait()
    counts = parse(table.read_text())
    return {name: calls / requests for name, calls in counts.items()} if requests else None
