"""Probation with the real balancer: the generation that proved good stays parked, and serves again at once
when the next one does not do."""

import os
import signal
import threading

from lbharness import wire
from lbharness.process import wait_until
from lbharness.wire import fetch

PROBATION = {"probation": 60, "requests_min": 20}


def labelled(config, label):
    return {**config, "response_headers": {"X-Config": label}}


def alive(pid):
    return os.path.exists(f"/proc/{pid}")


def proven(start_lb, config_for, backends):
    """A balancer whose first configuration has proved good, and the next one, which will be on probation."""
    config = config_for([backends.config("b1")], reload={"probation": 0})
    lb = start_lb(labelled(config, "good"))
    lb.wait_event("config.good")
    for _ in range(30):
        assert fetch(lb.address).status == 200
    return lb, {**config, "reload": PROBATION}, lb.current()["pid"]


def well(response):
    assert response.status == 200
    return response


def states(lb):
    return {one["generation"]: one["state"] for one in lb.status()["generations"]}


class NewConnections:
    """One new connection after the other, each with one request; what became of them is counted."""

    def __init__(self, address):
        self.address, self.answered, self.failed = address, 0, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self):
        while not self._stop.is_set():
            try:
                fetch(self.address)
                self.answered += 1
            except (OSError, wire.WireError) as error:
                self.failed.append(repr(error))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def more(self, count):
        goal = self.answered + count
        wait_until(lambda: self.answered >= goal, timeout=30, what="further answers")


def test_crash_on_probation_refuses_nobody(start_lb, config_for, backends):
    lb, config, good_pid = proven(start_lb, config_for, backends)
    with NewConnections(lb.address) as clients:
        lb.reload_config(labelled(config, "dies"))
        assert states(lb) == {1: "parked", 2: "serving"}
        clients.more(20)
        since = lb.log_position()
        os.kill(lb.current()["pid"], signal.SIGKILL)
        lb.wait_event("generation.resumed", since=since)
        clients.more(50)
    # The process that was killed was in the middle of one request at most; nobody is refused.
    assert len(clients.failed) <= 1, clients.failed
    assert not any("Refused" in error for error in clients.failed), clients.failed
    assert lb.current()["pid"] == good_pid and fetch(lb.address).label == "good"
    record = lb.status()["reloads"]["history"][0]
    assert record["rollback"] and record["applied"] and record["generation"] == 1
    assert "killed by" in record["reason"]


def test_live_connections_are_taken_back_from_a_bad_configuration(start_lb, config_for, backends):
    lb, config, good_pid = proven(start_lb, config_for, backends)
    kept = [wire.Connection(lb.address) for _ in range(20)]
    for connection in kept:
        assert connection.request().label == "good"
    backends.script("b2", status=500)
    since = lb.log_position()
    lb.reload_config(labelled({**config, "backends": [backends.config("b2")]}, "bad"))
    for connection in kept:
        response = connection.request()
        assert (response.status, response.label) == (500, "bad")
        assert connection.request().status == 500
    undone = lb.wait_event("reload.rolled_back", since=since)
    assert undone["generation"] == 1
    for connection in kept:
        # It may be on its way back just now; its requests go to the good backends all the same.
        wait_until(lambda c=connection: well(c.request()).label == "good", what="the same connection back")
        connection.close()
    assert lb.current()["pid"] == good_pid
    wait_until(lambda: states(lb) == {1: "serving"}, what="the bad one's end")
    assert "b2" in lb.status()["reloads"]["history"][0]["reason"]


def test_rapid_reloads_on_probation_keep_one_parked(start_lb, config_for, backends):
    lb, config, good_pid = proven(start_lb, config_for, backends)
    with NewConnections(lb.address) as clients:
        for i in range(10):
            lb.reload_config(labelled(config, f"number {i}"))
        wait_until(lambda: states(lb) == {1: "parked", 11: "serving"}, what="those between to end")
        clients.more(20)
    assert not clients.failed, clients.failed
    lb.reload_config(labelled({**config, "reload": {"probation": 0}}, "at once"))
    wait_until(lambda: not alive(good_pid), what="the parked one's end")
    assert fetch(lb.address).label == "at once"


def test_released_within_a_second_of_the_probation(start_lb, config_for, backends):
    lb, config, good_pid = proven(start_lb, config_for, backends)
    since = lb.log_position()
    lb.reload_config(labelled({**config, "reload": {"probation": 1}}, "good, too"))
    assert lb.status()["last_good"]["probation"]
    lb.wait_event("config.good", since=since)
    wait_until(lambda: not alive(good_pid), timeout=5, what="the parked one's end")


def test_killed_while_parked_is_no_harm(start_lb, config_for, backends):
    lb, config, good_pid = proven(start_lb, config_for, backends)
    lb.reload_config(labelled(config, "dies"))
    since = lb.log_position()
    with NewConnections(lb.address) as clients:
        os.kill(good_pid, signal.SIGKILL)
        lb.wait_event("generation.parked_lost", since=since)
        clients.more(20)
    assert not clients.failed, clients.failed
    os.kill(lb.current()["pid"], signal.SIGKILL)
    lb.wait_event("generation.restarted", since=since)
    assert fetch(lb.address).label == "good", "its text is still known"


def test_a_removed_listener_is_refused_and_comes_back(start_lb, config_for, backends):
    lb, config, _ = proven(start_lb, config_for, backends)
    two = [config["listen"], f"127.0.0.1:{wire.free_port()}"]
    lb.reload_config(labelled({**config, "listen": two, "reload": {"probation": 0}}, "two"))
    other = wire.parse_address(two[1])
    assert fetch(other).label == "two"
    lb.reload_config(labelled(config, "one"))
    try:
        fetch(other, timeout=5)
        raise AssertionError("nobody serves there any more")
    except (OSError, wire.WireError):
        pass
    since = lb.log_position()
    os.kill(lb.current()["pid"], signal.SIGKILL)
    lb.wait_event("generation.resumed", since=since)
    assert fetch(other).label == "two"


def test_a_full_service_is_reloaded_all_the_same(start_lb, config_for, backends):
    """No probe is accepted where as many clients are connected as may be, and nothing is wrong with that."""
    config = config_for([backends.config("b1")], max_connections=3, reload={"probation": 0})
    lb = start_lb(labelled(config, "good"))
    lb.wait_event("config.good")
    clients = [wire.Connection(lb.address) for _ in range(3)]
    try:
        for client in clients:
            assert well(client.request()).label == "good"
        lb.write(labelled({**config, "reload": PROBATION}, "next"))
        result = lb.reload_cli(timeout=30)
        assert result.code == 0, result

        def probes():
            answer = lb.cli("status", "--control", lb.control_path, "--reloads", "--json").json()
            return answer["reloads"][0]["probes"]

        wait_until(probes, timeout=15, what="the probe's answer")
        assert probes()[0]["ok"], probes()  # accepted when it came before the three did, else "not probed"
        assert [well(client.request()).label for client in clients] == ["next"] * 3
        assert states(lb) == {1: "parked", 2: "serving"}
    finally:
        for client in clients:
            client.close()
