"""What is wrong from either side: malformed requests, backends that refuse, hang, lie or die, limits."""

import pytest
from lbharness import wire
from lbharness.wire import Connection, WireError, fetch, format_request

# ---- malformed requests ----------------------------------------------------------------------------

HOST = "Host: lb.test\r\n"
MALFORMED = {
    "no_host": ("GET / HTTP/1.1\r\n\r\n", 400),
    "two_hosts": (f"GET / HTTP/1.1\r\n{HOST}{HOST}\r\n", 400),
    "bad_host": ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    "length_and_chunked": (
        f"POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    "two_lengths": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
    "negative_length": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: -1\r\n\r\n", 400),
    "length_with_plus": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: +5\r\n\r\n", 400),
    "length_overflow": (f"POST / HTTP/1.1\r\n{HOST}Content-Length: 99999999999999999999999\r\n\r\n", 400),
    "unknown_coding": (f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: gzip\r\n\r\n", 501),
    "chunked_not_last": (f"POST / HTTP/1.1\r\n{HOST}Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    "space_before_colon": (f"GET / HTTP/1.1\r\n{HOST}X-A : 1\r\n\r\n", 400),
    "folded_line": (f"GET / HTTP/1.1\r\n{HOST}X-A: 1\r\n 2\r\n\r\n", 400),
    "bare_cr": (f"GET / HTTP/1.1\r\n{HOST}X-A: 1\r2\r\n\r\n", 400),
    "nul": (f"GET / HTTP/1.1\r\n{HOST}X-A: 1\x002\r\n\r\n", 400),
    "no_colon": (f"GET / HTTP/1.1\r\n{HOST}nonsense\r\n\r\n", 400),
    "bad_method": (f"G@T / HTTP/1.1\r\n{HOST}\r\n", 400),
    "bad_target": (f"GET nonsense HTTP/1.1\r\n{HOST}\r\n", 400),
    "target_with_space": (f"GET /a b HTTP/1.1\r\n{HOST}\r\n", 400),
    "version_2": (f"GET / HTTP/2.0\r\n{HOST}\r\n", 505),
    "not_http": ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "long_target": (f"GET /{'a' * 20_000} HTTP/1.1\r\n{HOST}\r\n", 414),
    "large_head": (f"GET / HTTP/1.1\r\n{HOST}X-A: {'a' * 40_000}\r\n\r\n", 431),
    "many_fields": (f"GET / HTTP/1.1\r\n{HOST}" + "X-A: 1\r\n" * 101 + "\r\n", 431),
    "connect": ("CONNECT lb.test:443 HTTP/1.1\r\nHost: lb.test:443\r\n\r\n", (400, 405, 501)),
}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One balancer and one counting backend for all of the malformed requests."""
    from lbharness import Balancer, RawBackend

    with RawBackend() as backend:
        lb = Balancer(directory=tmp_path_factory.mktemp("lb"))
        lb.start({"listen": "127.0.0.1:0", "workers": 1, "backends": [backend.config()]})
        yield lb, backend
        lb.stop()


@pytest.fixture(scope="module", autouse=True)
def before_each_test(shared):
    """Starts what is shared before nothing_left_behind takes its first look."""


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_request(shared, name):
    lb, backend = shared
    request, status = MALFORMED[name]
    served = len(backend.requests)
    with Connection(lb.address) as client:
        client.send(request)
        response = client.read_response()
        assert response.status in (status if isinstance(status, tuple) else (status,))
        assert response.closes and response.body
        assert client.closed_by_peer(), "nothing after it can be trusted"
    assert len(backend.requests) == served, "no backend has seen it"
    assert fetch(lb.address).status == 200


@pytest.mark.parametrize(
    "body",
    [
        "nonsense\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "-1\r\n",
        "0x5\r\nhello\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "5;a=\x00\r\nhello\r\n",
    ],
)
def test_malformed_chunk(shared, body):
    lb, _ = shared
    with Connection(lb.address) as client:
        client.send(
            format_request("POST", "/", headers=[("Transfer-Encoding", "chunked")]) + body.encode("latin-1")
        )
        try:
            response = client.read_response()
            assert response.status in (400, 502) and response.closes
        except WireError as error:
            assert not error.received, "either an answer or nothing"
        assert client.closed_by_peer()
    assert fetch(lb.address).status == 200


def test_request_cut_short_reaches_no_backend_as_whole(proxy):
    seen = []

    def handler(exchange):
        try:
            seen.append(exchange.read_body())
        except WireError:
            seen.append(None)
            return "close"
        exchange.reply()

    lb, _ = proxy(handler)
    with Connection(lb.address) as client:
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nonly this")
        client.half_close()
        response = client.read_to_end()
    assert not response.startswith(b"HTTP/1.1 200")
    from lbharness.process import wait_until

    wait_until(lambda: seen, what="the backend to notice")
    assert seen == [None]


# ---- backends at fault -----------------------------------------------------------------------------


def test_all_refuse(start_lb):
    lb = start_lb(backends=[{"host": "127.0.0.1", "port": wire.free_port()} for _ in range(2)])
    with Connection(lb.address) as client:
        response = client.request()
        assert response.status in (502, 503) and response.body
        assert client.request().status in (502, 503), "the connection stays in step"


def test_one_refuses_nobody_notices(backends, start_lb):
    dead = {"name": "dead", "host": "127.0.0.1", "port": wire.free_port()}
    lb = start_lb(backends=[dead, *(backends.config(n) for n in backends.names)])
    with Connection(lb.address) as client:
        assert {client.request(target="/?size=1").status for _ in range(30)} == {200}


def test_refusing_backend_comes_back(backends, start_lb):
    backends.script("b1", mode="refuse")
    lb = start_lb(backends=[backends.config("b1")])
    assert fetch(lb.address).status in (502, 503)
    backends.script("b1")
    wire.wait_answer(lb.address, 5.0, lambda r: r.status == 200)


@pytest.mark.parametrize(
    "script, statuses",
    [
        ({"mode": "garbage"}, (502,)),
        ({"mode": "reset", "at": "request"}, (502,)),
        ({"mode": "reset", "at": "head"}, (502,)),
        ({"mode": "close"}, (502,)),
        ({"mode": "status", "status": 503}, (503,)),
        ({"mode": "hang"}, (504,)),
    ],
)
def test_backend_fault(backends, start_lb, script, statuses):
    backends.script(**script)
    lb = start_lb(backends=[backends.config("b1")], timeouts={"response": 0.3})
    with Connection(lb.address) as client:
        response = client.request("POST", "/?size=100", body=b"x")
        assert response.status in statuses
        backends.script()
        if not response.closes:
            assert client.request(target="/?size=1").status == 200
    assert fetch(lb.address).status == 200


@pytest.mark.parametrize("script", [{"mode": "truncate"}, {"mode": "reset", "at": "mid"}])
@pytest.mark.parametrize("how", ["", "&chunked=1"])
def test_response_cut_short_is_seen_as_cut_short(backends, start_lb, script, how):
    """A body that ended early must never look complete."""
    backends.script(**script)
    lb = start_lb(backends=[backends.config("b1")])
    with Connection(lb.address) as client, pytest.raises(WireError):
        client.request(target=f"/?size=100000{how}")


def test_dead_pooled_connections_are_not_noticed(backends, start_lb):
    """The backend closes a kept connection without a word; the next request on it goes to a fresh one."""
    backends.script(drop_idle_after=1)
    lb = start_lb(backends=backends, workers=1)
    with Connection(lb.address) as client:
        assert [client.request(target="/?size=10").status for _ in range(50)] == [200] * 50


def test_unsafe_request_is_not_sent_twice(proxy):
    """A POST whose connection ends without an answer may have been executed."""
    lb, backend = proxy(lambda exchange: "close")
    assert fetch(lb.address, "/", "POST", body=b"order").status == 502
    assert len(backend.requests) == 1


def test_safe_request_is_not_sent_twice_on_a_fresh_connection(proxy):
    lb, backend = proxy(lambda exchange: "close")
    assert fetch(lb.address).status == 502
    assert len(backend.requests) <= 2, "at most one further attempt"


def test_response_with_two_framings_is_refused(proxy):
    def handler(exchange):
        exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"5\r\nhello\r\n0\r\n\r\n"
        )

    lb, _ = proxy(handler)
    assert fetch(lb.address).status == 502


def test_bytes_after_the_response_poison_nothing(proxy):
    """A backend connection with bytes left over is never used for somebody else."""

    def handler(exchange):
        # In one piece: what comes only after the next request was sent could be its answer.
        head = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n"
        exchange.send(head + b"good" + head + b"evil")

    lb, backend = proxy(handler, workers=1)
    with Connection(lb.address) as client:
        assert [client.request().body for _ in range(10)] == [b"good"] * 10


def test_unresolvable_name_is_a_backend_that_is_down(backends, start_lb):
    nowhere = {"host": "no-such-name.invalid", "port": 80}
    lb = start_lb(backends=[nowhere, backends.config("b1")])
    assert {fetch(lb.address).status for _ in range(6)} == {200}


# ---- timeouts of clients ---------------------------------------------------------------------------


def test_idle_connection_is_closed(backends, start_lb):
    lb = start_lb(backends=backends, timeouts={"idle": 0.3})
    with Connection(lb.address) as client:
        assert client.request().status == 200
        assert client.closed_by_peer(timeout=3)


def test_slow_head_is_408(backends, start_lb):
    lb = start_lb(backends=backends, timeouts={"header": 0.3})
    with Connection(lb.address) as client:
        client.send("GET / HTTP/1.1\r\nHost:")
        try:
            assert client.read_response().status == 408
        except WireError as error:
            pytest.fail(f"closed without saying why: {error}")
        assert client.closed_by_peer()


def test_stalled_upload_ends(backends, start_lb):
    lb = start_lb(backends=backends, timeouts={"body": 0.3})
    with Connection(lb.address) as client:
        client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nsome")
        received = client.read_to_end()
    assert received == b"" or received.startswith((b"HTTP/1.1 408", b"HTTP/1.1 504", b"HTTP/1.1 502"))


def test_tunnel_timeout(backends, start_lb):
    lb = start_lb(backends=backends, timeouts={"tunnel": 0.3})
    with Connection(lb.address) as client:
        client.send(format_request(headers=[("Connection", "upgrade"), ("Upgrade", "lb-echo")]))
        assert client.read_head().status == 101
        assert client.closed_by_peer(timeout=3)
