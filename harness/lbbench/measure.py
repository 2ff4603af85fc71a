"""Rounds: every proxy once in each, in an order that turns, so that the machine's mood hits all alike."""

import json
import subprocess

from lbharness.errors import HarnessError

from . import syscalls
from .proxies import Process, bench_tool

ERRORS_SHARE_MAX = 0.0  # a proxy that fails requests has nothing to compare


class LoadRun(Process):
    """One lb_load: ready when made; run() is one measurement."""

    def __init__(self, proxy, workload, seconds, *, connections=None, rate=0, requests_max=None):
        port = proxy.tls_port if workload.tls != "none" else proxy.port
        argv = [bench_tool("lb_load"), "--port", port, "--connections", connections or workload.connections]
        argv += ["--body-bytes", workload.body_bytes, "--seconds", seconds, "--tls", workload.tls]
        argv += ["--close"] if workload.close else []
        argv += ["--rate", rate] if rate else []
        argv += ["--requests-max", requests_max] if requests_max else []
        super().__init__("lb_load", argv, output=subprocess.PIPE, errors=subprocess.PIPE)
        self.what = f"{workload.name} through {proxy.name}"
        try:
            self._checked(self._line())
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.popen.stderr.close()

    def _line(self):
        line = self.popen.stdout.readline()
        if not line:
            raise HarnessError(f"{self.what}: lb_load ended: {self.popen.stderr.read()[-500:]}")
        return json.loads(line)

    def _checked(self, result):
        if result["errors"] > ERRORS_SHARE_MAX * max(1, result["requests"]):
            raise HarnessError(
                f"{self.what}: {result['errors']} requests failed, the first by: {result['error']}"
            )
        return result

    def run(self):
        self.popen.stdin.write("run\n")
        self.popen.stdin.flush()
        return self._checked(self._line())


def one_load(proxy, workload, seconds, rate=0):
    """One figure set of one proxy."""
    with LoadRun(proxy, workload, seconds, rate=rate) as load:
        before = proxy.cpu_ns()
        result = load.run()
        after = proxy.cpu_ns()
    requests = result["requests"]
    if requests == 0:
        raise HarnessError(f"{workload.name} through {proxy.name}: nothing was answered")
    us, user_us = ((b - a) / 1000 / requests for a, b in zip(before, after))
    figures = {
        "us": us,
        "user_us": min(user_us, us),
        "system_us": max(us - user_us, 0.0),
        "rate": requests / result["seconds"],
        "requests": requests,
    }
    if workload.tls == "resume":
        figures["resumed"] = result["resumed"] / max(1, result["connections"])
    if rate:
        figures["unsent"] = result["unsent"]
        figures.update({name: value for name, value in result["latency_us"].items()})
    return figures


def one_idle(factory, name, workload, connections):
    """Memory of a fresh process for each connection that had one request and is idle now."""
    proxy = factory.start(name)
    if proxy is None:
        return None
    try:
        with LoadRun(proxy, workload, 0.3, connections=64) as load:
            load.run()  # what is allocated once is there now
        before = proxy.anonymous_bytes()
        with LoadRun(proxy, workload, 0.1, connections=connections):
            after = proxy.anonymous_bytes()
    finally:
        proxy.stop()
    return {"bytes": (after - before) / connections, "before_bytes": before, "connections": connections}


class Session:
    """Proxies that are kept running from workload to workload."""

    def __init__(self, factory, options, tell=lambda text: None):
        self.factory, self.options, self.tell = factory, options, tell
        self._running = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for proxy in self._running.values():
            if proxy is not None:
                proxy.stop()

    def _proxy(self, name):
        if name not in self._running:
            self._running[name] = self.factory.start(name)
        return self._running[name]

    def measure(self, workload):
        """{"rounds": name -> list of figures, "syscalls": name -> {call: per request}}."""
        names = [name for name in workload.proxies if self.options.takes(name)]
        if workload.kind == "idle":
            return {"rounds": self._idle(workload, names), "syscalls": {}}
        proxies = [p for p in map(self._proxy, names) if p is not None]
        if workload.tls != "none":
            for proxy in [p for p in proxies if not p.tls_port]:
                self.factory.note(f"{proxy.name} has no TLS and was left out of the TLS workloads")
            proxies = [p for p in proxies if p.tls_port]
        rate = self.options.rate if workload.kind == "latency" else 0
        rounds = {proxy.name: [] for proxy in proxies}
        for number in range(self.options.rounds):
            self.tell(f"{workload.title}: round {number + 1} of {self.options.rounds}")
            for proxy in turned(proxies, number):
                rounds[proxy.name].append(one_load(proxy, workload, self.options.seconds, rate))
        return {"rounds": rounds, "syscalls": self._syscalls(workload, proxies)}

    def _idle(self, workload, names):
        rounds = {name: [] for name in names}
        for number in range(self.options.idle_rounds):
            for name in turned(names, number):
                self.tell(f"{workload.title}: {self.options.idle_connections} through {name}")
                figures = one_idle(self.factory, name, workload, self.options.idle_connections)
                if figures:
                    rounds[name].append(figures)
        return {name: found for name, found in rounds.items() if found}

    def _syscalls(self, workload, proxies):
        if not self.options.syscalls or workload.kind != "load":
            return {}
        if not syscalls.available():
            self.factory.note("strace is not installed: system calls were not counted")
            return {}
        counts = {}
        for proxy in proxies:
            self.tell(f"{workload.title}: system calls of {proxy.name}")
            with LoadRun(proxy, workload, 1.0, requests_max=4000) as load:
                found = syscalls.count(proxy.pid, self.factory.directory, lambda: load.run()["requests"])
            if found is None:
                self.factory.note("strace may not attach here: system calls were not counted")
                return {}
            counts[proxy.name] = found
        return counts


def turned(things, number):
    """The same things, beginning with another one each round."""
    if not things:
        return []
    at = number % len(things)
    return [*things[at:], *things[:at]]
