"""HTTP through the balancer as a client and a backend see it: framing, keep-alive, headers, tunnels."""

import hashlib
import threading
from pathlib import Path

import pytest
from lbharness import process, wire
from lbharness.wire import Connection, fetch, format_request


def body_of(rng, size):
    return rng.randbytes(size)


# ---- one connection, many requests -----------------------------------------------------------------


def test_keep_alive_both_sides(proxy):
    lb, backend = proxy(workers=1)
    with Connection(lb.address) as client:
        for _ in range(5):
            assert client.request().status == 200
    assert backend.connections == 1, "the connection to the backend is kept and used again"


def test_pipelined_answers_in_order(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        # The first takes longest, so that a proxy that answers as it can would mix them up.
        delays = [60, 0, 30, 0, 0]
        client.send(
            b"".join(
                format_request(target=f"/?size=10&delay_ms={delay}", headers=[("X-Nonce", f"{i:016x}")])
                for i, delay in enumerate(delays)
            )
        )
        assert [client.read_response().get("X-Nonce") for _ in delays] == [f"{i:016x}" for i in range(5)]


def test_pipelined_behind_a_body(backends, start_lb, rng):
    lb = start_lb(backends=backends)
    body = body_of(rng, 100_000)
    with Connection(lb.address) as client:
        client.send(format_request("POST", "/?echo=body", body=body) + format_request(target="/?size=3"))
        assert client.read_response().body == body
        assert len(client.read_response().body) == 3


def test_request_byte_by_byte(proxy):
    lb, backend = proxy()
    with Connection(lb.address) as client:
        for byte in format_request("POST", "/slow", headers=[("X-A", "b")], body=b"hello"):
            client.send(bytes([byte]))
        assert client.read_response().status == 200
    assert backend.requests[0].target == "/slow"


def test_connection_close_is_honoured(proxy):
    lb, _ = proxy()
    with Connection(lb.address) as client:
        response = client.request(headers=[("Connection", "close")])
        assert response.closes and client.closed_by_peer()


def test_backend_closing_does_not_close_the_client(proxy):
    def handler(exchange):
        exchange.reply(headers=[("Connection", "close")])
        return "close"

    lb, backend = proxy(handler)
    with Connection(lb.address) as client:
        for _ in range(3):
            response = client.request()
            assert response.status == 200 and not response.closes
    assert backend.connections == 3


def test_http_1_0(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        response = client.request(target="/?size=1000&chunked=1", version="HTTP/1.0")
        assert response.status == 200 and len(response.body) == 1000
        assert response.get("Transfer-Encoding") is None, "HTTP/1.0 knows no chunks"
        assert client.closed_by_peer()


def test_http_1_0_keep_alive(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        keep = [("Connection", "keep-alive")]
        response = client.request(target="/?size=5", version="HTTP/1.0", headers=keep)
        assert "keep-alive" in (response.get("Connection") or "").lower()
        assert client.request(target="/?size=7", version="HTTP/1.0", headers=keep).status == 200


# ---- bodies ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 100, 16_383, 16_384, 65_537, 3_000_000])
@pytest.mark.parametrize("how", ["length", "chunked"])
def test_request_body_arrives(backends, start_lb, rng, size, how):
    lb = start_lb(backends=backends)
    body = body_of(rng, size)
    with Connection(lb.address) as client:
        if how == "length":
            client.send(format_request("POST", "/?echo=body", body=body))
        else:
            cuts = sorted(rng.randrange(size + 1) for _ in range(20))
            parts = [body[a:b] for a, b in zip([0, *cuts], [*cuts, size])]
            client.send(format_request("POST", "/?echo=body", headers=[("Transfer-Encoding", "chunked")]))
            client.send(wire.chunked(*parts))
        response = client.read_response()
        assert hashlib.sha256(response.body).digest() == hashlib.sha256(body).digest()
        assert client.request(target="/?size=1").status == 200, "the connection is in step afterwards"


@pytest.mark.parametrize("size", [0, 1, 16_384, 1_000_001])
@pytest.mark.parametrize("how", ["", "&chunked=1&chunk=777", "&close=1"])
def test_response_body_arrives(backends, start_lb, size, how):
    lb = start_lb(backends=backends)
    direct = fetch(backends.address["b1"], f"/?size={size}", headers=[("X-Nonce", "00000000000000aa")])
    with Connection(lb.address) as client:
        for _ in range(2):
            response = client.request(
                target=f"/?size={size}{how}", headers=[("X-Nonce", "00000000000000aa")]
            )
            assert response.status == 200 and response.body == direct.body


def test_body_until_close(proxy):
    def handler(exchange):
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 5000)
        return "close"

    lb, _ = proxy(handler)
    with Connection(lb.address) as client:
        response = client.request()
        assert response.body == b"x" * 5000
        assert (
            response.get("Transfer-Encoding") == "chunked"
        ), "the length is unknown, the connection is kept"
        assert client.request().body == b"x" * 5000


def test_trailers_do_not_break_framing(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        assert len(client.request(target="/?size=50&chunked=1&trailer=1").body) == 50
        client.send(
            format_request("POST", "/?echo=body", headers=[("Transfer-Encoding", "chunked")])
            + wire.chunked(b"abc", trailers=[("X-Sum", "1")])
        )
        assert client.read_response().body == b"abc"


def test_head_has_no_body(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        response = client.request("HEAD", "/?size=12345")
        assert response.status == 200 and response.get("Content-Length") == "12345"
        assert client.request(target="/?size=2").status == 200


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_body(proxy, status):
    def handler(exchange):
        exchange.send(f"HTTP/1.1 {status} X\r\nETag: \"a\"\r\n\r\n".encode())

    lb, _ = proxy(handler)
    with Connection(lb.address) as client:
        for _ in range(2):
            response = client.request()
            assert response.status == status and response.get("ETag") == '"a"'


def test_slow_reader_is_waited_for_in_bounded_memory(backends, start_lb):
    """Back-pressure: a client that does not read stops the backend, not the balancer."""
    lb = start_lb(backends=backends, workers=1)
    pid = lb.current()["pid"]
    before = process.rss_kib(pid)
    size = 300_000_000
    with Connection(lb.address, timeout=30, receive_buffer=65536) as client:
        client.send(format_request(target=f"/?size={size}"))
        head = client.read_head()
        sent = [-1]

        def stalled():
            total = sum(b["bytes_out"] for b in backends.stats().values())
            sent.append(total)
            return len(sent) > 20 and sent[-20] == total

        process.wait_until(stalled, what="the backend to be stopped by back-pressure", every=0.01)
        assert sent[-1] < 32_000_000, f"the balancer took {sent[-1]} bytes that nobody reads"
        assert process.rss_kib(pid) - before < 8_000, "buffers are bounded"
        received = len(client.buffer)
        while received < int(head.get("Content-Length")):
            data = client.socket.recv(1 << 20)
            assert data, f"closed after {received} bytes"
            received += len(data)
        assert received == size


def test_slow_backend_is_waited_for_in_bounded_memory(backends, start_lb):
    backends.script(read_rate=1)
    lb = start_lb(backends=backends, workers=1)
    pid = lb.current()["pid"]
    before = process.rss_kib(pid)
    # What the kernel holds at most on the way: a send and a receive buffer on either side of the balancer.
    limits = [Path(f"/proc/sys/net/ipv4/tcp_{which}mem").read_text() for which in "rw"]
    in_sockets = 2 * sum(int(limit.split()[2]) for limit in limits)
    with Connection(lb.address) as client:
        client.send(format_request("POST", "/", headers=[("Content-Length", "300000000")]))
        client.socket.settimeout(0.5)
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 300_000_000:
                sent += client.socket.send(bytes(1 << 16))
        assert sent < in_sockets + 8_000_000, f"the balancer took {sent} bytes that nobody wants yet"
        assert process.rss_kib(pid) - before < 8_000


def test_many_at_once(backends, start_lb, rng):
    lb = start_lb(backends=backends)
    wrong = []

    def client(number):
        try:
            with Connection(lb.address) as connection:
                for i in range(20):
                    size = (number * 7919 + i * 104729) % 50_000
                    response = connection.request(target=f"/?size={size}")
                    if response.status != 200 or len(response.body) != size:
                        wrong.append((number, i, response.status, len(response.body)))
        except (OSError, wire.WireError) as error:
            wrong.append((number, str(error)))

    threads = [threading.Thread(target=client, args=(n,)) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


# ---- interim responses and Expect ------------------------------------------------------------------


def test_interim_responses_are_passed_on(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        response = client.request(target="/?size=9&interim=1")
        assert [r.status for r in response.interim] == [103] and len(response.body) == 9
        assert client.request(target="/?size=1").interim == []


def test_interim_responses_are_not_for_http_1_0(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        assert client.request(target="/?size=9&interim=1", version="HTTP/1.0").interim == []


def test_expect_continue(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        client.send(
            format_request(
                "POST", "/?echo=body", headers=[("Expect", "100-continue"), ("Content-Length", "5")]
            )
        )
        assert client.read_head().status == 100
        client.send(b"hello")
        assert client.read_response().body == b"hello"
        assert client.request(target="/?size=1").status == 200


def test_expect_refused_before_the_body(proxy):
    def handler(exchange):
        exchange.reply(413, reason="Content Too Large", headers=[("Connection", "close")])
        return "close"

    lb, _ = proxy(handler)
    with Connection(lb.address) as client:
        client.send(
            format_request("POST", "/", headers=[("Expect", "100-continue"), ("Content-Length", "500")])
        )
        response = client.read_response()
        assert response.status == 413 and response.interim == []


# ---- headers ---------------------------------------------------------------------------------------


def seen_by_backend(lb, headers=(), **options):
    with Connection(lb.address) as client:
        got = wire.json_body(client.request(target="/?echo=headers", headers=headers, **options))
    return [(name.lower(), value) for name, value in got["headers"]], got


def values(headers, name):
    return [value for key, value in headers if key == name]


def test_forwarding_headers(backends, start_lb):
    lb = start_lb(backends=backends)
    headers, _ = seen_by_backend(lb)
    assert values(headers, "x-forwarded-for") == ["127.0.0.1"]
    assert values(headers, "x-forwarded-proto") == ["http"]
    assert values(headers, "x-forwarded-host") == ["lb.test"]
    assert values(headers, "host") == ["lb.test"]
    assert [v.split()[0] for v in values(headers, "via")] == ["1.1"]


def test_forwarding_headers_are_appended_to(backends, start_lb):
    lb = start_lb(backends=backends)
    headers, _ = seen_by_backend(lb, [("X-Forwarded-For", "10.9.8.7"), ("Via", "1.0 other")])
    assert ", ".join(values(headers, "x-forwarded-for")) == "10.9.8.7, 127.0.0.1"
    assert ", ".join(values(headers, "via")).startswith("1.0 other, 1.1 ")


def test_hop_by_hop_headers_stay(backends, start_lb):
    lb = start_lb(backends=backends)
    headers, _ = seen_by_backend(
        lb,
        [
            ("Connection", "X-Private, keep-alive"),
            ("X-Private", "1"),
            ("Keep-Alive", "timeout=5"),
            ("TE", "gzip"),
            ("Proxy-Connection", "keep-alive"),
            ("X-Public", "2"),
        ],
    )
    names = {name for name, _ in headers}
    assert not names & {"x-private", "keep-alive", "te", "proxy-connection", "upgrade"}
    assert values(headers, "x-public") == ["2"]


def test_hop_by_hop_response_headers_stay(proxy):
    lb, _ = proxy(
        lambda exchange: exchange.reply(
            headers=[
                ("Connection", "X-Private"),
                ("X-Private", "1"),
                ("Keep-Alive", "timeout=5"),
                ("X-Public", "2"),
                ("Set-Cookie", "a=1"),
                ("Set-Cookie", "b=2"),
            ]
        )
    )
    response = fetch(lb.address)
    assert response.get("X-Private") is None and response.get("Keep-Alive") is None
    assert response.get("X-Public") == "2"
    assert response.all("Set-Cookie") == ["a=1", "b=2"], "fields that may not be joined are not"
    assert response.get("Via")


def test_response_headers_of_the_configuration(proxy):
    lb, _ = proxy(
        lambda exchange: exchange.reply(headers=[("X-Config", "backend's own"), ("X-Other", "1")]),
        response_headers={"X-Config": "g7", "X-Frame-Options": "DENY"},
    )
    response = fetch(lb.address)
    assert response.all("X-Config") == ["g7"] and response.get("X-Frame-Options") == "DENY"
    assert response.get("X-Other") == "1"


def test_targets(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        client.send("GET http://other.test:81/?echo=headers HTTP/1.1\r\nHost: lb.test\r\n\r\n")
        got = wire.json_body(client.read_response())
    assert got["target"] == "/?echo=headers"
    assert ["host", "other.test:81"] in [[n.lower(), v] for n, v in got["headers"]]


def test_options_asterisk(proxy):
    lb, backend = proxy()
    with Connection(lb.address) as client:
        assert client.request("OPTIONS", "*").status == 200
    assert backend.requests[0].target == "*"


def test_large_head(proxy):
    lb, backend = proxy()
    headers = [(f"X-Header-{i}", "v" * 250) for i in range(80)]
    assert fetch(lb.address, headers=headers).status == 200
    assert backend.requests[0].get("X-Header-79") == "v" * 250


# ---- connections that leave HTTP, or leave halfway -------------------------------------------------


def open_tunnel(lb):
    client = Connection(lb.address)
    client.send(
        format_request(target="/tunnel", headers=[("Connection", "Upgrade"), ("Upgrade", "lb-echo")])
    )
    response = client.read_head()
    assert response.status == 101, response
    assert (response.get("Upgrade") or "").lower() == "lb-echo"
    return client


def test_upgrade_is_a_tunnel(backends, start_lb, rng):
    lb = start_lb(backends=backends)
    with open_tunnel(lb) as client:
        for size in (1, 100, 70_000):
            data = body_of(rng, size)
            sender = threading.Thread(target=client.send, args=(data,))
            sender.start()
            assert client.read_exactly(size) == data
            sender.join()


def test_tunnel_half_close(backends, start_lb):
    lb = start_lb(backends=backends)
    with open_tunnel(lb) as client:
        client.send(b"the last words")
        client.half_close()
        assert client.read_to_end() == b"the last words"


def test_upgrade_declined(proxy):
    lb, backend = proxy()
    with Connection(lb.address) as client:
        upgrade = [("Connection", "Upgrade"), ("Upgrade", "websocket")]
        assert client.request(headers=upgrade).status == 200
        assert client.request().status == 200
    assert backend.requests[0].get("Upgrade") == "websocket"
    assert backend.requests[1].get("Upgrade") is None


def test_client_half_closes_after_its_request(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        client.send(format_request(target="/?size=5000&delay_ms=50"))
        client.half_close()
        assert len(client.read_response().body) == 5000


def test_client_that_leaves_is_noticed(backends, start_lb):
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        client.send(format_request(target="/?size=1000000&rate=1000"))
        client.read_head()
        process.wait_until(
            lambda: sum(b["in_flight"] for b in backends.stats().values()) == 1, what="the request"
        )
    process.wait_until(
        lambda: sum(b["in_flight"] for b in backends.stats().values()) == 0, what="the backend to be let go"
    )


def test_early_response_to_an_upload(backends, start_lb):
    """A backend that answers before it has read the body: the answer comes through."""
    backends.script(early_response=1)
    lb = start_lb(backends=backends)
    with Connection(lb.address) as client:
        client.send(format_request("POST", "/?size=10", headers=[("Content-Length", "200000")]))
        client.send(bytes(100_000))
        assert client.read_response().status == 200
