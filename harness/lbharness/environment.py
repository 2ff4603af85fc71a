"""Where a run took place: what a reader needs to judge or repeat it."""

import datetime
import os
import platform
import resource
import shlex
import subprocess
import sys
from pathlib import Path

from . import paths
from .errors import CannotMeasure

_KERNEL_COUNTERS = (
    "ListenOverflows",
    "ListenDrops",
    "TCPReqQFullDrop",
    "TCPReqQFullDoCookies",
    "TCPAbortOnMemory",
    "TCPMigrateReqSuccess",
    "TCPMigrateReqFailure",
)


def describe(options, versions):
    """{name: text} in the order of display."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "command": " ".join(shlex.quote(a) for a in [os.path.relpath(sys.argv[0]), *sys.argv[1:]]),
        "seed": str(options.seed),
        **versions,
        "commit": _commit(),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": f"{_cpu_model()}, {len(os.sched_getaffinity(0))} usable",
        "memory": f"{_memory_gib():.1f} GiB",
        "load at start": " ".join(f"{x:.2f}" for x in os.getloadavg()),
        "network": _network(),
        "python": platform.python_version(),
    }


def _commit():
    git = ["git", "-C", str(paths.ROOT)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, timeout=10
        )
        dirty = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    if head.returncode != 0:
        return "unknown"
    return head.stdout.strip() + (" and uncommitted changes" if dirty.stdout.strip() else "")


def _cpu_model():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.lower().startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _memory_gib():
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def _network():
    values = []
    for key in ("net/core/somaxconn", "net/ipv4/tcp_max_syn_backlog", "net/ipv4/tcp_migrate_req"):
        path = Path("/proc/sys") / key
        if path.is_file():
            values.append(f"{key.rsplit('/', 1)[1]}={path.read_text().strip()}")
    return "loopback, " + " ".join(values)


def need_descriptors(count, what):
    """Raises this process's limit of open files, and with it that of all it starts, to `count`."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, max(count, hard)))
    except (ValueError, OSError) as error:
        raise CannotMeasure(
            f"{what} need about {count} open files a process, and the limit is {hard}: "
            f"raise it (ulimit -Hn, as root), or ask for fewer connections ({error})"
        ) from error


def kernel_counters():
    """The kernel's own counts of connections it dropped on a listener's behalf. For the whole machine."""
    counts = {}
    lines = Path("/proc/net/netstat").read_text().splitlines()
    for names, values in zip(lines[::2], lines[1::2]):
        for name, value in zip(names.split()[1:], values.split()[1:]):
            if name in _KERNEL_COUNTERS:
                counts[name] = int(value)
    return counts
