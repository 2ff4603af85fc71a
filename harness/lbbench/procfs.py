"""What /proc says about a proxy: CPU and memory of its process and of all its descendants."""

import os
from pathlib import Path

from lbharness.process import descendants

_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def family(pid):
    return [pid, *descendants(pid)]


def cpu_ns(pid):
    """(all, of it in user space) so far. The first is exact; the second is sampled by the kernel's tick."""
    total = user = 0
    for member in family(pid):
        try:
            for task in Path(f"/proc/{member}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
            fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it has just ended
        user += int(fields[11]) * _TICK_NS
    return total, user


def anonymous_bytes(pid):
    """Memory of its own (heap, stacks): RssAnon, which neither counts the program's file nor the kernel's
    sockets."""
    total = 0
    for member in family(pid):
        try:
            lines = Path(f"/proc/{member}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:"))
    return total


def steal_ticks():
    """Ticks that the hypervisor gave to others, over all processors: a hint at how noisy the run was."""
    return int(Path("/proc/stat").read_text().splitlines()[0].split()[8])
