#!/usr/bin/env python3
"""How the cost of things grows with the number of backends or connections.

  tools/bench_curve.py RESULT.json...

Takes results of Google Benchmark (--benchmark_out_format=json). Every benchmark that was run with several
numbers is a row: its CPU time at each of them, the factor from the first to the last, and a curve in which
one step up is a doubling. Benchmarks without a number are left to the program's own output.
"""
import json
import pathlib
import re
import sys

STEPS = "▁▂▃▄▅▆▇█"
NANOSECONDS = {"ns": 1, "us": 1e3, "ms": 1e6, "s": 1e9}


def duration(ns):
    """Three digits and a unit."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def curve(values):
    """A bar a value: the least is the lowest, each doubling one step; the highest means 128 times or more."""
    heights = [int(value / min(values)).bit_length() - 1 for value in values]
    return "".join(STEPS[min(height, len(STEPS) - 1)] for height in heights)


def series(results):
    """benchmark -> {number: CPU time in ns}, in the order of the files."""
    found = {}
    for entry in results:
        if entry.get("error_occurred") or entry.get("run_type", "iteration") != "iteration":
            continue
        pattern = r"(?P<name>.+?)/(?P<number>\d+)(?:/(?:min_time|real_time|threads).*)?"
        match = re.fullmatch(pattern, entry["name"])
        if match:
            cost = entry["cpu_time"] * NANOSECONDS[entry["time_unit"]]
            found.setdefault(match["name"], {})[int(match["number"])] = cost
    return {name: costs for name, costs in found.items() if len(costs) > 1}


def table(found):
    numbers = sorted({number for costs in found.values() for number in costs})
    width = max(len(name) for name in found)
    head = "".join(f"{number:>12,}" for number in numbers)
    lines = [f"{'':{width}}{head}  growth   curve"]
    for name, costs in found.items():
        cells = "".join(f"{duration(costs[n]) if n in costs else '':>12}" for n in numbers)
        values = [costs[n] for n in sorted(costs)]
        growth = f"x {values[-1] / values[0]:,.{1 if values[-1] < 100 * values[0] else 0}f}"
        lines.append(f"{name:{width}}{cells}  {growth:<9}{curve(values)}")
    return "\n".join(lines)


def main(paths):
    if not paths:
        print(__doc__, file=sys.stderr)
        return 2
    for path in map(pathlib.Path, paths):
        found = series(json.loads(path.read_text(encoding="utf-8"))["benchmarks"])
        if found:
            print(f"\n{path.stem}: CPU time by number of backends or connections\n{table(found)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
