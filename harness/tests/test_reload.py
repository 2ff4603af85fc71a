"""Reload and drain: what a client on each kind of connection sees, and what the operator is answered."""

import json
import shutil
import signal
import threading
import time

import pytest
from lbharness import process, wire
from lbharness.balancer import frozen
from lbharness.process import wait_until
from lbharness.wire import Connection, fetch, format_request


@pytest.fixture
def start(start_lb, backends, config_for):
    """start(key=value...) -> (balancer, reload(key=value...)): each reload has the next label g1, g2, ..."""

    def make(**keys):
        lb = start_lb(backends=backends, **{"response_headers": {"X-Config": "g0"}, **keys})
        count = [0]

        def reload(**changed):
            count[0] += 1
            lb.reload_config(
                config_for(
                    **{
                        "backends": backends,
                        **keys,
                        "response_headers": {"X-Config": f"g{count[0]}"},
                        **changed,
                    }
                )
            )
            return f"g{count[0]}"

        return lb, reload

    return make


def client_label(connection):
    response = connection.request()
    assert response.status == 200 and not response.closes
    return response.label


def in_flight(backends):
    return sum(b["in_flight"] for b in backends.stats().values())


# ---- what clients see ------------------------------------------------------------------------------


def test_new_connections_get_the_new_configuration_at_once(start):
    lb, reload = start()
    for _ in range(5):
        label = reload()
        assert {fetch(lb.address).label for _ in range(10)} == {label}


def test_request_in_flight_finishes(start, backends):
    lb, reload = start()
    with Connection(lb.address) as client:
        client.send(format_request(target="/?size=1000&delay_ms=400"))
        wait_until(lambda: in_flight(backends) == 1, what="the request to be at the backend")
        reload()
        response = client.read_response()
        assert response.status == 200 and len(response.body) == 1000
        assert response.label == "g0" and not response.closes
        assert client.request().label == "g1", "the connection moves on with its answer"


def test_download_and_upload_span_a_reload(start, backends, rng):
    lb, reload = start()
    body = rng.randbytes(40_000)
    with Connection(lb.address) as down, Connection(lb.address) as up:
        down.send(format_request(target="/?size=100000&rate=200000"))
        assert down.read_head().status == 200
        up.send(format_request("POST", "/?echo=body", headers=[("Content-Length", str(len(body)))]))
        up.send(body[:20_000])
        reload()
        assert len(down.read_exactly(100_000)) == 100_000
        up.send(body[20_000:])
        response = up.read_response()
        assert response.body == body and not response.closes
        assert client_label(up) == client_label(down) == "g1"


def test_tunnel_outlives_a_reload(start):
    lb, reload = start()
    with Connection(lb.address) as client:
        client.send(format_request(headers=[("Connection", "upgrade"), ("Upgrade", "lb-echo")]))
        assert client.read_head().status == 101
        for i in range(3):
            reload()
            client.send(b"still here %d" % i)
            assert client.read_exactly(12) == b"still here %d" % i


def test_idle_connection_lives_through_reloads(start):
    """It is handed from generation to generation: the client sees no close, and no announcement of one."""
    lb, reload = start(timeouts={"quiet": 0.05})
    with Connection(lb.address) as client, Connection(lb.address) as silent:
        assert client.request().label == "g0"
        for _ in range(10):
            label = reload()
            response = client.request()
            assert response.label == label and not response.closes
        wait_until(lambda: len(lb.generations()) == 1, what="the old generations to be gone")
        assert client.quiet(0.3), "closed for being quiet"
        assert client.request().status == 200
        assert silent.request().label == label, "one that had never asked lives on too"


def test_a_thousand_idle_connections_live_through_reloads(start):
    lb, reload = start(timeouts={"quiet": 0.05})
    clients = [Connection(lb.address) for _ in range(1000)]
    for client in clients:
        assert client.request(target="/?size=1").status == 200
    for _ in range(5):
        label = reload()
    wait_until(lambda: len(lb.generations()) == 1, timeout=5, what="the old generations to be gone")
    for client in clients:
        response = client.request(target="/?size=1")
        assert response.label == label and not response.closes
        client.close()
    # A generation may be passed over by connections that reach the supervisor after the next reload.
    drains = lb.status()["drains"]
    assert sum(drain["handed_over"] for drain in drains) >= 1000
    assert sum(drain["closed_idle"] + drain["force_closed"] for drain in drains) == 0


def test_half_a_request_travels_along(start):
    lb, reload = start()
    with Connection(lb.address) as client:
        client.request()
        client.send(b"GET /?size=3 HTTP/1.1\r\nHo")
        reload()
        client.send(b"st: x\r\n\r\n")
        response = client.read_response()
        assert response.status == 200 and len(response.body) == 3 and response.label == "g1"
        assert client.request().label == "g1"


def test_stopping_an_idle_connection_is_not_closed_at_once(start):
    """Nobody takes over: a request may be on its way, so it is closed after timeouts.quiet and not before."""
    lb, _ = start(timeouts={"quiet": 1.0})
    with Connection(lb.address) as client, Connection(lb.address) as asking:
        client.request()
        asking.request()
        since = lb.log_position()
        lb.send_signal(signal.SIGTERM)
        lb.wait_event("drain.begin", since=since)
        began = time.monotonic()
        assert client.quiet(0.3), "closed at once"
        response = asking.request()
        assert response.status == 200 and response.closes
        assert client.closed_by_peer(timeout=5)
        assert time.monotonic() - began >= 0.5


def test_request_sent_at_the_moment_of_the_drain(start):
    """Many idle connections, each with a request at some time around the drain: all are answered."""
    lb, reload = start(timeouts={"quiet": 0.2})
    clients = [Connection(lb.address) for _ in range(60)]
    for client in clients:
        assert client.request(target="/?size=1").status == 200
    failures = []

    def ask(number, client):
        time.sleep(number * 0.0015)  # spread over the reload: this is the load, not synchronisation
        try:
            if client.request(target="/?size=1").status != 200:
                failures.append((number, "status"))
        except (OSError, wire.WireError) as error:
            failures.append((number, str(error)))

    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(clients)]
    for thread in threads:
        thread.start()
    reload()
    for thread in threads:
        thread.join()
    for client in clients:
        client.close()
    assert not failures


def test_request_that_arrived_before_the_quiet_time_was_noticed(start):
    """A generation that drains for the end of the service is frozen while its idle connections become overdue
    and a request arrives on each. When it goes on, it finds both at once, and must look before it closes."""
    lb, _ = start(timeouts={"quiet": 3.0})
    old = lb.current()["pid"]
    clients = [Connection(lb.address) for _ in range(100)]
    for client in clients:
        assert client.request(target="/?size=1").status == 200
    lb.send_signal(signal.SIGTERM)
    wait_until(lambda: lb.generations()[0]["state"] == "draining", what="the drain to be acknowledged")
    with frozen([old]):
        overdue = time.monotonic() + 3.2
        wait_until(lambda: time.monotonic() > overdue, what="the connections to be overdue")
        for client in clients:
            client.send(format_request(target="/?size=1"))
    for client in clients:
        response = client.read_response()
        assert response.status == 200 and response.closes
        client.close()


def test_removed_backend_gets_nothing_more_even_on_old_connections(start, backends):
    lb, reload = start(timeouts={"quiet": 5})
    clients = [Connection(lb.address) for _ in range(12)]
    for client in clients:
        client.request(target="/?size=1")
    reload(backends=[backends.config(n) for n in ("b1", "b2")])
    before = backends.requests()["b3"]
    for client in clients:
        response = client.request(target="/?size=1")
        assert response.status == 200 and response.backend in ("b1", "b2")
        client.close()
    assert backends.requests()["b3"] == before


def test_drain_timeout_closes_what_is_left_and_counts_it(start):
    """A tunnel has moved to the next generation by then."""
    lb, reload = start(drain_timeout=0.5)
    since = lb.log_position()
    with Connection(lb.address) as client, Connection(lb.address) as tunnel:
        client.send(format_request(target="/?size=1000000&rate=1000"))
        client.read_head()
        tunnel.send(format_request(headers=[("Connection", "upgrade"), ("Upgrade", "lb-echo")]))
        assert tunnel.read_head().status == 101
        reload()
        with pytest.raises(wire.WireError):
            client.read_exactly(1_000_000)
        tunnel.send(b"still here")
        assert tunnel.read_exactly(10) == b"still here"
    event = lb.wait_event("drain.end", since=since)
    assert event["force_closed"] == 1 and event["tunnels"] == 1, event


def test_drain_ends_and_the_old_process_is_gone(start):
    lb, reload = start(timeouts={"quiet": 0.1})
    old = lb.current()["pid"]
    since = lb.log_position()
    reload()
    lb.wait_event("drain.end", since=since)
    wait_until(lambda: process.process_state(old) is None, what="the old generation to be gone")
    assert len(lb.generations()) == 1


# ---- what the operator is answered -----------------------------------------------------------------


def test_answer_of_lb_reload(start, config_for, backends):
    lb, _ = start()
    lb.write(config_for(backends=backends, algorithm="random"))
    result = lb.reload_cli("--json")
    assert result.code == 0, result
    answer = result.json()
    assert answer["generation"] == lb.current()["generation"] == 2
    lb.write(config_for(backends=backends, algorithm="ip_hash"))
    result = lb.reload_cli()
    assert result.code == 0 and "3" in result.out and result.err == "", result


def test_rejected_reload_says_why_and_changes_nothing(start):
    lb, reload = start()
    pid = lb.current()["pid"]
    lb.write('{"listen": "127.0.0.1:0", "backends": [], "algoritm": "random"}')
    result = lb.reload_cli()
    assert result.code == 1 and result.out == "", result
    assert "lb.json:1:" in result.err and "algorithm" in result.err and "/backends" in result.err, result
    assert lb.current()["pid"] == pid and fetch(lb.address).label == "g0"
    assert reload() == fetch(lb.address).label, "the next good one is applied"


def test_bad_good_bad_good(start):
    lb, reload = start()
    for _ in range(3):
        lb.write("{")
        assert lb.reload_cli().code == 1
        label = reload()
        assert fetch(lb.address).label == label


def test_reload_when_nobody_is_there(start_lb, tmp_path):
    from lbharness import run_cli

    assert run_cli("reload", "--control", tmp_path / "nothing.sock").code == 2
    assert run_cli("status", "--control", tmp_path / "nothing.sock").code == 2


def test_reloads_at_once_coalesce(start, config_for, backends):
    """Ten callers while the supervisor is stopped: each is answered, and few reloads run for them."""
    lb, _ = start()
    lb.write(config_for(backends=backends, response_headers={"X-Config": "new"}))
    since = lb.log_position()
    with frozen([lb.pid]):
        callers = [Connection(str(lb.control_path), timeout=30) for _ in range(10)]
        for caller in callers:
            caller.send('{"cmd":"reload"}\n')
    answers = []
    for caller in callers:
        while b"\n" not in caller.buffer:
            assert caller._receive(), "hung up without an answer"
        answers.append(json.loads(caller.buffer))
        caller.close()
    assert all(answer["applied"] for answer in answers), answers
    assert fetch(lb.address).label == "new"
    reloads = len({answer["generation"] for answer in answers})
    assert reloads <= 2
    # The log is another pipe than the control socket.
    wait_until(lambda: len(lb.events("reload.applied", since=since)) >= reloads, timeout=10, what="the log")
    assert len(lb.events("reload.applied", since=since)) == reloads


def test_pids_and_threads_follow_the_configuration(start):
    lb, reload = start(workers=1)
    few = process.thread_count(lb.current()["pid"])
    reload(workers=4)
    assert process.thread_count(lb.current()["pid"]) == few + 3


# ---- listeners -------------------------------------------------------------------------------------


def test_listeners_added_and_removed(start):
    lb, reload = start()
    main = lb.address
    label = reload(listen=["127.0.0.1:0", "127.0.0.2:0"])
    added = dict(lb.listeners())["127.0.0.2:0"]
    assert dict(lb.listeners())["127.0.0.1:0"] == main, "the address that stays keeps its port"
    assert fetch(added).label == fetch(main).label == label
    label = reload(listen=["127.0.0.2:0"])
    assert fetch(added).label == label
    wait_until(lambda: not wire.can_connect(main), what="the removed address to refuse")


def test_listener_in_use_is_refused_and_nobody_notices(start, backends):
    import socket

    lb, reload = start()
    with socket.socket() as other:
        other.bind(("127.0.0.3", 0))
        other.listen()
        taken = f"127.0.0.3:{other.getsockname()[1]}"
        with pytest.raises(Exception, match="in use"):
            reload(listen=["127.0.0.1:0", taken])
    assert fetch(lb.address).label == "g0"


@pytest.mark.parametrize("sequence", [(1, 4, 1), (4, 2, 1, 4)])
def test_worker_count_changes_under_load(start, sequence):
    """Shards of a listener that has become too wide are adopted by the workers that stay."""
    lb, reload = start(workers=2)
    failures, stop = [], threading.Event()

    def load():
        while not stop.is_set():
            try:
                if fetch(lb.address, "/?size=1").status != 200:
                    failures.append("status")
            except (OSError, wire.WireError) as error:
                failures.append(str(error))

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    for workers in sequence:
        label = reload(workers=workers)
        # Many connections, so that each shard of the kernel's choice is met.
        assert {fetch(lb.address).label for _ in range(40)} == {label}
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures


def test_binary_replaced_is_an_upgrade(start_lb, backends, config_for, tmp_path):
    from lbharness import paths

    binary = tmp_path / "lb-binary"
    shutil.copy(paths.lb_binary(), binary)
    lb = start_lb(backends=backends, options={"binary": binary})
    beside = tmp_path / "lb-binary.new"
    shutil.copy(paths.lb_binary(), beside)
    beside.replace(binary)
    inode = binary.stat().st_ino
    lb.reload_config(config_for(backends=backends, response_headers={"X-Config": "upgraded"}))
    assert fetch(lb.address).label == "upgraded"
    exe = process.Path(f"/proc/{lb.current()['pid']}/exe").stat().st_ino
    assert exe == inode, "the new generation runs the new file"
