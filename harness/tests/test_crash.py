"""kill -9 of the supervisor and of generations, under traffic: the service stays up, or is back at once."""

import os
import signal
import threading

import pytest
from lbharness import Traffic, process, wire
from lbharness.process import wait_until
from lbharness.wire import fetch, format_address

NEW_ONLY = {
    "streams": [{"name": "new", "kind": "new", "clients": 8, "rate": 60}],
    "defaults": {"timeout_ms": 8000, "connect_timeout_ms": 8000},
}
BOTH = {"streams": [*NEW_ONLY["streams"], {"kind": "keepalive", "clients": 8, "think_ms": [1, 5]}]}


@pytest.fixture
def traffic(tmp_path):
    started = []

    def start(lb, spec=NEW_ONLY):
        one = Traffic(
            format_address(lb.address), spec, tmp_path / f"t{len(started)}.ledger", time_limit_s=60
        )
        started.append(one)
        one.wait_ready()
        one.start()
        one.wait_progress(lambda p: p["ok"] > 20)
        return one

    yield start
    for one in started:
        one.kill()


def kill_9(pid):
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: process.process_state(pid) in (None, "Z"), what="it to be dead")


def test_killed_generation_is_restarted_and_nobody_is_refused(start_lb, backends, traffic):
    """The supervisor holds the sockets: the kernel queues who comes meanwhile. What was in flight is lost."""
    lb = start_lb(backends=backends)
    load = traffic(lb)
    old = lb.current()["pid"]
    since = lb.log_position()
    kill_9(old)
    lb.wait_event("generation.restarted", since=since)
    assert lb.current()["pid"] != old
    load.wait_more(100)
    summary = load.stop()
    assert summary["outcomes"].get("refused", 0) == 0 and summary["outcomes"].get("connect_timeout", 0) == 0
    assert summary["drops"] <= 16, "only what was in the dead process"


def test_restart_is_from_the_last_good_configuration(start_lb, backends):
    lb = start_lb(backends=backends, response_headers={"X-Config": "good"})
    lb.write("{ this is not good")
    assert lb.reload_cli().code == 1
    kill_9(lb.current()["pid"])
    response = wire.wait_answer(lb.address, 10, lambda r: r.status == 200)
    assert response.label == "good"


def test_generation_killed_again_and_again(start_lb, backends):
    """Back-off, not resignation."""
    lb = start_lb(backends=backends)
    for _ in range(4):
        pid = wait_until(lambda: serving_pid(lb), what="a serving generation")
        kill_9(pid)
        wait_until(lambda p=pid: serving_pid(lb) not in (None, p), timeout=10, what="the next one")
    wire.wait_answer(lb.address, 10)


def serving_pid(lb):
    status = lb.status()
    serving = [g for g in status["generations"] if g["generation"] == status["current"]]
    return serving[0]["pid"] if serving else None


def test_reload_after_a_crash(start_lb, backends, config_for):
    lb = start_lb(backends=backends)
    kill_9(lb.current()["pid"])
    lb.reload_config(config_for(backends=backends, response_headers={"X-Config": "after"}))
    wire.wait_answer(lb.address, 10, lambda r: r.label == "after")


def test_generation_killed_while_draining(start_lb, raw_backend):
    """What it still had is lost: a request in flight. Idle connections have moved on."""
    answer = threading.Event()
    backend = raw_backend(lambda exchange: answer.wait(20) and exchange.reply())
    lb = start_lb(backends=backend)
    with wire.Connection(lb.address) as client:
        client.send(wire.format_request())
        wait_until(lambda: backend.requests, what="the request at the backend")
        old = lb.current()["pid"]
        assert lb.reload_cli().code == 0
        kill_9(old)
        assert client.closed_by_peer()
    answer.set()
    assert fetch(lb.address).status == 200
    wait_until(lambda: len(lb.generations()) == 1, what="it to be forgotten")


def test_killed_supervisor_leaves_the_service_up(start_lb, backends, traffic):
    lb = start_lb(backends=backends)
    load = traffic(lb, BOTH)
    generation = lb.current()["pid"]
    kill_9(lb.pid)
    load.wait_more(300)
    summary = load.stop()
    assert summary["drops"] == 0, summary["outcomes"]
    assert process.process_state(generation) not in (None, "Z")


def test_next_supervisor_takes_over_from_a_killed_one(start_lb, backends, traffic, config_for):
    """kill -9 of the supervisor, then a fresh start on the same pid file: not one request is lost."""
    port = wire.free_port()
    config = config_for(backends=backends, listen=f"127.0.0.1:{port}", timeouts={"quiet": 0.2})
    lb = start_lb(config)
    load = traffic(lb, BOTH)
    orphan = lb.current()["pid"]
    kill_9(lb.pid)
    lb.start({**config, "response_headers": {"X-Config": "second"}})
    wire.wait_answer(lb.address, 10, lambda r: r.label == "second")
    wait_until(
        lambda: process.process_state(orphan) in (None, "Z"), timeout=20, what="the orphan to drain and end"
    )
    assert {fetch(lb.address).label for _ in range(30)} == {"second"}
    summary = load.stop()
    assert summary["drops"] == 0, summary["outcomes"]
    assert lb.reload_cli().code == 0, "and it can be reloaded"


def test_frozen_generation_does_not_block_a_reload(start_lb, backends, config_for):
    """A hung old generation is given a deadline, and the new one serves."""
    lb = start_lb(backends=backends)
    old = lb.current()["pid"]
    os.kill(old, signal.SIGSTOP)
    try:
        lb.reload_config(config_for(backends=backends, response_headers={"X-Config": "unfrozen"}))
        wire.wait_answer(lb.address, 10, lambda r: r.label == "unfrozen")
    finally:
        os.kill(old, signal.SIGCONT)
