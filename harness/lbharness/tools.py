"""The native tools of harness/traffic as classes: fake backends, traffic, the comparison of their ledgers.

What the tools do, and every key of their languages, is in harness/traffic/README.md.
"""

import contextlib
import json
import signal
import subprocess

from . import paths
from .errors import CannotMeasure, ChildDied, HarnessError, NotReady
from .process import JsonChild

STOP_GRACE_MS = 15_000


class Backends:
    """One lb_backend process with a number of fake backends on ports of the kernel's choice."""

    def __init__(self, names, ledger=None, directory=None, host="127.0.0.1", listen=None, certificates=None):
        """`listen`: name -> address, for those that are not at HOST:0; "tls:HOST:0" needs `certificates`."""
        argv = [paths.tool("lb_backend")]
        for name in names:
            argv += ["--backend", f"{name}={(listen or {}).get(name, f'{host}:0')}"]
        if ledger:
            argv += ["--ledger", ledger]
        if certificates:
            argv += ["--certificate", certificates.certificate, "--key", certificates.key]
        self.ledger = ledger
        self.names = list(names)
        self.child = JsonChild("lb_backend", argv, cwd=directory)
        ready = self.child.wait_message(lambda m: m.get("event") == "ready", what="ready")
        self.address = {b["name"]: (host, b["port"]) for b in ready["backends"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def _command(self, command, timeout=20.0):
        answer = self.child.command(command, timeout=timeout)
        if not answer["ok"]:
            raise HarnessError(f"lb_backend refused {command}: {answer.get('error')}")
        return answer

    def port(self, name):
        return self.address[name][1]

    def config(self, name, **more):
        """The entry of a balancer's configuration for this backend."""
        host, port = self.address[name]
        return {"name": name, "host": host, "port": port, **more}

    def add(self, name, host="127.0.0.1"):
        self.address[name] = (
            host,
            self._command({"cmd": "add", "name": name, "listen": f"{host}:0"})["port"],
        )
        self.names.append(name)

    def remove(self, name):
        self._command({"cmd": "remove", "name": name})

    def script(self, name="*", **script):
        """Replaces the behaviour of a backend; no keys: normal."""
        return self._command({"cmd": "script", "backend": name, "script": script})

    def stats(self):
        """name -> counters."""
        return {b["name"]: b for b in self._command({"cmd": "stats"})["backends"]}

    def requests(self):
        """name -> how many requests it has read, health checks left out."""
        return {name: b["requests"] for name, b in self.stats().items()}

    def flush(self):
        return self._command({"cmd": "flush"}, timeout=120.0)

    def clear(self):
        return self._command({"cmd": "clear"})

    def check_alive(self):
        self.child.check_alive()

    def stop(self):
        self.child.stop()


class Traffic:
    """One lb_traffic process: wait_ready, start, commands while it runs, stop (which returns the summary)."""

    def __init__(self, target, spec, ledger, *, seed=1, time_limit_s=600, spec_path=None, records_max=None):
        argv = [
            paths.tool("lb_traffic"),
            "--target",
            target,
            "--spec",
            spec_path or "-",
            "--seed",
            str(seed),
            "--ledger",
            ledger,
            "--time-limit",
            str(int(time_limit_s)),
        ]
        if records_max:
            argv += ["--records-max", str(records_max)]
        if spec_path:
            spec_path.write_text(json.dumps(spec, indent=1))
        self.ledger = ledger
        self.child = JsonChild("lb_traffic", argv)
        if not spec_path:
            self.child.send_line(json.dumps(spec, separators=(",", ":")))
        self.summary = None
        self._read_until = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def wait_ready(self, timeout=10.0):
        self.child.wait_message(lambda m: m.get("event") == "ready", timeout=timeout, what="ready")
        return self

    def command(self, cmd, timeout=10.0, **keys):
        answer = self.child.command({"cmd": cmd, **keys}, timeout=timeout)
        if not answer["ok"]:
            raise HarnessError(f"lb_traffic refused {cmd}: {answer.get('error')}")
        return answer

    def start(self):
        return self.command("start")["t_ns"]

    def fire(self, offset_us=0, **keys):
        return self.command("fire", offset_us=int(offset_us), **keys)

    def burst(self, **keys):
        return self.command("burst", **keys)

    def progress(self):
        """The newest progress event, or None."""
        return self.child.latest(lambda m: m.get("event") == "progress")

    def wait_progress(self, wanted, timeout=20.0, what="traffic to flow"):
        """Waits for a progress event for which `wanted` holds; for "until it has done n requests"."""
        return self.child.wait_message(
            lambda m: m.get("event") == "progress" and wanted(m),
            since=max(0, self.child.position("stdout") - 1),
            timeout=timeout,
            what=what,
        )

    def wait_open(self, spec, timeout=60.0):
        """Until the connections that are to outlive reloads are open. Where they cannot all be had, the run
        goes on, and shows it."""
        wanted = {
            s["name"]: s["clients"]
            for s in spec["streams"]
            if s["kind"] in ("idle", "websocket", "tcp_tunnel")
        }

        def is_open(message):
            streams = [s for s in message["streams"] if s["name"] in wanted]
            answered = all(s["ok"] >= wanted[s["name"]] for s in streams if s["kind"] == "idle")
            return answered and all(s["connections"] >= wanted[s["name"]] for s in streams)

        with contextlib.suppress(NotReady):
            self.wait_progress(is_open, timeout, "long-lived connections to be open")

    def wait_more(self, count, timeout=20.0):
        """Until `count` further requests have been answered."""
        so_far = (self.progress() or {"ok": 0})["ok"]
        self.wait_progress(lambda m: m["ok"] >= so_far + count, timeout, f"{count} further answers")

    def new_drops(self):
        """The drop events that came since the last call."""
        since, self._read_until = self._read_until, self.child.position("stdout")
        return [m for m in self.child.messages(since) if m.get("event") == "drop"]

    def stop(self, grace_ms=STOP_GRACE_MS):
        """Lets what is in flight finish, has the ledger written; the summary."""
        since = self.child.position("stdout")
        self.child.send_line(json.dumps({"cmd": "stop", "grace_ms": int(grace_ms)}))
        self.summary = self.child.wait_message(
            lambda m: m.get("event") == "summary",
            since=since,
            timeout=grace_ms / 1000 + 120,
            what="its summary",
        )
        code = self.child.wait(60.0)
        if code != 0:
            raise HarnessError(f"lb_traffic ended with {code}\n{self.child.log_text()}")
        return self.summary

    def check_alive(self):
        self.child.check_alive()

    def kill(self):
        self.child.stop(signal.SIGKILL)


def judge(
    traffic_ledgers,
    backend_ledgers,
    marks,
    out,
    *,
    removed="request",
    lines=300,
    slow=10,
    stories=100,
    excuse=False,
    timeout=600,
):
    """Runs lb_ledger and returns its report (a dict; `exit_code` in it is its verdict)."""
    marks_path = out.with_name(out.stem + ".marks.json")
    marks_path.write_text(json.dumps(marks))
    argv = [
        paths.tool("lb_ledger"),
        "--marks",
        marks_path,
        "--out",
        out,
        "--removed",
        removed,
        "--lines",
        str(lines),
        "--slow",
        str(slow),
        "--stories",
        str(stories),
    ]
    if excuse:
        argv.append("--excuse-faults")
    for path in traffic_ledgers:
        argv += ["--traffic", path]
    for path in backend_ledgers:
        argv += ["--backend", path]
    result = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=timeout)
    if result.returncode not in (0, 1, 2):
        raise ChildDied(f"lb_ledger ended with {result.returncode}: {result.stderr.strip()[-2000:]}")
    if not out.is_file():
        raise CannotMeasure(f"lb_ledger wrote no report: {result.stderr.strip()[-2000:]}")
    return json.loads(out.read_text())
