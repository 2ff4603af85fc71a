"""Live handoff with the real balancer: tunnels, idle clients and idle backend connections over reloads.
The same at full size: harness/live_handoff.py."""

import argparse
import contextlib
import os
import random
import signal

import live_handoff
import pytest
from lbharness.balancer import Balancer
from lbharness.long_lived import LongLived
from lbharness.process import wait_until


@pytest.fixture
def live():
    made = LongLived(seed=3, pause_s=0.01)
    yield made
    made.close()


@pytest.fixture
def lb(tmp_path):
    made = Balancer(directory=tmp_path, seed=3)
    yield made
    made.stop()


def test_every_kind_lives_through_reloads(lb, live):
    options = argparse.Namespace(idle=200, upgrades=20, tcp=20, reloads=10, seed=3)
    result = live_handoff.run(lb, live, options)
    assert result["faults"] == []
    drains = result["drains"]
    assert len(drains) == 10
    for drain in drains:
        assert drain["moved"]["upgrade_tunnels"] == 20, drain
        assert drain["moved"]["tcp_tunnels"] == 20, drain
        assert drain["moved"]["idle"] + drain["moved"]["after_exchange"] == 200, drain
        assert drain["force_closed"] == drain["closed_idle"] == drain["refused"] == 0, drain
    assert result["mib"] > 0
    assert result["backend_connections_by_reloads"] <= 10, "pooled connections go along"


def open_both(lb, live, count=8):
    http, tcp = (address for _, address in lb.listeners()[:2])
    live.open_tunnels(http, count, upgrade=True)
    live.open_tunnels(tcp, count, upgrade=False)


def test_a_removed_backend_keeps_its_tunnels_and_is_shown(lb, live):
    first = live_handoff.configuration(live.port, "0")
    lb.start(first)
    open_both(lb, live)
    lb.reload_config({**first, "backends": [{"name": "other", "host": "127.0.0.1", "port": 9}]})
    wait_until(lambda: len(lb.generations()) == 1, what="the old generation to be gone")
    shown = {b["name"]: b for b in lb.status()["backends"]}
    assert shown["live"]["in_flight"] == 16 and shown["live"]["standing"] == "removed"
    lb.reload_config(first)
    wait_until(lambda: len(lb.generations()) == 1, what="the old generation to be gone")
    (only,) = lb.status()["backends"]
    assert only["in_flight"] == 16 and only["standing"] == "up"
    assert live.finish() == []


def test_a_removed_backend_may_close_its_tunnels_at_the_reload(lb, live):
    first = live_handoff.configuration(live.port, "0")
    first["backends"][0]["on_removal"] = "close"
    lb.start(first)
    open_both(lb, live, 2)
    lb.reload_config({**first, "backends": [{"name": "other", "host": "127.0.0.1", "port": 9}]})
    wait_until(lambda: len(lb.generations()) == 1, what="the old generation to be gone")
    assert lb.status()["drains"][-1]["closed_removed"] == 4
    assert live.finish() != []


def test_reloads_that_overtake_each_other_lose_nothing(lb, live):
    """A successor may itself be told to hand over while connections are still on their way to it."""
    first = live_handoff.configuration(live.port, "0")
    lb.start(first)
    open_both(lb, live)
    rng = random.Random(5)
    for number in range(1, 6):
        lb.reload_config(live_handoff.configuration(live.port, str(number)))
        if rng.random() < 0.5:
            lb.reload_config(live_handoff.configuration(live.port, f"{number}-again"))
    assert live.faults == []
    wait_until(lambda: len(lb.generations()) == 1, timeout=20, what="the old generations to be gone")
    assert live.finish() == []


def test_the_supervisor_is_not_needed_for_the_handoff(lb, live):
    config = live_handoff.configuration(live.port, "0")
    lb.start(config)
    open_both(lb, live)
    for number in range(1, 4):
        lb.write(live_handoff.configuration(live.port, str(number)))
        since = lb.log_position()
        lb.send_signal(signal.SIGHUP)
        lb.wait_event("drain.begin", since=since)
        with contextlib.suppress(ProcessLookupError):
            os.kill(lb.pid, signal.SIGKILL)
        lb.start(live_handoff.configuration(live.port, str(number)))
        lb.reload_config(live_handoff.configuration(live.port, f"{number}-again"))
    wait_until(lambda: len(lb.generations()) == 1, timeout=20, what="the old generations to be gone")
    assert live.finish() == []
