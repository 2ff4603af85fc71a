"""Large bodies, which move through the kernel by splice(2): every byte arrives, slow readers hold nobody
up, and neither pipes nor descriptors are left behind."""

import hashlib
import os
import resource
import socket
import threading
import time

import pytest
from lbharness import process, wire

MIB = 1024 * 1024
IDLE_PIPES_MAX = 16  # of a worker, see lb/proxy/splice_pipe.hpp
WAITING_PIPES_MAX = 64


def pipes_of(pid):
    """Pipes that the process holds. Standard streams are pipes of the harness and not counted."""
    found = set()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        if int(fd) > 2 and link.startswith("pipe:"):
            found.add(link)
    return len(found)


def worker_pid(lb):
    (pid,) = lb.serving_pids()
    return pid


def serve_body(body, framing="length"):
    def handler(exchange):
        if framing == "length":
            exchange.reply(body=body)
            return None
        exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body)
        return "close"

    return handler


@pytest.fixture
def body(rng):
    return rng.randbytes(3 * MIB + 12_345)


def test_downloads_arrive_whole_and_the_backend_connection_is_used_again(proxy, body):
    lb, backend = proxy(serve_body(body), workers=1)
    with wire.Connection(lb.address) as client:
        for _ in range(5):
            assert hashlib.sha256(client.request().body).digest() == hashlib.sha256(body).digest()
    assert backend.connections == 1
    assert 1 <= pipes_of(worker_pid(lb)) <= IDLE_PIPES_MAX


@pytest.mark.parametrize("size", [64 * 1024 - 200, 64 * 1024, 128 * 1024 - 1, 128 * 1024, 200_000, MIB])
def test_every_size_around_the_thresholds(proxy, rng, size):
    content = rng.randbytes(size)
    lb, backend = proxy(serve_body(content), workers=1)
    with wire.Connection(lb.address) as client:
        for _ in range(3):
            assert client.request().body == content
    assert backend.connections == 1


def test_a_body_that_ends_with_the_connection(proxy, body):
    lb, _ = proxy(serve_body(body, "close"), workers=1)
    # A client of HTTP/1.0 gets it as it is; one of HTTP/1.1 may get it chunked.
    for version in ("HTTP/1.0", "HTTP/1.1"):
        with wire.Connection(lb.address) as client:
            assert client.request(version=version).body == body


def test_uploads_arrive_whole(proxy, body):
    def handler(exchange):
        length = int(next(value for name, value in exchange.headers if name.lower() == "content-length"))
        received = exchange.connection.read_exactly(length)
        exchange.reply(body=hashlib.sha256(received).hexdigest().encode())

    lb, backend = proxy(handler, workers=1)
    with wire.Connection(lb.address) as client:
        for _ in range(3):
            answer = client.request("PUT", body=body)
            assert answer.body.decode() == hashlib.sha256(body).hexdigest()
    assert backend.connections == 1


def test_slow_readers_beyond_the_pipes_that_may_wait(proxy, body):
    """More clients than pipes may wait for: all get every byte, and the pipes are given back."""
    lb, _ = proxy(serve_body(body), workers=1)
    clients = [
        wire.Connection(lb.address, timeout=30, receive_buffer=4096) for _ in range(WAITING_PIPES_MAX + 16)
    ]
    try:
        for client in clients:
            client.send(wire.format_request())
        pid = worker_pid(lb)
        process.wait_until(lambda: pipes_of(pid) >= WAITING_PIPES_MAX, 10, "all pipes wait")
        assert pipes_of(pid) <= WAITING_PIPES_MAX + IDLE_PIPES_MAX + 1
        # Others are served meanwhile; bytes that wait in pipes, and those that had to be copied, arrive.
        assert wire.fetch(lb.address, timeout=20).body == body
        leaving, staying = clients[4:-4], clients[:4] + clients[-4:]
        for client in leaving:
            client.close()
        for client in staying:
            assert client.read_response().body == body
        process.wait_until(lambda: pipes_of(pid) <= IDLE_PIPES_MAX, 10, "the pipes are given back")
    finally:
        for client in clients:
            client.close()


def test_a_cut_response_is_seen_as_cut(proxy, body):
    def handler(exchange):
        exchange.send(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body[: 2 * MIB])
        return "close"

    lb, _ = proxy(handler, workers=1)
    for _ in range(3):
        with pytest.raises(wire.WireError):
            wire.fetch(lb.address)
    process.wait_until(lambda: pipes_of(worker_pid(lb)) <= IDLE_PIPES_MAX, 10, "no pipe is left")


def test_surplus_bytes_behind_a_spliced_body_spoil_the_backend_connection(proxy, body):
    def handler(exchange):
        # In one piece with the end of the body: later it could not be told from the next answer.
        surplus = (
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwrong" if exchange.target == "/surplus" else b""
        )
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        exchange.send(head + body[:MIB])
        exchange.send(body[MIB:] + surplus)

    lb, backend = proxy(handler, workers=1)
    with wire.Connection(lb.address) as client:
        for target in ("/surplus", "/next", "/surplus", "/next"):
            assert client.request(target=target).body == body
    assert backend.connections >= 3


def test_out_of_descriptors_bodies_are_copied(proxy, body):
    def handler(exchange):
        exchange.reply(body=b"x" if exchange.target == "/small" else body)

    lb, _ = proxy(handler, workers=1)
    pid = worker_pid(lb)
    with wire.Connection(lb.address) as client:
        # Both connections are there once this is answered; with so low a limit no pipe can be.
        assert client.request(target="/small").body == b"x"
        assert pipes_of(pid) == 0
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, 3))
        for _ in range(3):
            assert client.request().body == body
        assert pipes_of(pid) == 0


def test_pipelined_requests_around_large_bodies(proxy, body):
    lb, _ = proxy(serve_body(body), workers=1)
    with wire.Connection(lb.address, timeout=20) as client:
        client.send(wire.format_request() * 4)
        for _ in range(4):
            assert client.read_response().body == body


def test_an_upload_whose_client_goes_away_frees_its_pipe(proxy):
    """The backend does not read, so a pipe waits for it when the client leaves."""
    hold = []

    def handler(exchange):
        hold.append(exchange)
        time.sleep(0.001)  # never reads the body
        while len(hold) < 1000:
            try:
                if exchange.connection.socket.recv(1, socket.MSG_PEEK) == b"":
                    return "close"
                time.sleep(0.005)
            except OSError:
                return "close"
        return "close"

    lb, backend = proxy(handler, workers=1)
    pid = worker_pid(lb)
    client = wire.Connection(lb.address)
    client.socket.settimeout(0.2)
    try:
        client.send(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
        with pytest.raises(OSError):
            for _ in range(1000):
                client.socket.send(b"u" * MIB)
        assert pipes_of(pid) >= 1
    finally:
        client.close()
        hold.extend([None] * 1000)
        backend.stop()
    process.wait_until(lambda: pipes_of(pid) <= IDLE_PIPES_MAX, 10, "the pipe is closed")


def test_tunnels_carry_small_and_large_messages(proxy, rng):
    """Echoed through an upgraded connection: messages, more than the buffers take, messages again."""

    def handler(exchange):
        exchange.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        while data := exchange.connection.socket.recv(MIB):
            exchange.connection.socket.sendall(data)
        return "close"

    lb, _ = proxy(handler, workers=1)
    with wire.Connection(lb.address, timeout=20) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        assert client.read_head().status == 101
        for content in (b"small", rng.randbytes(5 * MIB), b"small again", rng.randbytes(MIB), b"end"):
            sender = threading.Thread(target=client.send, args=(content,))
            sender.start()
            assert client.read_exactly(len(content)) == content
            sender.join()
        assert pipes_of(worker_pid(lb)) >= 1
        client.half_close()
        assert client.closed_by_peer()
    process.wait_until(lambda: pipes_of(worker_pid(lb)) <= IDLE_PIPES_MAX, 10, "no pipe is left")


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000, 300_000])
def test_the_end_of_a_last_response_is_not_held_back(proxy, rng, size):
    """The response and the close travel together; were one to wait for the other, it would be for 200 ms."""
    content = rng.randbytes(size)
    lb, _ = proxy(serve_body(content), workers=1)
    times = []
    for _ in range(10):
        begin = time.monotonic()
        with wire.Connection(lb.address) as client:
            answer = client.request(headers=[("Connection", "close")])
            times.append(time.monotonic() - begin)
            assert answer.body == content and answer.closes
            assert client.closed_by_peer()
    assert sorted(times)[len(times) // 2] < 0.1
