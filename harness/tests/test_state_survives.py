"""What a reload and a crash do not make a balancer forget: counters, buckets, health, load."""

import os
import signal
import threading

from lbharness import process
from lbharness.process import wait_until
from lbharness.wire import Connection, fetch, format_request, free_port

LONG = 60


class Moody:
    """Answers checks and requests by its moods."""

    def __init__(self, raw_backend, name):
        self.name = name
        self.healthy = True
        self.status = 200
        self.requests = 0
        self.backend = raw_backend(self.handle)

    def handle(self, exchange):
        if exchange.target == "/health":
            return exchange.reply(200 if self.healthy else 503)
        self.requests += 1
        return exchange.reply(self.status, body=self.name.encode())

    def config(self):
        return self.backend.config(name=self.name)


def total(lb, name="requests"):
    return lb.status()["counters"][name]


def backend(lb, name):
    return next(b for b in lb.status()["backends"] if b["name"] == name)


def ask(lb, count):
    """Statuses of so many requests, each on a connection of its own."""
    return [fetch(lb.address).status for _ in range(count)]


def kill_9(pid):
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: process.process_state(pid) in (None, "Z"), what="it to be dead")


def kill_generation(lb):
    since = lb.log_position()
    kill_9(lb.current()["pid"])
    lb.wait_event("generation.restarted", since=since)


def test_counters_go_on_over_reloads_and_crashes(start_lb, raw_backend):
    """Each request counts exactly once, whatever became of the process that served it."""
    a = Moody(raw_backend, "a")
    config = {"listen": f"127.0.0.1:{free_port()}", "workers": 2, "backends": [a.config()]}
    lb = start_lb(config)
    asked = 0

    def ask_some(count=3):
        nonlocal asked
        assert ask(lb, count) == [200] * count
        asked += count
        assert total(lb) == asked
        status = backend(lb, "a")
        assert status["total"]["requests"] == asked
        assert status["total"]["latency"]["count"] == asked

    for _ in range(20):
        ask_some()
        assert lb.reload_cli().code == 0
        assert total(lb) == asked
    for _ in range(2):
        ask_some()
        kill_generation(lb)
        assert total(lb) == asked, "nothing that it had counted is lost, nothing counted twice"
    ask_some()
    orphan = lb.current()["pid"]
    kill_9(lb.pid)
    assert ask(lb, 2) == [200] * 2
    asked += 2
    lb.start({**config, "response_headers": {"X-Config": "second"}})
    wait_until(lambda: process.process_state(orphan) in (None, "Z"), timeout=20, what="the orphan to end")
    assert total(lb) == asked, "the next supervisor has it all"
    ask_some()
    shown = lb.cli("status", "--control", lb.control_path).out
    assert "in all" in shown and f"({asked} requests" in shown


def test_no_reload_and_no_crash_refills_a_bucket(start_lb, raw_backend):
    a = Moody(raw_backend, "a")
    config = {"listen": "127.0.0.1:0", "workers": 2, "backends": [a.config()]}
    limited = {**config, "rate_limit": {"per_ip": 0.001, "burst": 5}}
    lb = start_lb(limited)
    assert ask(lb, 7) == [200] * 5 + [429] * 2
    for burst, rate in [(5, 0.001), (5, 0.002), (50, 0.001), (2, 0.001), (5, 0.001)]:
        lb.reload_config({**config, "rate_limit": {"per_ip": rate, "burst": burst}})
        assert ask(lb, 2) == [429] * 2, "an empty bucket stays empty"
    kill_generation(lb)
    assert ask(lb, 2) == [429] * 2
    lb.reload_config(config)
    assert ask(lb, 2) == [200] * 2
    lb.reload_config(limited)
    assert ask(lb, 2) == [429] * 2, "who takes the limit away for a moment gives nothing away"


def test_a_backend_known_to_be_down_gets_no_request_after_a_reload(start_lb, raw_backend):
    """The new generation does not begin by finding that out: one good check is not enough, as ever."""
    a, b = Moody(raw_backend, "a"), Moody(raw_backend, "b")
    b.healthy = False
    check = {"path": "/health", "interval": LONG, "timeout": 2, "rise": 2}
    lb = start_lb(backends=[a.config(), b.config()], health_check=check)
    assert ask(lb, 6) == [200] * 6 and b.requests == 0
    since_s = backend(lb, "b")["since_s"]
    b.healthy = True
    for _ in range(3):
        assert lb.reload_cli().code == 0
        assert ask(lb, 6) == [200] * 6 and b.requests == 0
        status = backend(lb, "b")
        assert status["standing"] == "down" and status["reason"] == "status 503, expected 200-399"
        assert status["since_s"] >= since_s
    kill_generation(lb)
    assert ask(lb, 6) == [200] * 6 and b.requests == 0, "nor after a crash"


def test_a_backend_that_is_another_server_now_is_looked_at_anew(start_lb, raw_backend):
    a, b, c = (Moody(raw_backend, name) for name in "abc")
    b.healthy = False
    lb = start_lb(
        backends=[a.config(), b.config()],
        health_check={"path": "/health", "interval": LONG, "timeout": 2, "rise": 2},
    )
    assert backend(lb, "b")["standing"] == "down"
    moved = {**c.config(), "name": "b"}
    lb.reload_config(
        {
            "listen": "127.0.0.1:0",
            "workers": 2,
            "backends": [moved, a.config()],
            "health_check": {"path": "/health", "interval": LONG, "timeout": 2, "rise": 2},
        }
    )
    assert backend(lb, "b")["standing"] == "up"
    assert ask(lb, 4) == [200] * 4 and c.requests == 2


def test_an_ejection_goes_on_over_reloads(start_lb, raw_backend):
    a, b = Moody(raw_backend, "a"), Moody(raw_backend, "b")
    b.status = 502
    rules = {"failures_in_row": 3, "ejection": LONG, "ejection_max": 10 * LONG}
    lb = start_lb(backends=[a.config(), b.config()], outlier_detection=rules, workers=1)
    wait_until(
        lambda: ask(lb, 2) and backend(lb, "b")["standing"] == "ejected", what="b to be ejected"
    )
    b.status = 200
    before = b.requests
    for _ in range(3):
        assert lb.reload_cli().code == 0
        assert ask(lb, 6) == [200] * 6
        status = backend(lb, "b")
        assert status["standing"] == "ejected" and "in a row" in status["reason"]
    assert b.requests == before


def test_only_a_new_backend_begins_slowly(start_lb, raw_backend):
    a, b, c = (Moody(raw_backend, name) for name in "abc")
    config = {"listen": "127.0.0.1:0", "workers": 2, "slow_start": 10 * LONG}
    lb = start_lb({**config, "backends": [a.config(), b.config()]})
    shares = lambda: {b["name"]: b["share_percent"] for b in lb.status()["backends"]}  # noqa: E731
    assert shares() == {"a": 100, "b": 100}, "at the start nobody knows better"
    lb.reload_config({**config, "backends": [c.config(), a.config(), b.config()]})
    found = shares()
    assert (found["a"], found["b"]) == (100, 100) and found["c"] < 20
    assert lb.reload_cli().code == 0
    assert shares()["c"] < 20, "and goes on with it over the next one"


def test_load_of_the_generation_before_counts(start_lb, raw_backend):
    """What drains still keeps its backend busy: it is no secret to the next generation."""
    answer = threading.Event()

    def handle(name):
        def handler(exchange):
            if exchange.target == "/slow":
                answer.wait(20)
            exchange.reply(body=name.encode())

        return handler

    names = ["a", "b"]
    entries = [raw_backend(handle(name)).config(name=name) for name in names]
    lb = start_lb(backends=entries, algorithm="least_connections")
    try:
        with Connection(lb.address) as client:
            client.send(format_request(target="/slow"))
            busy = lambda: [b["name"] for b in lb.status()["backends"] if b["in_flight"] > 0]  # noqa: E731
            wait_until(busy, what="a backend to be busy")
            [slow] = busy()
            assert lb.reload_cli().code == 0
            assert busy() == [slow], "it is shown"
            idle = names[1 - names.index(slow)]
            assert {fetch(lb.address).body.decode() for _ in range(10)} == {idle}
            limited = [{**entry, "max_connections": 1} for entry in entries]
            lb.reload_config(
                {"listen": "127.0.0.1:0", "workers": 2, "backends": limited, "algorithm": "round_robin"}
            )
            assert {fetch(lb.address).body.decode() for _ in range(10)} == {idle}, "the limit is for all"
            draining = [g["pid"] for g in lb.generations() if g["state"] == "draining"]
            for pid in draining:
                kill_9(pid)
            wait_until(lambda: len(lb.generations()) == 1, what="the dead to be forgotten")
            assert busy() == [], "a dead process has no load"
            wait_until(lambda: fetch(lb.address).body.decode() == slow, what="it to serve again")
    finally:
        answer.set()


def state_file(pid):
    """(descriptors of the process, bytes of memory that the shared state takes)"""
    folder = f"/proc/{pid}/fd"
    names = os.listdir(folder)
    for name in names:
        try:
            if "memfd:lb-state" in os.readlink(f"{folder}/{name}"):
                return len(names), os.stat(f"{folder}/{name}").st_blocks * 512
        except FileNotFoundError:
            pass
    raise AssertionError("there is no shared state")


def test_many_reloads_leave_nothing_in_the_shared_state(start_lb, raw_backend):
    a = Moody(raw_backend, "a")
    config = {"listen": "127.0.0.1:0", "workers": 2}

    def reload(i):
        other = {"host": "127.0.0.1", "port": 9, "name": f"other{i}", "weight": 0}
        lb.reload_config({**config, "backends": [a.config(), other]})
        assert ask(lb, 2) == [200] * 2
        wait_until(lambda: len(lb.generations()) == 1, what="the old generation to end")

    lb = start_lb(backends=[a.config()])
    for i in range(5):
        reload(i)
    fds, size = state_file(lb.pid)
    for i in range(5, 30):
        reload(i)
    # A process is seen to be gone a moment before its supervisor has closed what belonged to it.
    wait_until(lambda: state_file(lb.pid)[0] <= fds, what="as many descriptors as before")
    _, size_after = state_file(lb.pid)
    assert size_after <= size, "what ended generations counted takes no memory"
    assert lb.status()["state"] == {"shared": True, "backends": 2}
