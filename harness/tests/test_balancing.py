"""Which backend a request goes to, who is let in, and where the balancer listens."""

import collections
import json
import socket
import threading

import pytest
from lbharness import process, wire
from lbharness.wire import Connection, fetch


def spread(lb, count, source=None):
    """backend -> requests, over `count` requests on one connection."""
    with Connection(lb.address, source=source) as client:
        return collections.Counter(client.request(target="/?size=1").backend for _ in range(count))


@pytest.mark.parametrize("workers", [1, 4])
def test_round_robin_is_even(backends, start_lb, workers):
    lb = start_lb(backends=backends, algorithm="round_robin", workers=workers)
    seen = collections.Counter()
    for _ in range(10):
        seen += spread(lb, 9)
    assert seen == {"b1": 30, "b2": 30, "b3": 30}


def test_weighted_round_robin_is_exact_and_smooth(backends, start_lb):
    weights = {"b1": 3, "b2": 2, "b3": 1}
    lb = start_lb(
        backends=[backends.config(n, weight=w) for n, w in weights.items()],
        workers=1,
        algorithm="weighted_round_robin",
    )
    assert spread(lb, 60) == {"b1": 30, "b2": 20, "b3": 10}
    with Connection(lb.address) as client:
        order = [client.request(target="/?size=1").backend for _ in range(12)]
    assert not any(a == b == c for a, b, c in zip(order, order[1:], order[2:])), f"bursts: {order}"


def test_weight_0_gets_nothing(backends, start_lb):
    lb = start_lb(
        backends=[backends.config("b1", weight=0), backends.config("b2")], algorithm="weighted_round_robin"
    )
    assert spread(lb, 20) == {"b2": 20}


def test_least_connections_avoids_the_busy(backends, start_lb):
    lb = start_lb(backends=backends, algorithm="least_connections")
    with Connection(lb.address) as slow:
        slow.send(wire.format_request(target="/?size=1000000&rate=1000"))
        busy = slow.read_head().get("X-Backend")
        seen = spread(lb, 30)
    assert busy not in seen and sum(seen.values()) == 30


def test_ip_hash_sticks_to_the_address(backends, start_lb):
    lb = start_lb(backends=backends, algorithm="ip_hash")
    by_source = {}
    for i in range(1, 30):
        seen = spread(lb, 3, source=f"127.0.1.{i}")
        assert len(seen) == 1, "one client, one backend"
        by_source[i] = next(iter(seen))
    assert set(by_source.values()) == {"b1", "b2", "b3"}


def test_ip_hash_moves_only_the_clients_of_a_backend_that_left(backends, start_lb, config_for):
    lb = start_lb(backends=backends, algorithm="ip_hash")
    clients = [f"127.0.1.{i}" for i in range(1, 40)]
    before = {c: next(iter(spread(lb, 1, c))) for c in clients}
    lb.reload_config(config_for(backends=[backends.config(n) for n in ("b3", "b1")], algorithm="ip_hash"))
    after = {c: next(iter(spread(lb, 1, c))) for c in clients}
    assert {c for c in clients if before[c] != after[c]} == {c for c in clients if before[c] == "b2"}


def test_random_reaches_all(backends, start_lb):
    lb = start_lb(backends=backends, algorithm="random")
    seen = spread(lb, 150)
    assert set(seen) == {"b1", "b2", "b3"} and min(seen.values()) > 20


def test_max_connections_of_a_backend(backends, start_lb):
    lb = start_lb(backends=[backends.config("b1", max_connections=1)], queue={"size": 0})
    with Connection(lb.address) as slow:
        slow.send(wire.format_request(target="/?size=1000000&rate=1000"))
        slow.read_head()
        assert fetch(lb.address).status == 503
    process.wait_until(lambda: fetch(lb.address).status == 200, what="the place to be free again")


def test_max_connections_of_the_balancer(backends, start_lb):
    """Clients beyond the limit wait or are told so; nobody is cut off; a freed place is given on."""
    lb = start_lb(backends=backends, max_connections=2, workers=1)
    first, second = Connection(lb.address), Connection(lb.address)
    assert first.request().status == second.request().status == 200
    with Connection(lb.address, timeout=5) as third:
        third.send(wire.format_request())
        assert first.request().status == 200
        first.close()
        second.close()
        assert third.read_response().status in (200, 503)
    process.wait_until(lambda: fetch(lb.address).status == 200, what="a free place")


# ---- rate limit ------------------------------------------------------------------------------------


def test_rate_limit(backends, start_lb):
    lb = start_lb(backends=backends, rate_limit={"per_ip": 0.1, "burst": 3})
    with Connection(lb.address) as client:
        answers = [client.request() for _ in range(6)]
    assert [r.status for r in answers] == [200] * 3 + [429] * 3
    assert 1 <= int(answers[-1].get("Retry-After")) <= 30
    with Connection(lb.address, source="127.0.7.7") as other:
        assert other.request().status == 200, "each address has its own bucket"


def test_rate_limit_refills(backends, start_lb):
    lb = start_lb(backends=backends, rate_limit={"per_ip": 20, "burst": 1})
    assert fetch(lb.address).status == 200
    process.wait_until(lambda: fetch(lb.address).status == 200, timeout=3, what="the bucket to fill again")


def test_rate_limit_is_shared_by_all_workers(backends, start_lb):
    lb = start_lb(backends=backends, workers=4, rate_limit={"per_ip": 0.001, "burst": 25})
    statuses = []

    def client():
        for _ in range(10):
            statuses.append(fetch(lb.address).status)

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert collections.Counter(statuses) == {200: 25, 429: 55}


# ---- listeners -------------------------------------------------------------------------------------


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
        return True
    except OSError:
        return False


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6 loopback here")
def test_ipv6_both_sides(raw_backend, start_lb):
    backend = raw_backend(host="::1")
    lb = start_lb(backends=backend, listen="[::1]:0")
    assert lb.address[0] == "::1"
    assert fetch(lb.address).status == 200
    assert backend.requests[0].get("X-Forwarded-For") == "::1"


def test_unix_sockets_both_sides(start_lb, tmp_path):
    from lbharness import Backends

    with Backends(["u1"], listen={"u1": f"unix:{tmp_path}/backend.sock"}):
        path = f"{tmp_path}/front.sock"
        lb = start_lb(backends=[{"name": "u1", "unix": f"{tmp_path}/backend.sock"}], listen=f"unix:{path}")
        assert lb.address == path
        assert fetch(path, "/?size=77").body.__len__() == 77


def test_several_addresses(backends, start_lb, tmp_path):
    lb = start_lb(backends=backends, listen=["127.0.0.1:0", "127.0.0.2:0", f"unix:{tmp_path}/s.sock"])
    addresses = [address for _, address in lb.listeners()]
    assert len(addresses) == 3
    assert [fetch(a).status for a in addresses] == [200] * 3


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_access_log(backends, start_lb, tmp_path, log_format):
    path = tmp_path / "access.log"
    lb = start_lb(
        backends=backends,
        access_log=str(path),
        options={"log_format": log_format},
    )
    with Connection(lb.address) as client:
        assert client.request(target="/logged?size=123").status == 200
        client.send("GET /\x01 HTTP/1.1\r\n\r\n")
        client.read_response()
    line = process.wait_until(lambda: [x for x in _lines(path) if "/logged" in x], what="the line")[0]
    if log_format == "json":
        entry = json.loads(line)
        assert (entry["method"], entry["status"], entry["response_body_bytes"]) == ("GET", 200, 123)
    else:
        assert '"GET /logged?size=123" 200 123' in line
    assert all("\x01" not in x for x in _lines(path))


def _lines(path):
    return path.read_text().splitlines() if path.exists() else []
