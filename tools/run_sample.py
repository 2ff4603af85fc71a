#!/usr/bin/env python3
"""Starts three sample backends and lb/lb with a sample configuration, until Ctrl-C.

  tools/run_sample.py [--port N]

Everything lives in build/run/: lb.json (edit it and reload), lb.pid, access.log. The balancer's log appears
on the terminal. The configuration is written only when it is not there, so that edits survive; its backends'
ports are kept too, as long as they are free.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
RUN = ROOT / "build" / "run"
LB = ROOT / "lb" / "lb"
BACKEND = ROOT / "build" / "release" / "harness" / "traffic" / "lb_backend"
READY_SECONDS_MAX = 20
STOP_SECONDS_MAX = 8
WEIGHTS = {"apple": 3, "banana": 2, "cherry": 1}


def port_is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def known_ports(config_path):
    """The ports of the backends of an earlier run's configuration, where it still can be read."""
    try:
        backends = json.loads(config_path.read_text())["backends"]
        return {backend["name"]: backend["port"] for backend in backends if backend.get("name") in WEIGHTS}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def start_backends(children, config_path):
    """{name: port} once all listen. The process ends when its standard input closes: it never stays."""
    wanted = known_ports(config_path)
    command = [str(BACKEND), "--ledger", str(RUN / "backends.ledger")]
    for name in WEIGHTS:
        port = wanted.get(name, 0)
        command += ["--backend", f"{name}=127.0.0.1:{port if port_is_free(port) else 0}"]
    child = subprocess.Popen(command, cwd=RUN, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                             start_new_session=True)
    children.append(child)
    line = child.stdout.readline()
    if not line:
        raise SystemExit(f"run: the sample backends ended with status {child.wait()}")
    return {backend["name"]: backend["port"] for backend in json.loads(line)["backends"]}


def sample_config(listen_port, ports):
    backends = [{"name": name, "host": "127.0.0.1", "port": ports[name], "weight": weight}
                for name, weight in WEIGHTS.items()]
    return {"listen": [f"127.0.0.1:{listen_port}"], "algorithm": "weighted_round_robin", "backends": backends,
            "pool": {"max_size": 64, "ttl": 60}, "rate_limit": {"per_ip": 1000.0, "burst": 200},
            "drain_timeout": 30, "access_log": str(RUN / "access.log")}


def prepare_config(config_path, port, ports):
    """Writes the sample configuration unless an edited one of an earlier run fits the running backends.

    Returns the port to try things on, or None when an edited file listens elsewhere.
    """
    if config_path.exists() and known_ports(config_path) == ports and port is None:
        try:
            listen = json.loads(config_path.read_text()).get("listen", [])
            kept = int(listen[0].rpartition(":")[2])
            if port_is_free(kept):
                print(f"run: using {config_path.relative_to(ROOT)} as it is (delete it for a new one)")
                return kept
        except (OSError, ValueError, IndexError, AttributeError):
            pass
    if config_path.exists():
        shutil.copy(config_path, config_path.with_suffix(".json.old"))
    chosen = port or (8080 if port_is_free(8080) else free_port())
    config_path.write_text(json.dumps(sample_config(chosen, ports), indent=2) + "\n")
    return chosen


def running_pid(pid_file):
    """The pid of a balancer that an earlier run left or another terminal runs, or None."""
    try:
        pid = int(pid_file.read_text())
        return pid if pathlib.Path(os.readlink(f"/proc/{pid}/exe")).name == LB.name else None
    except (OSError, ValueError):
        return None


def wait_ready(child, port, pid_file):
    """Until the balancer wrote its pid file and accepts a connection."""
    deadline = time.monotonic() + READY_SECONDS_MAX
    while time.monotonic() < deadline:
        if child.poll() is not None:
            raise SystemExit(f"run: lb/lb ended with status {child.returncode}; its log is above")
        try:
            if pid_file.read_text().strip() == str(child.pid):
                with socket.create_connection(("127.0.0.1", port), timeout=1):
                    return
        except OSError:
            pass
        time.sleep(0.02)
    raise SystemExit(f"run: lb/lb was not ready within {READY_SECONDS_MAX} s")


def shown(path):
    """A path as one would type it here."""
    return os.path.relpath(path)


def print_help(port, config_path, pid_file):
    config, pid, balancer = shown(config_path), shown(pid_file), shown(LB)
    balancer = balancer if "/" in balancer else f"./{balancer}"
    url = f"http://127.0.0.1:{port}/"
    lines = [
        (f"curl -i '{url}?echo=headers'", "which backend (X-Backend), and what it was sent"),
        (f"for i in 1 2 3 4 5 6; do curl -so /dev/null -D - {url} | grep X-Backend; done", ""),
        ("", ""),
        (f"$EDITOR {config}", "change a weight, take a backend out; then"),
        (f"{balancer} check {config}", "would it be accepted?"),
        (f"kill -HUP $(cat {pid})", "reload; or, to get an answer:"),
        (f"{balancer} reload --pid-file {pid}", ""),
        (f"{balancer} status --pid-file {pid}", ""),
        ("", ""),
        (f"curl -o /dev/null '{url}?size=1000000&rate=100000'", "slow: reload meanwhile, it is not cut"),
    ]
    print(f"\n  {url} is balanced over {', '.join(WEIGHTS)}. In another terminal:\n")
    for command, remark in lines:
        print(f"    {command:<52} {remark and '# ' + remark}".rstrip())
    print("\n  Ctrl-C ends everything.\n", flush=True)


def stop(children):
    """TERM to each, in order: the balancer drains before its backends go. KILL for what does not end."""
    for child in reversed(children):
        if child.poll() is None:
            child.terminate()
        if child.stdin:
            child.stdin.close()
        try:
            child.wait(timeout=STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, help="where the balancer listens (8080, or a free one)")
    options = parser.parse_args()
    for program in (LB, BACKEND):
        if not program.exists():
            raise SystemExit(f"run: {program.relative_to(ROOT)} is not built; run make")
    RUN.mkdir(parents=True, exist_ok=True)
    config_path, pid_file = RUN / "lb.json", RUN / "lb.pid"
    already = running_pid(pid_file)
    if already:
        raise SystemExit(f"run: already running, pid {already}; end it with Ctrl-C there, or kill {already}")
    children = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        ports = start_backends(children, config_path)
        port = prepare_config(config_path, options.port, ports)
        balancer = subprocess.Popen([str(LB), "-c", str(config_path), "--pid-file", str(pid_file)], cwd=RUN,
                                    stdin=subprocess.DEVNULL, start_new_session=True)
        children.append(balancer)
        wait_ready(balancer, port, pid_file)
        print_help(port, config_path, pid_file)
        return balancer.wait()
    except KeyboardInterrupt:
        print("\nrun: stopping", flush=True)
        return 0
    finally:
        stop(children)


if __name__ == "__main__":
    sys.exit(main())
