#!/usr/bin/env python3
"""Idle clients, upgraded connections and TCP tunnels through many reloads: nothing may be closed, lost,
doubled or reordered. Prints what it saw; exit status 0 when nothing was wrong, 1 otherwise."""

import argparse
import os
import random
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

from lbharness.balancer import Balancer  # noqa: E402
from lbharness.long_lived import LongLived, raise_descriptor_limit  # noqa: E402
from lbharness.process import wait_until  # noqa: E402


def configuration(port, label):
    return {
        "listen": ["127.0.0.1:0", {"address": "127.0.0.2:0", "mode": "tcp"}],
        "backends": [{"name": "live", "host": "127.0.0.1", "port": port}],
        "timeouts": {"idle": 3600},
        "workers": 2,
        "response_headers": {"X-Config": label},
        "reload": {"probation": 0},
    }


def run(lb, live, options, say=lambda *_: None):
    rng = random.Random(options.seed)
    lb.start(configuration(live.port, "0"))
    http, tcp = (address for _, address in lb.listeners()[:2])
    live.open_idle(http, options.idle)
    live.open_tunnels(http, options.upgrades, upgrade=True)
    live.open_tunnels(tcp, options.tcp, upgrade=False)
    if options.idle:
        live.ask_some(200, rng)
    connections = live.backend_connections
    live.phase = "reloading"
    slowest_gone = 0.0
    for number in range(1, options.reloads + 1):
        lb.reload_config(configuration(live.port, str(number)))
        began = time.monotonic()
        if options.idle:
            live.ask_some(20, rng)
        wait_until(lambda: len(lb.generations()) == 1, timeout=60, what="the old generation to be gone")
        slowest_gone = max(slowest_gone, time.monotonic() - began)
        if number % 10 == 0:
            say(f"{number} reloads, {live.bytes_moved() >> 20} MiB, {len(live.faults)} faults")
    faults = live.finish()
    drains = lb.status()["drains"]
    moved = {}
    for drain in drains:
        for kind, count in drain.get("moved", {}).items():
            moved[kind] = moved.get(kind, 0) + count
    return {
        "faults": faults,
        "mib": live.bytes_moved() >> 20,
        "exchanges": live.exchanges,
        "slowest_exchange_ms": {phase: round(s * 1000, 1) for phase, s in live.slowest_s.items()},
        "slowest_old_gone_s": round(slowest_gone, 2),
        "backend_connections_by_reloads": live.backend_connections - connections,
        "moved_in_last_drains": moved,
        "drains": drains,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--upgrades", type=int, default=1_000)
    parser.add_argument("--tcp", type=int, default=1_000)
    parser.add_argument("--reloads", type=int, default=100)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two pieces, about")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    needed = options.idle + 2 * (options.upgrades + options.tcp) + 500
    if raise_descriptor_limit() < needed:
        parser.error(f"{needed} descriptors are needed (ulimit -Hn)")
    with tempfile.TemporaryDirectory(prefix="lb-live-") as folder:
        live, lb = LongLived(options.seed, options.pause), Balancer(directory=folder, seed=options.seed)
        try:
            result = run(lb, live, options, lambda text: print(text, flush=True))
        finally:
            lb.stop()
            live.close()
    faults = result.pop("faults")
    result.pop("drains")
    for key, value in result.items():
        print(f"{key}: {value}")
    print(f"faults: {len(faults)}")
    for fault in faults[:20]:
        print("  " + fault)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
