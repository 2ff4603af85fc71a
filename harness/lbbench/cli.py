"""The command line of harness/bench.py."""

import argparse
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lbharness import environment
from lbharness.errors import CannotMeasure, HarnessError

from . import document, measure, procfs, proxies, report, table
from .workloads import WORKLOADS, choose

DESCRIPTION = """CPU per request, throughput, latency, memory and system calls of lb beside Debian's
HAProxy and nginx and a relay that parses nothing, in one interleaved run. What counts is the ratios."""


@dataclass
class Options:
    rounds: int
    seconds: float
    rate: float
    idle_connections: int
    idle_rounds: int
    syscalls: bool
    proxies: tuple  # () means all

    def takes(self, name):
        return not self.proxies or name in self.proxies


def bounded(low, high, kind=float):
    def parse(text):
        value = kind(text)
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text} is not within {low} and {high}")
        return value

    parse.__name__ = kind.__name__
    return parse


def parse_arguments(argv):
    names = "\n".join(f"  {w.name:16}{w.title}" for w in WORKLOADS)
    parser = argparse.ArgumentParser(
        description=DESCRIPTION,
        epilog=f"workloads (a * at the end takes all that begin so):\n{names}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD", help="default: all")
    parser.add_argument("--rounds", type=bounded(1, 1000, int), help="of each workload (default 10)")
    parser.add_argument("--seconds", type=bounded(0.05, 60), help="of load in each round (default 2)")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 0.5 s: a look, not a measurement")
    parser.add_argument(
        "--rate", type=bounded(1, 1e6), default=4000, help="of the latency workload (default 4000/s)"
    )
    parser.add_argument(
        "--idle", type=bounded(100, 50_000, int), default=10_000, metavar="N", help="connections"
    )
    parser.add_argument(
        "--proxies", default="", metavar="A,B", help="relay, relay-splice, lb, haproxy, nginx"
    )
    parser.add_argument("--no-syscalls", action="store_true", help="do not count system calls with strace")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure there")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page with charts there")
    args = parser.parse_args(argv)
    try:
        args.chosen = choose(args.workloads)
    except ValueError as error:
        parser.error(str(error))
    rounds, seconds = (3, 0.5) if args.quick else (10, 2.0)
    args.options = Options(
        rounds=args.rounds or rounds,
        seconds=args.seconds or seconds,
        rate=args.rate,
        idle_connections=args.idle,
        idle_rounds=1 if args.quick else 3,
        syscalls=not args.no_syscalls,
        proxies=tuple(name for name in args.proxies.split(",") if name),
    )
    return args


def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()


def describe():
    whole = environment.describe(argparse.Namespace(seed="none: nothing is random"), proxies.versions())
    return whole


def leave_out(workload, factory, options):
    """Says why a workload makes no sense here; None when it does."""
    needed = options.idle_connections + 1000
    if workload.kind == "idle" and factory.descriptors < needed:
        return f"it needs {needed} descriptors in a process; here are {factory.descriptors}"
    return None


def run(args):
    descriptors = proxies.raise_descriptor_limit()
    steal = procfs.steal_ticks()
    where = describe()
    entries = []
    with tempfile.TemporaryDirectory(prefix="lb-bench-") as folder:
        origin = proxies.Origin()
        factory = proxies.Factory(Path(folder), origin, descriptors)
        try:
            with measure.Session(factory, args.options, progress) as session:
                for workload in args.chosen:
                    reason = leave_out(workload, factory, args.options)
                    if reason:
                        factory.note(f"{workload.name} left out: {reason}")
                        continue
                    entry = document.workload_entry(workload, session.measure(workload))
                    progress("")
                    entries.append(entry)
                    print("\n".join(table.entry_lines(entry)) + "\n", flush=True)
        finally:
            origin.stop()
        notes = [*factory.notes]
    where["load at end"] = " ".join(f"{x:.2f}" for x in os.getloadavg())
    where["stolen by the hypervisor"] = f"{(procfs.steal_ticks() - steal) / os.sysconf('SC_CLK_TCK'):.1f} s"
    shown = {**vars(args.options), "workloads": [w.name for w in args.chosen]}
    return document.make(where, shown, entries, notes)


def main(argv=None):
    args = parse_arguments(argv)
    try:
        result = run(args)
    except (CannotMeasure, HarnessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    if result["goals"]:
        print("\n".join(["goals", *table.goal_lines(result["goals"])]))
    print("\n".join(table.note_lines(result["notes"])))
    for path, text in (
        (args.json, lambda: json.dumps(result, indent=1)),
        (args.html, lambda: report.render(result)),
    ):
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text())
            print(f"written: {path}")
    return 0
