"""Which backend a request goes to, continued: load, keys of requests, backups."""

import collections
import socket

import pytest
from lbharness import process, wire
from lbharness.wire import Connection, fetch

KEYS = [f"user-{i}" for i in range(60)]


@pytest.fixture
def dead_port():
    """A port that refuses connections, and stays like that: bound, but nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def spread(lb, count):
    """backend -> requests, over `count` requests on one connection."""
    with Connection(lb.address) as client:
        return collections.Counter(client.request(target="/?size=1").backend for _ in range(count))


def homes(lb, keys, headers_of, target="/?size=1"):
    """key -> backend, each asked for on a connection of its own source address."""
    found = {}
    for i, key in enumerate(keys):
        with Connection(lb.address, source=f"127.0.2.{i % 50 + 1}") as client:
            found[key] = client.request(target=target, headers=headers_of(key)).backend
    return found


@pytest.mark.parametrize("algorithm", ["weighted_least_connections", "power_of_two"])
def test_load_is_avoided_and_weights_are_kept(backends, start_lb, algorithm):
    weights = {"b1": 6, "b2": 3, "b3": 1}
    lb = start_lb(
        backends=[backends.config(n, weight=w) for n, w in weights.items()], workers=1, algorithm=algorithm
    )
    seen = spread(lb, 300)
    assert seen["b1"] > seen["b2"] > seen["b3"] > 0, seen
    with Connection(lb.address) as slow:
        slow.send(wire.format_request(target="/?size=1000000&rate=1000"))
        busy = slow.read_head().get("X-Backend")
        seen = spread(lb, 40)
    if algorithm == "weighted_least_connections":
        assert busy not in seen
    else:
        assert seen[busy] < 12, "only when it is drawn twice"


def test_a_header_is_a_key_whoever_sends_it(backends, start_lb, config_for):
    settings = {"algorithm": "consistent_hash", "hash": {"by": "header", "name": "X-User"}, "workers": 2}
    lb = start_lb(backends=backends, **settings)
    before = homes(lb, KEYS, lambda key: [("x-user", key)])
    assert set(before.values()) == {"b1", "b2", "b3"}
    reverse = homes(lb, KEYS[::-1], lambda key: [("X-USER", key)])
    assert before == reverse, "neither the address nor the order matters"
    lb.reload_config(config_for(backends=[backends.config(n) for n in ("b3", "b1")], **settings))
    after = homes(lb, KEYS, lambda key: [("X-User", key)])
    moved = {key for key in KEYS if before[key] != after[key]}
    assert moved >= {key for key in KEYS if before[key] == "b2"}
    assert len(moved) <= sum(home == "b2" for home in before.values()) + 3


def test_a_cookie_is_a_key_and_without_it_the_address_is(backends, start_lb):
    lb = start_lb(backends=backends, algorithm="consistent_hash", hash={"by": "cookie", "name": "session"})
    by_cookie = homes(lb, KEYS, lambda key: [("Cookie", f"theme=dark; session={key}")])
    assert by_cookie == homes(lb, KEYS[::-1], lambda key: [("Cookie", f"session={key}; x=1")])
    by_address = collections.defaultdict(set)
    for _ in range(3):
        for i in range(1, 40):
            with Connection(lb.address, source=f"127.0.1.{i}") as client:
                by_address[i].add(client.request(target="/?size=1").backend)
    assert all(len(seen) == 1 for seen in by_address.values())
    assert len(set.union(*by_address.values())) == 3


@pytest.mark.parametrize("by", ["path", "uri"])
def test_the_path_is_a_key_with_its_query_or_without(backends, start_lb, by):
    lb = start_lb(backends=backends, algorithm="consistent_hash", hash={"by": by})
    with Connection(lb.address) as client:
        seen = collections.defaultdict(set)
        for page in range(12):
            for query in range(12):
                seen[page].add(client.request(target=f"/page/{page}?size=1&q={query}").backend)
    if by == "path":
        assert all(len(backends_of) == 1 for backends_of in seen.values())
    else:
        assert any(len(backends_of) > 1 for backends_of in seen.values())
    assert len(set.union(*seen.values())) == 3


def test_a_hot_key_spills_over_at_its_bound(backends, start_lb):
    lb = start_lb(
        backends=backends, algorithm="consistent_hash", hash={"by": "path", "balance_factor": 1.5}
    )
    held = []
    try:
        for _ in range(9):
            held.append(Connection(lb.address))
            held[-1].send(wire.format_request(target="/hot?size=1000000&rate=1000"))
            held[-1].home = held[-1].read_head().get("X-Backend")
        load = collections.Counter(connection.home for connection in held)
        assert len(load) >= 2 and max(load.values()) <= 5, load
    finally:
        for connection in held:
            connection.close()


def test_a_backup_serves_when_no_other_is_left(backends, start_lb, dead_port):
    lb = start_lb(
        backends=[
            {"name": "gone", "host": "127.0.0.1", "port": dead_port},
            backends.config("b1", backup=True),
            backends.config("b2", backup=True),
        ],
        algorithm="round_robin",
    )
    seen = spread(lb, 20)
    assert seen == {"b1": 10, "b2": 10}, "the failure to connect is nobody's business"


def test_a_backup_serves_nothing_while_another_can(backends, start_lb):
    lb = start_lb(backends=[backends.config("b1"), backends.config("b2", backup=True)])
    assert spread(lb, 20) == {"b1": 20}


def test_a_full_backend_is_no_reason_for_the_backup(backends, start_lb):
    lb = start_lb(
        backends=[backends.config("b1", max_connections=1), backends.config("b2", backup=True)],
        queue={"size": 0},
    )
    with Connection(lb.address) as slow:
        slow.send(wire.format_request(target="/?size=1000000&rate=1000"))
        slow.read_head()
        assert fetch(lb.address).status == 503
    process.wait_until(lambda: fetch(lb.address).backend == "b1", what="the place to be free again")


def test_the_status_tells_backups(backends, start_lb):
    lb = start_lb(backends=[backends.config("b1"), backends.config("b2", backup=True)], slow_start=30)
    listed = process.wait_until(lambda: lb.status().get("backends"), what="the backends in the status")
    told = [(backend["name"], backend["backup"], backend["share_percent"]) for backend in listed]
    assert told == [("b1", False, 100), ("b2", True, 100)]
