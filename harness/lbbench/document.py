"""The result of a run as one JSON document; table.py and report.py show it and compute nothing."""

import os

from . import arithmetic, goals
from .workloads import PEERS

FORMAT = 1
PROCESSORS_FOR_TWO_WORKERS = 4  # two for them, two for load and backend
LOAD_KEYS = ("us", "user_us", "system_us", "rate", "resumed")
LATENCY_KEYS = ("p50", "p90", "p99", "p99.9", "max", "us", "unsent")
IDLE_KEYS = ("bytes", "before_bytes")
COMPARED = {"load": ("us", "rate"), "latency": ("p50", "p99", "us"), "idle": ("bytes",)}
KEYS = {"load": LOAD_KEYS, "latency": LATENCY_KEYS, "idle": IDLE_KEYS}


def workload_entry(workload, found):
    """The figures of one workload: every round, medians and spreads, lb's paired ratio to everyone else."""
    rounds = found["rounds"]
    ratios = {}
    for name in rounds:
        if name != "lb" and "lb" in rounds:
            ratios[name] = {
                key: arithmetic.ratio(
                    arithmetic.figures(rounds["lb"], key), arithmetic.figures(rounds[name], key)
                )
                for key in COMPARED[workload.kind]
            }
    return {
        "name": workload.name,
        "title": workload.title,
        "kind": workload.kind,
        "floor": workload.floor,
        "connections": workload.connections,
        "body_bytes": workload.body_bytes,
        "better_peer": arithmetic.better_peer(rounds, PEERS, KEYS[workload.kind][0]),
        "summary": arithmetic.summary(rounds, KEYS[workload.kind]),
        "lb_to": ratios,
        "syscalls": found["syscalls"],
        "rounds": rounds,
    }


def make(environment, options, entries, notes):
    return {
        "format": FORMAT,
        "environment": environment,
        "options": options,
        "workloads": entries,
        "goals": goals.judge(
            {entry["name"]: entry["rounds"] for entry in entries},
            two_workers_fit=len(os.sched_getaffinity(0)) >= PROCESSORS_FOR_TWO_WORKERS,
        ),
        "notes": notes,
    }
