#!/usr/bin/env python3
"""The crash matrix: a process is killed, crashed or frozen at every step of a reload, under traffic.

A case is a step, who is hit, and how: at the step "the new generation has sent READY" the supervisor, the old
or the new generation gets SIGKILL or SIGSEGV, or SIGSTOP for a moment. While one process stands at the step
(a fault point, lb/base/fault_point.hpp) the others go on. The last steps are those of going back: the new
generation has been killed while on probation, and the old one, parked, is to serve again. What must hold in
every case:

  - no connection is refused, and none cannot be made;
  - lost is at most what each killed generation itself was in the middle of: one request of each client, one
    WebSocket; none when the hit process was only frozen, none when it was the supervisor;
  - afterwards the service answers, a reload is applied (by a new supervisor, where the old one was killed),
    and one generation is left.

Prints a table. Exit status 0 when all of this held, 1 when not, 2 when it could not be found out.
"""
import argparse
import dataclasses
import json
import os
import pathlib
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from lbharness import Backends, Balancer, CannotMeasure, HarnessError, Traffic  # noqa: E402
from lbharness import paths, process, wire  # noqa: E402
from lbharness.process import wait_until  # noqa: E402

# The steps in the order of a reload; who gets there is the part before the point: sup(ervisor), new, old.
STEPS = (
    ("supervisor.forked", "supervisor"),
    ("supervisor.start_sent", "supervisor"),
    ("generation.start_received", "new"),
    ("generation.before_loaded", "new"),
    ("generation.loaded_sent", "new"),
    ("supervisor.loaded", "supervisor"),
    ("supervisor.proceed_sent", "supervisor"),
    ("generation.proceed_received", "new"),
    ("generation.listeners_adopted", "new"),
    ("generation.before_ready", "new"),
    ("generation.ready_sent", "new"),
    ("supervisor.ready", "supervisor"),
    ("supervisor.promoted", "supervisor"),
    ("supervisor.before_successor", "supervisor"),
    ("supervisor.predecessor_sent", "supervisor"),
    ("supervisor.successor_sent", "supervisor"),
    ("generation.successor_received", "old"),
    ("generation.parked", "old"),
    ("generation.before_draining", "old"),
    ("generation.draining_sent", "old"),
    ("supervisor.draining", "supervisor"),
    ("supervisor.probe_sent", "supervisor"),
    ("generation.before_probed", "new"),
    ("supervisor.probed", "supervisor"),
    ("generation.clients_leaving", "old"),
    ("handoff.offer_sent", "old"),
    ("handoff.offered", "new"),
    ("handoff.answer_sent", "new"),
    ("handoff.before_commit", "old"),
    ("handoff.commit_sent", "old"),
    ("handoff.committed", "new"),
    ("generation.clients_arriving", "new"),
    ("generation.before_drained", "old"),
)
STEPS_BACK = (
    ("supervisor.before_resume", "supervisor"),
    ("supervisor.resume_sent", "supervisor"),
    ("generation.resume_received", "old"),
    ("generation.before_resumed", "old"),
    ("generation.resumed_sent", "old"),
    ("supervisor.resumed", "supervisor"),
)
ROLES = dict(STEPS + STEPS_BACK)  # who comes to a step
TARGETS = ("supervisor", "old", "new")
ACTIONS = {"kill": signal.SIGKILL, "segv": signal.SIGSEGV, "stop": signal.SIGSTOP}
QUICK = (  # what has gone wrong in balancers before, one of each kind
    ("supervisor.forked", "supervisor", "kill"),
    ("generation.before_loaded", "new", "segv"),
    ("generation.before_ready", "supervisor", "kill"),  # lost what the new generation had accepted already
    ("generation.ready_sent", "new", "kill"),
    ("supervisor.promoted", "supervisor", "kill"),
    ("supervisor.successor_sent", "old", "kill"),
    ("handoff.answer_sent", "old", "kill"),
    ("handoff.before_commit", "new", "kill"),
    ("generation.successor_received", "old", "stop"),
    ("generation.before_probed", "new", "kill"),  # the parked one serves again
    ("supervisor.before_resume", "supervisor", "kill"),  # nobody is left who could say RESUME
    ("generation.resume_received", "old", "kill"),  # nobody is left, so the proven text is started
)
CLIENTS = 6  # of each kind
KINDS = 3  # new connections, kept-alive ones, WebSockets that stay open
FROZEN_S = 0.5
STEP_SECONDS_MAX = 20
PROBATION_S = 2  # a parked generation is waited for, for so long
TRAFFIC = {
    "streams": [
        {"name": "new", "kind": "new", "clients": CLIENTS, "think_ms": [10, 50]},
        {"kind": "keepalive", "clients": CLIENTS, "think_ms": [5, 25]},
        {
            "kind": "websocket",
            "clients": CLIENTS,
            "params": {"interval_ms": [20, 200], "peer_interval_ms": [20, 200]},
        },
    ],
    "defaults": {"timeout_ms": 15000, "connect_timeout_ms": 15000},
}


@dataclasses.dataclass(frozen=True)
class Case:
    step: str
    target: str
    action: str

    def __str__(self):
        return f"{self.step} {self.target} {self.action}"


@dataclasses.dataclass
class Result:
    case: Case
    problems: list
    lost: int = 0
    requests: int = 0
    answer: str = ""  # of the reload in the middle of which it happened
    note: str = ""
    seconds: float = 0.0


def all_cases():
    ahead = [Case(step, target, action) for step, _ in STEPS for target in TARGETS for action in ACTIONS]
    back = [Case(step, target, action) for step, _ in STEPS_BACK for target in ("supervisor", "old")
            for action in ACTIONS]
    return ahead + back


def quick_cases():
    return [Case(*fields) for fields in QUICK]


def points_in_sources():
    """Every fault point that the balancer has."""
    texts = (path.read_text() for path in (paths.ROOT / "lb").rglob("*.cpp"))
    return {name for text in texts for name in re.findall(r'LB_FAULT_POINT\("([^"]+)"\)', text)}


def program():
    """The balancer with fault points, built when it is not there or not up to date."""
    done = subprocess.run(["tools/build.sh", "release", "crash_lb"], cwd=paths.ROOT, capture_output=True,
                          text=True, check=False)
    if done.returncode != 0:
        raise CannotMeasure(f"the balancer with fault points does not build:\n{done.stdout}{done.stderr}")
    return paths.ROOT / "build" / "release" / "crash" / "crash_lb"


class Gate:
    """Where processes report that they have come to a fault point. All go on at once, but the one that is
    waited for."""

    def __init__(self, path):
        self.path = str(path)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._lock = threading.Lock()
        self._armed, self._who = None, lambda pid: True
        self._held, self.pid, self._there = None, None, threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def arm(self, point, who):
        """The next process at `point` for which who(pid) holds waits there."""
        with self._lock:
            self._armed, self._who = point, who

    def wait(self, timeout):
        """Its pid, once it is there; None when it does not come."""
        return self.pid if self._there.wait(timeout) else None

    def release(self):
        with self._lock:
            self._armed = None
            held, self._held = self._held, None
        if held:
            held.close()

    def close(self):
        self.release()
        self._listener.close()
        pathlib.Path(self.path).unlink(missing_ok=True)

    def _serve(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection.makefile("rb") as lines:
                name, _, pid = lines.readline().decode().strip().partition(" ")
            with self._lock:
                if name and name == self._armed and not self._held and self._who(int(pid)):
                    self._held, self.pid, self._armed = connection, int(pid), None
                    self._there.set()
                    continue
            connection.close()


class _Run:
    """One case."""

    def __init__(self, case, folder, binary, seed):
        self.case, self.folder = case, pathlib.Path(folder)
        self.result = Result(case, [])
        self.port = wire.free_port()
        self.backends = Backends(["b1", "b2"], directory=self.folder)
        self.gate = Gate(self.folder / "gate")
        gate = {"LB_FAULT_GATE": self.gate.path}
        self.lb = Balancer(directory=self.folder, binary=binary, seed=seed, env=gate)
        self.going_back = case.step in dict(STEPS_BACK)

    def config(self, label):
        return {
            "listen": f"127.0.0.1:{self.port}",
            "workers": 2,
            "backends": [self.backends.config(name) for name in ("b1", "b2")],
            "response_headers": {"X-Config": label},
            "timeouts": {"quiet": 0.2},
            "drain_timeout": 5,
            "reload": {"probation": 0 if label == "first" else PROBATION_S},  # the first one is good at once
        }

    def problem(self, text):
        self.result.problems.append(text)

    def go(self):
        began = time.monotonic()
        load = None
        try:
            self.backends.__enter__()
            self.lb.start(self.config("first"))
            target = wire.format_address(self.lb.address)
            load = Traffic(target, TRAFFIC, self.folder / "ledger", time_limit_s=120)
            load.wait_ready()
            load.start()
            load.wait_progress(lambda p: p["ok"] > 20)
            if self._strike(load):
                self._afterwards(load)
        except (HarnessError, OSError, AssertionError) as error:
            self.problem(f"{type(error).__name__}: {str(error)[:1500]}")
        finally:
            self._end(load)
        self.result.seconds = round(time.monotonic() - began, 2)
        return self.result

    def _pid_of(self, at_gate, old):
        if self.case.target == "supervisor":
            return self.lb.pid
        if self.case.target == "old":
            return old
        if at_gate not in (self.lb.pid, old):
            return at_gate
        others = [pid for pid in process.children_of(self.lb.pid) if pid != old]
        return others[-1] if others else None

    def _strike(self, load):
        supervisor, old = self.lb.pid, self.lb.current()["pid"]
        role = ROLES[self.case.step]
        roles = {"supervisor": lambda pid: pid == supervisor, "old": lambda pid: pid == old,
                 "new": lambda pid: pid not in (supervisor, old)}
        self.lb.write(self.config("second"))
        answer = []
        ask = lambda: answer.append(self.lb.reload_cli(timeout=STEP_SECONDS_MAX))  # noqa: E731
        reload = threading.Thread(target=ask)
        if self.going_back:
            ask()
            self.gate.arm(self.case.step, roles[role])
            os.kill(self.lb.current()["pid"], signal.SIGKILL)
        else:
            self.gate.arm(self.case.step, roles[role])
            reload.start()
        at_gate = self.gate.wait(STEP_SECONDS_MAX)
        target = self._pid_of(at_gate, old) if at_gate else None
        if target is None:
            self.gate.release()
            self.problem("there is no such process" if at_gate else f"nobody came to {self.case.step}")
        elif process.process_state(target) in (None, "Z"):
            self.gate.release()
            self.result.note = "had ended already"
        elif self.case.action == "stop":
            os.kill(target, signal.SIGSTOP)
            self.gate.release()
            time.sleep(FROZEN_S)  # that long is the fault
            os.kill(target, signal.SIGCONT)
        else:
            os.kill(target, ACTIONS[self.case.action])
            dead = lambda: process.process_state(target) in (None, "Z")  # noqa: E731
            wait_until(dead, what="the hit process to be dead")
            self.gate.release()
        if not self.going_back:
            reload.join(STEP_SECONDS_MAX + 10)
        if reload.is_alive():
            self.problem("lb reload got no answer, nor an end of the connection")
        elif answer:
            self.result.answer = {0: "applied", 1: "rejected"}.get(answer[0].code, f"exit {answer[0].code}")
        return target is not None

    def _afterwards(self, load):
        if self.case.target == "supervisor" and self.case.action != "stop":
            load.wait_more(40)  # without a supervisor
            self.lb.start(self.config("third"))
        load.wait_more(40)
        # One that comes to nothing because a generation is being restarted is asked for again.
        wait_until(lambda: self._is_applied("fourth"), timeout=20, every=0.1, what="a reload to be applied")
        wire.wait_answer(self.lb.address, 10, lambda r: r.label == "fourth")
        load.wait_more(40)
        summary = load.stop()
        self.result.lost, self.result.requests = summary["drops"], sum(summary["outcomes"].values())
        outcomes = summary["outcomes"]
        refused = outcomes.get("refused", 0) + outcomes.get("connect_timeout", 0)
        if refused:
            self.problem(f"{refused} connections were refused: {outcomes}")
        spared = self.case.action == "stop" or self.case.target == "supervisor"
        allowed = ((not spared) + self.going_back) * KINDS * CLIENTS
        if summary["drops"] > allowed:
            self.problem(f"{summary['drops']} requests were lost, at most {allowed} may be: {outcomes}")
        alone = lambda: len(self.lb.generations()) == 1  # noqa: E731
        wait_until(alone, timeout=20, every=0.05, what="one generation to be left")

    def _is_applied(self, label):
        self.lb.write(self.config(label))
        return self.lb.reload_cli(timeout=STEP_SECONDS_MAX).code == 0

    def _end(self, load):
        self.gate.close()
        if self.result.problems:
            self.result.problems.append(self.lb.log_text()[-3000:])
        if load:
            load.kill()
        self.lb.stop()
        for pid in process.descendants(os.getpid()):  # generations of a supervisor that is gone
            if str(self.folder) in process.command_line(pid) or "generation" in process.command_line(pid):
                process.kill_process(pid)
        process.reap_orphans()
        self.backends.__exit__(None, None, None)


def run_case(case, binary, seed=1):
    with tempfile.TemporaryDirectory(prefix="lb-crash-") as folder:
        return _Run(case, folder, binary, seed).go()


def table_line(result):
    state = "FAILED" if result.problems else result.note or "ok"
    return (f"{result.case.step:<31}{result.case.target:<12}{result.case.action:<6}{result.answer:<10}"
            f"{result.lost:>4} of {result.requests:<6}{result.seconds:5.1f} s  {state}")


HEAD = f"{'step':<31}{'hit':<12}{'how':<6}{'reload':<10}{'lost':>4}"


def main():
    parser = argparse.ArgumentParser(prog="crash_matrix.py", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a few cases only")
    parser.add_argument("--step", action="append", choices=[*ROLES], help="repeatable")
    parser.add_argument("--target", action="append", choices=TARGETS)
    parser.add_argument("--action", action="append", choices=list(ACTIONS))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="all results, there")
    options = parser.parse_args()
    cases = quick_cases() if options.quick else all_cases()
    cases = [c for c in cases if c.step in (options.step or [c.step])
             and c.target in (options.target or [c.target]) and c.action in (options.action or [c.action])]
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    process.become_subreaper()
    try:
        binary = program()
    except CannotMeasure as error:
        print(f"crash matrix: {error}", file=sys.stderr)
        return 2
    print(HEAD)
    results = []
    for case in cases:
        results.append(run_case(case, binary, options.seed))
        print(table_line(results[-1]), flush=True)
        for problem in results[-1].problems:
            print("    " + problem.replace("\n", "\n    "), flush=True)
    bad = sum(bool(result.problems) for result in results)
    lost = sum(result.lost for result in results)
    requests = sum(result.requests for result in results)
    print(f"{len(results)} cases, {bad} failed; {lost} requests lost of {requests}")
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps([dataclasses.asdict(r) for r in results], indent=1) + "\n")
    return 1 if bad or not results else 0


if __name__ == "__main__":
    sys.exit(main())
