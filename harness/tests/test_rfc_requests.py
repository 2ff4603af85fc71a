"""RFC 9110 and 9112 as they bind an intermediary, rule by rule against the real binary: the section is in the
name of each test. Here: requests, trailers, interim responses."""

import re
import threading

import pytest
from lbharness.wire import chunked, fetch
from rfc_rig import IMF_DATE, OK, request


# ---- trailers ------------------------------------------------------------------------------------------


def test_9110_6_5_request_trailers_reach_the_backend(rig):
    trailers = [
        ("X-Sum", "17"),
        ("Host", "evil"),
        ("Content-Length", "5"),
        ("X-Forwarded-For", "1.2.3.4"),
        ("Y", "z"),
    ]
    _, seen = rig.exchange(
        request("/", "POST", "Transfer-Encoding: chunked", "Trailer: X-Sum")
        + chunked(b"abc", trailers=trailers)
    )
    assert seen.body == b"abc" and seen.get("Trailer") == "X-Sum"
    assert seen.trailers == [
        ("X-Sum", "17"),
        ("Y", "z"),
    ], "framing, routing and what a proxy vouches for stay behind"


def test_9110_6_5_large_trailers_in_small_pieces(rig):
    trailers = [(f"X-{i}", "v" * 100) for i in range(100)]
    whole = request("/", "POST", "Transfer-Encoding: chunked") + chunked(b"abc" * 5000, trailers=trailers)
    before = len(rig.backend.requests)
    with rig.connect() as client:
        while whole:
            client.send(whole[:997])
            whole = whole[997:]
        assert client.read_response().status == 200
    seen = rig.backend.requests[before]
    assert seen.body == b"abc" * 5000 and seen.trailers == trailers


RESPONSE_WITH_TRAILERS = (
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
    + chunked(
        b"abc", trailers=[("X-Sum", "17"), ("Set-Cookie", "a=b"), ("Connection", "close"), ("Z", "1")]
    )
)


def test_9110_6_5_response_trailers_reach_a_client_that_takes_them(rig):
    rig.answers(RESPONSE_WITH_TRAILERS)
    response, seen = rig.exchange(request("/", "GET", "TE: trailers", "Connection: TE"))
    assert (response.body, response.get("Trailer")) == (b"abc", "X-Sum")
    assert response.trailers == [("X-Sum", "17"), ("Z", "1")]
    assert seen.get("TE") == "trailers" and seen.get("Connection") == "TE"


def test_9110_6_5_1_and_no_other_client(rig):
    rig.answers(RESPONSE_WITH_TRAILERS)
    response, seen = rig.exchange(request())
    assert (response.body, response.get("Trailer"), response.trailers) == (b"abc", None, [])
    assert seen.get("TE") is None
    response, _ = rig.exchange(request("/", "GET", "TE: trailers", version="HTTP/1.0"))
    assert (response.body, response.get("Trailer"), response.get("Transfer-Encoding")) == (
        b"abc",
        None,
        None,
    )


def test_9110_10_1_4_other_codings_are_for_one_hop(rig):
    _, seen = rig.exchange(request("/", "GET", "TE: gzip, deflate;q=0.5", "Connection: TE"))
    assert seen.get("TE") is None and seen.get("Connection") is None
    _, seen = rig.exchange(request("/", "GET", "TE: gzip, Trailers", "Connection: TE"))
    assert seen.get("TE") == "trailers"


def test_9112_7_1_2_a_malformed_trailer_is_refused(rig):
    for trailer in (b"no colon\r\n", b" folded: x\r\n", b"X: a\rb\r\n", b"X: a\x00\r\n", b"X: a\n"):
        body = b"3\r\nabc\r\n0\r\n" + trailer + b"\r\n"
        response, _ = rig.exchange(request("/", "POST", "Transfer-Encoding: chunked", body=body))
        assert response.status == 400 and response.closes, trailer


# ---- Max-Forwards, TRACE, OPTIONS ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["TRACE", "OPTIONS"])
def test_9110_7_6_2_is_answered_here_at_0_and_counted_down_otherwise(rig, method):
    response, seen = rig.exchange(request("/", method, "Max-Forwards: 0"))
    assert response.status == 200 and seen is None and response.get("X-Served") == "lb"
    assert re.fullmatch(IMF_DATE, response.get("Date"))
    _, seen = rig.exchange(request("/", method, "Max-Forwards: 7"))
    assert seen.all("Max-Forwards") == ["6"]
    _, seen = rig.exchange(request("/", method, "Max-Forwards: 99999999999999999999"))
    assert int(seen.get("Max-Forwards")) < 1000
    for bad in ("x", "", "-1", "1, 2"):
        response, seen = rig.exchange(request("/", method, f"Max-Forwards: {bad}"))
        assert (response.status, seen) == (400, None), bad


def test_9110_7_6_2_other_methods_are_left_alone(rig):
    _, seen = rig.exchange(request("/", "GET", "Max-Forwards: 0"))
    assert seen.get("Max-Forwards") == "0"


def test_9110_9_3_8_trace_echoes_nothing_sensitive(rig):
    fields = [
        "Max-Forwards: 0",
        "Authorization: Basic c2VjcmV0",
        "Cookie: a=b",
        "X-Api-Key: k",
        "X-Mine: yes",
    ]
    with rig.connect() as client:
        for _ in range(2):
            client.send(request("/x?y", "TRACE", *fields))
            response = client.read_response()
            assert response.get("Content-Type") == "message/http"
            assert (
                response.body
                == b"TRACE /x?y HTTP/1.1\r\nHost: h.test\r\nMax-Forwards: 0\r\nX-Mine: yes\r\n\r\n"
            )


def test_9110_9_3_8_trace_has_no_content(rig):
    response, seen = rig.exchange(request("/", "TRACE", "Content-Length: 3", body=b"abc"))
    assert (response.status, seen) == (400, None)


def test_9110_9_3_7_options_with_content_answered_here_ends_the_connection(rig):
    with rig.connect() as client:
        client.send(
            request(
                "/",
                "OPTIONS",
                "Max-Forwards: 0",
                "Content-Length: 30",
                body=b"GET /smuggled HTTP/1.1\r\nA: b\r\n",
            )
        )
        response = client.read_response()
        assert response.status == 200 and response.closes and client.closed_by_peer()


# ---- interim responses, Expect -------------------------------------------------------------------------

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nKeep-Alive: x\r\n\r\n"


def test_9110_15_2_interim_responses_reach_a_1_1_client(rig):
    rig.answers(HINTS + HINTS + b"HTTP/1.1 102 Processing\r\n\r\n" + OK)
    response, _ = rig.exchange(request())
    assert [r.status for r in response.interim] == [103, 103, 102] and response.status == 200
    hint = response.interim[0]
    assert (
        hint.get("Link") == "</a.css>" and hint.get("Keep-Alive") is None and hint.get("X-Served") is None
    )


def test_9110_15_2_and_never_a_1_0_client(rig):
    rig.answers(HINTS + OK)
    response, _ = rig.exchange(request(version="HTTP/1.0"))
    assert response.interim == [] and response.status == 200


def test_9110_10_1_1_expect_goes_end_to_end(rig):
    def script(exchange):
        assert exchange.get("Expect") == "100-continue"
        exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        assert exchange.read_body() == b"body"
        exchange.send(OK)

    rig.script = script
    with rig.connect() as client:
        client.send(request("/", "POST", "Content-Length: 4", "Expect: 100-continue"))
        assert client.read_head().status == 100
        client.send(b"body")
        assert client.read_response().status == 200


def test_9110_10_1_1_a_final_answer_instead_of_100(rig):
    def script(exchange):
        exchange.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n")
        return "close"

    rig.script = script
    with rig.connect() as client:
        client.send(request("/", "POST", "Content-Length: 4", "Expect: 100-continue"))
        response = client.read_response()
        assert (
            response.status == 401 and response.closes
        ), "the client may send its body or not: out of step"


def test_9110_10_1_1_other_expectations_are_417(rig):
    response, seen = rig.exchange(request("/", "POST", "Content-Length: 1", "Expect: 200-ok", body=b"x"))
    assert (response.status, seen) == (417, None)


@pytest.mark.parametrize("framing", ["Content-Length: 1000000000", "Transfer-Encoding: chunked"])
def test_9112_9_5_an_early_answer_while_the_body_is_sent(rig, framing):
    def script(exchange):
        exchange.reply(413, [("Connection", "close")], b"too much")
        return "close"

    rig.script = script
    with rig.connect() as client:
        client.send(request("/", "POST", framing))
        stop = threading.Event()

        def pour():
            piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
            try:
                while not stop.is_set():
                    client.send(piece)
            except OSError:
                pass

        pourer = threading.Thread(target=pour)
        pourer.start()
        try:
            response = client.read_response()
        finally:
            stop.set()
            client.socket.shutdown(2)
            pourer.join()
        assert (response.status, response.body) == (413, b"too much") and response.closes


# ---- targets and Host ----------------------------------------------------------------------------------


def test_9112_3_2_2_absolute_form_wins_over_host(rig):
    _, seen = rig.exchange(request("http://real.test:81/p?q"))
    assert (seen.target, seen.all("Host")) == ("/p?q", ["real.test:81"])
    _, seen = rig.exchange(request("HTTP://real.test?q"))
    assert (seen.target, seen.all("Host")) == ("/?q", ["real.test"])


@pytest.mark.parametrize(
    "target", ["h.test:80", "h.test", "ftp://h/", "http://", "http://u@h/", "*", "a/b", "?q"]
)
def test_9112_3_2_3_other_targets_are_refused(rig, target):
    response, seen = rig.exchange(request(target))
    assert (response.status, seen) == (400, None)


def test_9110_9_3_6_connect_is_not_offered(rig):
    response, seen = rig.exchange(request("h.test:443", "CONNECT"))
    assert (response.status, seen) == (501, None) and response.closes


def test_9112_3_2_4_asterisk(rig):
    _, seen = rig.exchange(request("*", "OPTIONS"))
    assert (seen.method, seen.target) == ("OPTIONS", "*")
    _, seen = rig.exchange(request("http://real.test", "OPTIONS"))
    assert (seen.target, seen.get("Host")) == ("*", "real.test")


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n",
        "GET / HTTP/1.1\r\nHost: a,b\r\n",
        "GET / HTTP/1.0\r\nHost: a/b\r\n",
    ],
)
def test_9112_3_2_host(rig, head):
    response, seen = rig.exchange(head.encode() + b"\r\n")
    assert (response.status, seen) == (400, None)


# ---- what is refused of a request ----------------------------------------------------------------------

REFUSED = [
    ("9112 2.2 bare CR", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", 400),
    ("9112 2.2 bare LF", b"GET / HTTP/1.1\nHost: a\n\n", 400),
    ("9112 2.2 space before the first field", b"GET / HTTP/1.1\r\n X: a\r\nHost: a\r\n\r\n", 400),
    ("9110 5.5 NUL", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", 400),
    ("9110 5.1 empty name", b"GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", 400),
    ("9112 5.1 space before the colon", b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
    ("9112 5.2 obs-fold", b"GET / HTTP/1.1\r\nHost: a\r\nX: a\r\n b\r\n\r\n", 400),
    ("9110 8.6 list", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5, 5\r\n\r\nhello", 400),
    (
        "9110 8.6 two alike",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        400,
    ),
    ("9110 8.6 empty", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", 400),
    ("9110 8.6 sign", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nhello", 400),
    (
        "9112 6.3 both",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
    ),
    (
        "9112 6.1 in HTTP/1.0",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    ("9112 6.1 twice", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", 400),
    (
        "9112 6.1 unknown coding",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        501,
    ),
    ("9112 7.1 no size", b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", 400),
    (
        "9112 7.1 too long",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        400,
    ),
    (
        "9112 7.1 overflow",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        400,
    ),
    ("9112 3 HTTP/0.9", b"GET /\r\n\r\n", 400),
    ("9112 3 two spaces", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ("9110 15.6.6 HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ("9110 15.5.15 overlong line", b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    (
        "6585 5 overlong head",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 90 + b"Y: " + b"z" * 40_000,
        431,
    ),
    ("6585 5 too many", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
    ("9112 3 overlong method", b"X" * 100 + b" / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
]


@pytest.mark.parametrize("rule, data, status", REFUSED, ids=[r.replace(" ", "_") for r, _, _ in REFUSED])
def test_refused(rig, rule, data, status):
    with rig.connect() as client:
        client.send(data + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
        response = client.read_response()
        assert response.status == status and response.closes
        assert client.closed_by_peer(), "what follows is not read as a request"
    assert all("smuggled" not in seen.target for seen in rig.backend.requests)


def test_the_rig_is_no_smuggler(rig):
    """The detector can fail: the backend does record what reaches it."""
    fetch(rig.lb.address, "/smuggled")
    assert rig.backend.requests.pop().target == "/smuggled"
