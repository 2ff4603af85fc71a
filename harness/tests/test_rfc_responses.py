"""RFC 9110 and 9112 as they bind an intermediary, rule by rule against the real binary: the section is in the
name of each test. Here: responses, HTTP/1.0, the fields of an intermediary."""

import re
import threading

import pytest
from lbharness.wire import WireError
from rfc_rig import IMF_DATE, OK, request


# ---- what is refused of a response ---------------------------------------------------------------------

FORBIDDEN = [
    (
        "9112 6.3 both",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("9112 6.1 in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    ("9112 6.1 unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n"),
    ("9112 6.1 chunked not last", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\n"),
    ("9110 8.6 two lengths", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"),
    ("9110 8.6 list", b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok"),
    ("9110 8.6 no number", b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok"),
    ("9112 5.2 obs-fold", b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
    ("9112 5.1 space before the colon", b"HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 2\r\n\r\nok"),
    ("9112 2.2 bare LF", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    (
        "9112 2.2 bare CR: header injection",
        b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: b=c\r\nContent-Length: 2\r\n\r\nok",
    ),
    (
        "9112 2.2 bare LF: header injection",
        b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: b=c\r\nContent-Length: 2\r\n\r\nok",
    ),
    ("9110 5.5 NUL", b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nok"),
    ("9112 4 CR in the reason", b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok"),
    ("9112 4 no status", b"HTTP/1.1 OK\r\n\r\n"),
    ("9112 4 status of two digits", b"HTTP/1.1 20 OK\r\n\r\n"),
    ("9112 4 HTTP/2", b"HTTP/2 200 OK\r\n\r\n"),
    (
        "9110 7.8 101 unasked",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ),
    ("garbage", b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\0" * 40),
]


@pytest.mark.parametrize("rule, data", FORBIDDEN, ids=[r.replace(" ", "_") for r, _ in FORBIDDEN])
def test_forbidden_of_a_response(rig, rule, data):
    rig.answers(data, then="close")
    with rig.connect() as client:
        client.send(request())
        response = client.read_response()
        assert response.status == 502 and response.get("Set-Cookie") is None
        rig.answers(OK)
        client.send(request())
        assert client.read_response().status == 200, "the client's connection is in step and lives on"


def test_9112_6_3_response_splitting_stays_with_its_backend_connection(rig):
    """What a backend sends behind its answer is never the answer to the next request."""
    rig.answers(OK + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Evil: 1\r\n\r\nevil!")
    with rig.connect() as client:
        for _ in range(5):
            client.send(request())
            response = client.read_response()
            assert (response.body, response.get("X-Evil")) == (b"ok", None)


def test_9112_9_2_an_answer_without_a_request_on_a_pooled_connection(rig):
    done = threading.Event()
    sent = threading.Event()

    def script(exchange):
        exchange.send(OK)
        if exchange.target == "/first":
            done.wait(5)
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nevil!")
            sent.set()

    rig.script = script
    with rig.connect() as client:
        client.send(request("/first"))
        assert client.read_response().body == b"ok"
        done.set()
        assert sent.wait(5)
        for _ in range(3):
            client.send(request("/next"))
            assert client.read_response().body == b"ok"


# ---- bodies of responses -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_9110_6_4_1_content_where_there_is_none(rig, status):
    rig.answers(b"HTTP/1.1 " + status + b"\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    with rig.connect() as client:
        client.send(request())
        response = client.read_response()
        assert response.status == int(status[:3]) and response.get("Transfer-Encoding") is None
        rig.answers(OK)
        client.send(request())
        assert client.read_response().body == b"ok"


def test_9110_9_3_2_head_has_no_content(rig):
    rig.answers(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
    with rig.connect() as client:
        client.send(request("/", "HEAD"))
        response = client.read_response("HEAD")
        assert response.get("Content-Length") == "4"
        rig.answers(OK)
        client.send(request())
        assert client.read_response().body == b"ok"


CUT_SHORT = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n",
]


@pytest.mark.parametrize("data", CUT_SHORT, ids=["length", "chunked", "trailers"])
def test_9112_8_a_response_cut_short_is_seen_to_be(rig, data):
    rig.answers(data, then="close")
    with rig.connect() as client:
        client.send(request("/", "GET", "TE: trailers"))
        with pytest.raises(WireError):
            client.read_response()


def test_9112_8_nothing_at_all_is_502(rig):
    rig.answers(b"", then="close")
    response, _ = rig.exchange(request("/", "POST", "Content-Length: 0"))
    assert response.status == 502
    rig.answers(b"HTTP/1.1 200 OK\r\nContent-Le", then="close")
    response, _ = rig.exchange(request("/", "POST", "Content-Length: 0"))
    assert response.status == 502


# ---- HTTP/1.0 ------------------------------------------------------------------------------------------


def test_9112_2_3_a_1_0_backend(rig):
    rig.answers(b"HTTP/1.0 200 OK\r\n\r\nuntil close", then="close")
    with rig.connect() as client:
        for _ in range(2):
            client.send(request())
            response = client.read_response()
            assert (response.version, response.body) == ("HTTP/1.1", b"until close") and not response.closes
    rig.answers(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok")
    before = rig.backend.connections
    with rig.connect() as client:
        for _ in range(3):
            client.send(request())
            assert client.read_response().body == b"ok"
    assert rig.backend.connections - before <= 1


def test_9112_9_3_a_1_0_client(rig):
    rig.answers(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    with rig.connect() as client:
        client.send(request(version="HTTP/1.0"))
        response = client.read_response()
        assert response.body == b"ok" and response.get("Transfer-Encoding") is None
        assert client.closed_by_peer()
    rig.answers(OK)
    with rig.connect() as client:
        for _ in range(2):
            client.send(request("/", "GET", "Connection: keep-alive", version="HTTP/1.0"))
            response = client.read_response()
            assert response.get("Connection").lower() == "keep-alive" and response.body == b"ok"


# ---- fields of an intermediary -------------------------------------------------------------------------


def test_9110_6_6_1_date_is_added_where_it_is_missing(rig):
    response, _ = rig.exchange(request())
    assert len(response.all("Date")) == 1 and re.fullmatch(IMF_DATE, response.get("Date"))
    mine = "Sun, 06 Nov 1994 08:49:37 GMT"
    rig.answers(f"HTTP/1.1 200 OK\r\nDate: {mine}\r\nAge: 7\r\nContent-Length: 0\r\n\r\n".encode())
    response, _ = rig.exchange(request())
    assert response.all("Date") == [mine] and response.get("Age") == "7"
    assert re.fullmatch(IMF_DATE, rig.exchange(request("bad target"))[0].get("Date"))


def test_9110_7_6_3_via_both_ways(rig):
    rig.answers(b"HTTP/1.0 200 OK\r\nVia: 1.1 inner\r\nContent-Length: 0\r\n\r\n", then="close")
    response, seen = rig.exchange(request("/", "GET", "Via: 1.0 outer"))
    assert seen.all("Via") == ["1.0 outer, 1.1 lb"] and response.all("Via") == ["1.1 inner, 1.0 lb"]


def test_9110_7_6_1_connection_options_are_for_one_hop(rig):
    hop = b"Connection: X-Hop, keep-alive\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: x\r\n"
    rig.answers(b"HTTP/1.1 200 OK\r\n" + hop + b"X-End: 2\r\nContent-Length: 0\r\n\r\n")
    response, seen = rig.exchange(request("/", "GET", *hop.decode().strip().split("\r\n"), "X-End: 2"))
    for message in (response, seen):
        assert message.get("X-End") == "2"
        for name in ("X-Hop", "Keep-Alive", "Proxy-Connection", "Connection"):
            assert message.get(name) is None, name


def test_9110_7_8_upgrade_needs_its_connection_option(rig):
    _, seen = rig.exchange(request("/", "GET", "Upgrade: websocket"))
    assert seen.get("Upgrade") is None
    _, seen = rig.exchange(request("/", "GET", "Upgrade: h2c", "Connection: upgrade"))
    assert seen.get("Upgrade") is None
    response, seen = rig.exchange(request("/", "GET", "Upgrade: websocket", "Connection: upgrade"))
    assert seen.get("Upgrade") == "websocket" and response.status == 200, "a backend may decline"


def test_9110_5_3_duplicate_and_empty_fields_keep_their_order(rig):
    fields = ["X-A: 1", "X-B:", "X-A: 2", "x-a: 3"]
    _, seen = rig.exchange(request("/", "GET", *fields))
    assert seen.all("X-A") == ["1", "2", "3"] and seen.all("X-B") == [""]


def test_9112_2_2_an_empty_line_before_a_request(rig):
    with rig.connect() as client:
        client.send(b"\r\n" + request() + b"\r\n" + request())
        assert [client.read_response().status for _ in range(2)] == [200, 200]
