"""TCP mode, upgrades and the PROXY protocol through the real binary, over IPv4, IPv6 and Unix sockets."""

import contextlib
import hashlib
import json
import signal
import socket
import threading

import pytest
from lbharness import wire
from lbharness.process import wait_until
from lbharness.wire import Connection

PROXY = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n"
FAMILIES = ("ipv4", "ipv6", "unix")
BODY = 300_000


class Server:
    """A backend of bare bytes: `serve(socket)` for each connection, on a thread of its own."""

    def __init__(self, serve, family="ipv4", path=None):
        if family == "unix":
            self.listener = socket.socket(socket.AF_UNIX)
            self.listener.bind(str(path))
            self.entry = {"unix": str(path)}
        else:
            host = "::1" if family == "ipv6" else "127.0.0.1"
            self.listener = socket.create_server(
                (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
            )
            self.entry = {"host": host, "port": self.listener.getsockname()[1]}
        self.listener.listen(64)
        self.serve = serve
        self._connections = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.settimeout(10)
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
            self._threads[-1].start()

    def _serve(self, connection):
        with connection:
            try:
                self.serve(connection)
            except OSError:
                pass

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for connection in self._connections:  # the balancer may keep some of them
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)


@pytest.fixture
def serving(tmp_path):
    """serving(serve, family): its entry among the backends of a configuration."""
    made = []

    def make(serve, family="ipv4"):
        made.append(Server(serve, family, tmp_path / f"backend{len(made)}.sock"))
        return made[-1].entry

    yield make
    for server in made:
        server.stop()


def read_to_end(connection):
    parts = []
    while data := connection.recv(65536):
        parts.append(data)
    return b"".join(parts)


def echo_after_all(connection):
    """Speaks first; answers only when the client has finished, so that the half-close must come through."""
    connection.sendall(b"hello\n")
    data = read_to_end(connection)
    connection.sendall(hashlib.sha256(data).digest() + data)


def echo_lines(connection):
    while data := connection.recv(65536):
        connection.sendall(data)


def http_mirror(connection):
    """Answers every request with its own head."""
    data = b""
    while True:
        while b"\r\n\r\n" not in data:
            more = connection.recv(65536)
            if not more:
                return
            data += more
        head, _, data = data.partition(b"\r\n\r\n")
        body = head + b"\r\n\r\n"
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def upgrade_echo(connection):
    """A 101, then what echo_after_all does."""
    head = b""
    while b"\r\n\r\n" not in head:
        byte = connection.recv(1)
        if not byte:
            return  # the balancer only looked whether somebody is here
        head += byte
    assert b"upgrade: websocket" in head.lower()
    connection.sendall(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    echo_after_all(connection)


def listener(family, tmp_path, **options):
    address = {"ipv4": "127.0.0.1:0", "ipv6": "[::1]:0", "unix": f"unix:{tmp_path / 'front.sock'}"}[family]
    return {"address": address, **options}


def exchange(client, rng):
    """The client's side of echo_after_all, with both directions full at once."""
    data = rng.randbytes(BODY)
    sender = threading.Thread(target=lambda: (client.send(data), client.half_close()))
    sender.start()
    answer = client.buffer + read_to_end(client.socket)
    sender.join()
    assert answer[:6] == b"hello\n"
    assert answer[6:38] == hashlib.sha256(data).digest(), "the backend got other bytes"
    assert answer[38:] == data


@pytest.mark.parametrize("back", FAMILIES)
@pytest.mark.parametrize("front", FAMILIES)
def test_every_family_in_every_mode(start_lb, serving, tmp_path, rng, front, back):
    """One after the other on one address: a change of mode is a reload like any other."""
    config = {
        "listen": listener(front, tmp_path, mode="tcp"),
        "backends": [serving(echo_after_all, back)],
        "workers": 1,
    }
    lb = start_lb(config)
    with Connection(lb.address) as client:
        exchange(client, rng)
    lb.reload_config(
        {**config, "listen": listener(front, tmp_path), "backends": [serving(upgrade_echo, back)]}
    )
    with Connection(lb.address) as client:
        client.send("GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert client.read_head().status == 101
        exchange(client, rng)
    lb.reload_config(
        {**config, "listen": listener(front, tmp_path), "backends": [serving(http_mirror, back)]}
    )
    with Connection(lb.address) as client:
        body = client.request().body
        assert (b"X-Forwarded-For: " + {"ipv4": b"127.0.0.1", "ipv6": b"::1", "unix": b"unix"}[front]) in body


def test_tunnels_outlive_a_reload(start_lb, serving):
    config = {
        "listen": ["127.0.0.1:0", {"address": "127.0.0.2:0", "mode": "tcp"}],
        "backends": [serving(echo_lines)],
        "workers": 1,
    }
    lb = start_lb(config)
    raw = lb.listeners()[1][1]
    with Connection(raw) as before:
        before.send(b"one\n")
        assert before.socket.recv(100) == b"one\n"
        lb.reload_config({**config, "backends": [serving(lambda c: c.sendall(b"new\n"))]})
        before.send(b"two\n")
        assert before.socket.recv(100) == b"two\n", "it keeps its backend"
        with Connection(raw) as after:
            assert read_to_end(after.socket) == b"new\n"
        wait_until(lambda: len(lb.generations()) == 1, what="the old generation to end")
        before.send(b"three\n")
        assert before.socket.recv(100) == b"three\n", "its tunnel lives on in the new one"
        before.half_close()
        assert before.socket.recv(100) == b""


def test_a_tunnel_that_outlives_the_drain_is_reset_and_counted(start_lb, serving):
    """When the service stops: there is no successor to take it."""
    config = {
        "listen": {"address": "127.0.0.1:0", "mode": "tcp"},
        "backends": [serving(echo_lines)],
        "drain_timeout": 0.3,
        "workers": 1,
    }
    lb = start_lb(config)
    with Connection(lb.address) as client:
        client.send(b"one\n")
        assert client.socket.recv(100) == b"one\n"
        since = lb.log_position()
        lb.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionResetError):
            client.socket.recv(100)
    event = lb.wait_event("drain.end", since=since)
    assert event.get("force_closed") == 1


def test_the_client_of_a_proxy_header_stays_the_same_over_reloads(start_lb, serving, tmp_path):
    log = tmp_path / "access.log"
    config = {
        "listen": {"address": "127.0.0.1:0", "proxy_protocol": {"from": ["127.0.0.0/8"]}},
        "backends": [{**serving(http_mirror), "send_proxy": "v1"}],
        "access_log": str(log),
        "workers": 1,
    }
    lb = start_lb(config)
    with Connection(lb.address) as client:
        client.send(PROXY)
        for pool in (1, 2, 3):
            body = client.request(target=f"/{pool}").body
            assert body.startswith(PROXY), "the backend is told first of all"
            assert b"X-Forwarded-For: 192.0.2.7\r\n" in body
            lb.reload_config({**config, "pool": {"max_size": pool}})
    wait_until(lambda: log.exists() and log.read_text().count("\n") == 3, what="three lines of access log")
    for line in log.read_text().splitlines():
        entry = json.loads(line)
        assert (entry["client_ip"], entry["client_port"]) == ("192.0.2.7", 4711)


def test_a_header_is_believed_only_from_who_is_trusted(start_lb, serving):
    untrusted = {"address": "127.0.0.1:0", "proxy_protocol": {"from": ["10.0.0.0/8"]}}
    none = "127.0.0.2:0"
    lb = start_lb({"listen": [untrusted, none], "backends": [serving(http_mirror)], "workers": 1})
    with pytest.raises((ConnectionResetError, BrokenPipeError)):
        with Connection(lb.address) as client:
            client.send(PROXY + wire.format_request())
            client.socket.recv(100)
    with Connection(lb.listeners()[1][1]) as client:
        client.send(PROXY + wire.format_request())
        assert client.read_response().status == 400, "a listener without proxy_protocol expects a request"


def test_the_access_log_of_tcp_mode(start_lb, serving, tmp_path):
    log = tmp_path / "access.log"
    lb = start_lb(
        {
            "listen": {"address": "127.0.0.1:0", "mode": "tcp"},
            "backends": [{**serving(echo_lines), "name": "b"}],
            "access_log": str(log),
            "workers": 1,
        }
    )
    with Connection(lb.address) as client:
        client.send(b"12345")
        client.half_close()
        assert read_to_end(client.socket) == b"12345"
    wait_until(lambda: log.exists() and log.read_text().endswith("\n"), what="a line of access log")
    entry = json.loads(log.read_text())
    wanted = {"method": "TCP", "target": "127.0.0.1:0", "status": 0, "backend": "b", "outcome": "ok"}
    assert {key: entry[key] for key in wanted} == wanted
    assert (entry["request_body_bytes"], entry["response_body_bytes"]) == (5, 5)
