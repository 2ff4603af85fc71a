#!/usr/bin/env python3
"""CPU per request of the proxy process: lb beside Debian's HAProxy and nginx and a relay that parses nothing.

One interleaved run: each round measures every proxy once, so that a change of the machine's mood hits all
alike. What counts is the ratio to the relay and to the peers, not the absolute figures. CPU is read from
/proc (nanoseconds on the CPU of every thread of the proxy), load comes from wrk, backends are lb_backend.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HARNESS = Path(__file__).resolve().parent
sys.path.insert(0, str(HARNESS))

from lbharness import paths, wire  # noqa: E402
from lbharness.errors import CannotMeasure, HarnessError  # noqa: E402
from lbharness.process import descendants, wait_until  # noqa: E402
from lbharness.tools import Backends  # noqa: E402

SCENARIOS = {
    "keep-alive 128 B": {"target": "/x?size=128", "connections": 64},
    "keep-alive 10 KiB": {"target": "/x?size=10240", "connections": 64},
    "keep-alive 1 MiB": {"target": "/x?size=1048576", "connections": 8},
    "new connection 128 B": {"target": "/x?size=128", "connections": 64, "close": True},
}

NGINX = """worker_processes 1;
daemon off;
pid {dir}/nginx.pid;
error_log {dir}/nginx.err;
events {{ worker_connections 10000; }}
http {{
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
  uwsgi_temp_path {dir}; scgi_temp_path {dir};
  upstream b {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{ proxy_pass http://b; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_max_temp_file_size 0; }}
  }}
}}
"""

HAPROXY = """global
    nbthread 1
    maxconn 4000
    tune.bufsize 65536
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
    option splice-auto
frontend f
    bind 127.0.0.1:{port} backlog 4096
    default_backend b
backend b
    server s 127.0.0.1:{backend}
"""


class Proxy:
    """One proxy under measurement: its process (with children) and its port."""

    def __init__(self, name, argv, port, **popen):
        self.name, self.port = name, port
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, **popen)

    def wait_ready(self):
        def answers():
            if self.process.poll() is not None:
                raise HarnessError(f"{self.name} ended with status {self.process.returncode}")
            try:
                return wire.fetch(("127.0.0.1", self.port), "/x?size=1").status == 200
            except OSError:
                return False

        wait_until(answers, 20, f"{self.name} answers")

    def cpu_ns(self):
        """(total, user part) so far, over all threads and children. The user part has a grain of 10 ms."""
        total = user = 0
        for pid in [self.process.pid, *descendants(self.process.pid)]:
            for task in Path(f"/proc/{pid}/task").iterdir():
                total += int((task / "schedstat").read_text().split()[0])
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            user += int(fields[11]) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
        return total, user

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def start_all(directory, backend_port, names):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    proxies = []
    if "relay" in names:
        relay = paths.build_dir() / "harness" / "bench" / "lb_relay"
        proxy = Proxy("relay", [relay, "0", str(backend_port)], 0, stdout=subprocess.PIPE, text=True)
        proxy.port = int(proxy.process.stdout.readline())
        proxies.append(proxy)
    if "lb" in names:
        port = wire.free_port()
        config = {
            "listen": f"127.0.0.1:{port}",
            "workers": 1,
            "backends": [{"host": "127.0.0.1", "port": backend_port}],
            "pool": {"max_size": 128},
        }
        path = directory / "lb.json"
        path.write_text(json.dumps(config))
        argv = [paths.lb_binary(), "-c", path, "--control", directory / "lb.sock"]
        proxies.append(Proxy("lb", argv, port, **quiet))
    for name, text, argv in (
        ("haproxy", HAPROXY, ["haproxy", "-f", directory / "haproxy.cfg"]),
        ("nginx", NGINX, ["nginx", "-c", directory / "nginx.cfg", "-e", directory / "nginx.err"]),
    ):
        if name not in names:
            continue
        program = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            print(f"bench: {name} is not installed: left out", file=sys.stderr)
            continue
        port = wire.free_port()
        (directory / f"{name}.cfg").write_text(text.format(dir=directory, port=port, backend=backend_port))
        proxies.append(Proxy(name, [program, *argv[1:]], port, **quiet))
    for proxy in proxies:
        proxy.wait_ready()
    return proxies


def load(port, scenario, seconds):
    """Requests answered by one run of wrk. Errors make the measurement void."""
    argv = ["wrk", "-t1", f"-c{scenario['connections']}", f"-d{seconds}s", "--timeout", "10s"]
    if scenario.get("close"):
        argv += ["-H", "Connection: close"]
    argv.append(f"http://127.0.0.1:{port}{scenario['target']}")
    out = subprocess.run(argv, capture_output=True, text=True, timeout=seconds + 30).stdout
    found = re.search(r"(\d+) requests in", out)
    if not found or int(found[1]) == 0:
        raise HarnessError(f"wrk said: {out}")
    wrong = re.search(r"Non-2xx.*", out)
    if wrong:
        raise HarnessError(wrong[0])
    return int(found[1])


def measure(proxies, scenario, rounds, seconds):
    """Name -> list of {"us", "user_us", "rate"}, one a round."""
    results = {proxy.name: [] for proxy in proxies}
    for turn in range(rounds):
        order = proxies[turn % len(proxies):] + proxies[: turn % len(proxies)]
        for proxy in order:
            before = proxy.cpu_ns()
            requests = load(proxy.port, scenario, seconds)
            after = proxy.cpu_ns()
            results[proxy.name].append(
                {
                    "us": (after[0] - before[0]) / 1000 / requests,
                    "user_us": (after[1] - before[1]) / 1000 / requests,
                    "rate": requests / seconds,
                }
            )
    return results


def summary(results):
    base = results.get("relay")
    rows = {}
    for name, runs in results.items():
        us = [run["us"] for run in runs]
        rows[name] = {
            "us": statistics.median(us),
            "spread": (max(us) - min(us)) / statistics.median(us),
            "user_us": statistics.median(run["user_us"] for run in runs),
            "rate": statistics.median(run["rate"] for run in runs),
            "to_relay": statistics.median(a["us"] / b["us"] for a, b in zip(runs, base)) if base else None,
        }
    return rows


def print_table(title, rows):
    print(f"\n{title}")
    print(f"  {'':10}{'us/request':>12}{'user':>8}{'x relay':>9}{'spread':>8}{'requests/s':>13}")
    for name, row in rows.items():
        ratio = f"{row['to_relay']:.2f}" if row["to_relay"] else "-"
        figures = f"{row['us']:12.2f}{row['user_us']:8.2f}{ratio:>9}{row['spread']:8.0%}{row['rate']:13.0f}"
        print(f"  {name:10}{figures}", flush=True)


def main():
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=formatter)
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each scenario (default 10)")
    parser.add_argument("--seconds", type=int, default=2, help="of load in each round (default 2)")
    parser.add_argument("--proxies", default="relay,lb,haproxy,nginx", help="comma-separated")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help="default: all")
    parser.add_argument("--json", metavar="FILE", help="write every figure there")
    args = parser.parse_args()
    if shutil.which("wrk") is None:
        print("bench: wrk is missing: apt-get install wrk", file=sys.stderr)
        return 2
    document = {}
    with tempfile.TemporaryDirectory(prefix="lb-bench-") as folder:
        directory = Path(folder)
        with Backends(["b"]) as backends:
            proxies = []
            try:
                proxies = start_all(directory, backends.port("b"), args.proxies.split(","))
                for title in args.scenario or SCENARIOS:
                    results = measure(proxies, SCENARIOS[title], args.rounds, args.seconds)
                    rows = summary(results)
                    print_table(title, rows)
                    document[title] = {"summary": rows, "rounds": results}
            finally:
                for proxy in proxies:
                    proxy.stop()
    if args.json:
        Path(args.json).write_text(json.dumps(document, indent=1))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (CannotMeasure, HarnessError) as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(2)
