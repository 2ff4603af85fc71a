"""Signals to the supervisor and to a generation."""

import os
import signal

import pytest
from lbharness import process, wire
from lbharness.process import wait_until
from lbharness.wire import Connection, fetch, format_request


def test_hup_reloads(start_lb, backends, config_for):
    lb = start_lb(backends=backends)
    lb.write(config_for(backends=backends, response_headers={"X-Config": "hup"}))
    since = lb.log_position()
    lb.send_signal(signal.SIGHUP)
    event = lb.wait_event("reload.applied", "reload.rejected", since=since)
    assert event["event"] == "reload.applied" and event["generation"] == 2
    assert fetch(lb.address).label == "hup"


def test_hup_with_a_bad_file_is_logged(start_lb, backends):
    lb = start_lb(backends=backends)
    lb.write("{}")
    since = lb.log_position()
    lb.send_signal(signal.SIGHUP)
    event = lb.wait_event("reload.applied", "reload.rejected", since=since)
    assert event["event"] == "reload.rejected"
    assert fetch(lb.address).status == 200


def test_storm_of_hup(start_lb, backends, config_for):
    lb = start_lb(backends=backends)
    lb.write(config_for(backends=backends, response_headers={"X-Config": "storm"}))
    since = lb.log_position()
    for _ in range(200):
        lb.send_signal(signal.SIGHUP)
    wire.wait_answer(lb.address, 10, lambda r: r.label == "storm")
    assert lb.reload_cli().code == 0
    assert len(lb.events("reload.applied", since=since)) < 20, "reloads coalesce"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR2])
def test_term_and_usr2_drain_then_exit(start_lb, backends, number):
    lb = start_lb(backends=backends, timeouts={"quiet": 0.1})
    with Connection(lb.address) as client, Connection(lb.address) as idle:
        idle.request()
        client.send(format_request(target="/?size=1000&delay_ms=300"))
        wait_until(lambda: sum(b["in_flight"] for b in backends.stats().values()), what="the request")
        lb.send_signal(number)
        assert len(client.read_response().body) == 1000
        assert idle.closed_by_peer()
    assert lb.child.wait(5) == 0
    assert not wire.can_connect(lb.address)


def test_second_term_exits_now(start_lb, backends):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        client.send(format_request(target="/?size=1000000&rate=1000"))
        client.read_head()
        since = lb.log_position()
        lb.send_signal(signal.SIGTERM)
        lb.wait_event("drain.begin", since=since)
        assert lb.child.alive()
        lb.send_signal(signal.SIGTERM)
        lb.child.wait(3)
        assert client.read_to_end() is not None


def test_int_exits_now(start_lb, backends):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        client.send(format_request(target="/?size=1000000&rate=1000"))
        client.read_head()
        generation = lb.current()["pid"]
        lb.send_signal(signal.SIGINT)
        lb.child.wait(3)
    wait_until(lambda: process.process_state(generation) in (None, "Z"), what="the generation to be gone")


def test_usr1_opens_the_logs_again(start_lb, backends, tmp_path):
    access, log = tmp_path / "access.log", tmp_path / "event.log"
    lb = start_lb(backends=backends, access_log=str(access))
    fetch(lb.address, "/before")
    wait_until(lambda: access.exists() and "/before" in access.read_text(), what="the first line")
    access.rename(tmp_path / "access.log.1")
    lb.send_signal(signal.SIGUSR1)
    wait_until(access.exists, what="a new file")
    fetch(lb.address, "/after")
    wait_until(lambda: "/after" in access.read_text(), what="a line in the new file")
    assert "/after" not in (tmp_path / "access.log.1").read_text()
    assert not log.exists()


def test_event_log_is_opened_again(start_lb, backends, tmp_path):
    log = tmp_path / "event.log"
    lb = start_lb(backends=backends, spawn_only=True, options={"arguments": ["--log", str(log)]})
    wait_until(lambda: log.exists() and '"ready"' in log.read_text(), what="the ready event")
    log.rename(tmp_path / "event.log.1")
    lb.send_signal(signal.SIGUSR1)
    wait_until(log.exists, what="a new file")
    assert lb.reload_cli().code == 0
    wait_until(lambda: "reload.applied" in log.read_text(), what="an event in the new file")


def test_usr2_to_a_generation_drains_it_and_it_is_replaced(start_lb, backends):
    """Not the supervisor's doing: the service must be back by itself."""
    lb = start_lb(backends=backends, timeouts={"quiet": 0.1})
    old = lb.current()["pid"]
    since = lb.log_position()
    os.kill(old, signal.SIGUSR2)
    lb.wait_event("generation.restarted", since=since)
    wait_until(lambda: process.process_state(old) in (None, "Z"), what="the generation to drain and end")
    assert fetch(lb.address).status == 200
    assert lb.current()["pid"] != old


def test_sigpipe_and_usr1_do_no_harm(start_lb, backends):
    lb = start_lb(backends=backends)
    generation = lb.current()["pid"]
    for pid in (lb.pid, generation):
        os.kill(pid, signal.SIGPIPE)
        os.kill(pid, signal.SIGUSR1)
    os.kill(generation, signal.SIGHUP)
    assert fetch(lb.address).status == 200
    assert lb.current()["pid"] == generation and lb.child.alive()
