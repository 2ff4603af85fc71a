"""What one client may ask for, and for how long it is waited for: the limits of the configuration, live."""

import selectors
import socket
import threading
import time

from lbharness import paths, process
from lbharness.wire import Connection, WireError, fetch, format_request


def test_slowloris_is_408_and_hurts_nobody(proxy):
    """Heads that come byte by byte: each has timeouts.header, however busy it keeps us; others are served."""
    lb, backend = proxy(timeouts={"header": 0.5}, workers=1)
    slow = [Connection(lb.address) for _ in range(50)]
    began = time.monotonic()
    answered = {}
    with selectors.DefaultSelector() as selector:
        for client in slow:
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
            selector.register(client.socket, selectors.EVENT_READ, client)
        while len(answered) < len(slow) and time.monotonic() - began < 8:
            assert fetch(lb.address).status == 200
            ready = [key.data for key, _ in selector.select(0.01)]
            for client in ready:
                selector.unregister(client.socket)
                answered[client] = time.monotonic() - began
            for client in slow:
                if client not in answered:
                    try:
                        client.send(b"x")
                    except OSError:
                        pass  # it is answered by now
    assert len(answered) == len(slow)
    assert min(answered.values()) > 0.4, "not before its time"
    for client in slow:
        response = client.read_response()
        assert response.status == 408 and response.closes
        client.close()
    assert all(seen.get("X") is None for seen in backend.requests)


def test_a_body_that_stalls_is_408(proxy):
    lb, _ = proxy(lambda exchange: exchange.read_body(), timeouts={"body": 0.3})
    with Connection(lb.address) as client:
        client.send(format_request("POST", "/", headers=[("Content-Length", "10")]) + b"12345")
        response = client.read_response()
        assert response.status == 408 and response.closes


def test_413_while_the_body_is_still_coming(proxy):
    """A backend never sees the end of a chunked body that is too long."""
    ended = []

    def handler(exchange):
        try:
            exchange.read_body()
            ended.append("whole")
            exchange.reply()
        except WireError:
            ended.append("cut short")
        return "close"

    lb, _ = proxy(handler, limits={"body_bytes": 1_000_000})
    with Connection(lb.address) as client:
        client.send(format_request("POST", "/", headers=[("Transfer-Encoding", "chunked")]))
        piece = b"8000\r\n" + b"x" * 0x8000 + b"\r\n"

        def pour():
            try:
                for _ in range(1000):
                    client.send(piece)
            except OSError:
                pass

        pourer = threading.Thread(target=pour)
        pourer.start()
        try:
            response = client.read_response()
        finally:
            client.socket.shutdown(socket.SHUT_RDWR)
            pourer.join()
        assert response.status == 413 and response.closes
    process.wait_until(lambda: ended, what="the backend to notice")
    assert ended == ["cut short"]


def test_connections_of_an_address_are_counted_apart(backends, start_lb):
    lb = start_lb(backends=backends, limits={"connections_per_ip": 2})
    mine = [Connection(lb.address, source="127.0.0.2") for _ in range(2)]
    for client in mine:
        assert client.request().status == 200
    with Connection(lb.address, source="127.0.0.2") as refused:
        assert refused.read_response().status == 429
    with Connection(lb.address, source="127.0.0.3") as other:
        assert other.request().status == 200
    mine.pop().close()

    def served():
        with Connection(lb.address, source="127.0.0.2") as again:
            try:
                return again.request().status == 200
            except (OSError, WireError):
                return False

    process.wait_until(served, what="the place to be free again")
    mine.pop().close()


def test_connections_are_counted_across_a_reload(backends, start_lb, config_for):
    """Those that move to the next generation count there."""
    keys = {"limits": {"connections_per_ip": 2}}
    lb = start_lb(backends=backends, **keys)
    kept = [Connection(lb.address, source="127.0.0.2") for _ in range(2)]
    for client in kept:
        assert client.request().status == 200
    lb.reload_config(config_for(backends, algorithm="random", **keys))
    for client in kept:
        assert client.request().status == 200

    def refused():
        with Connection(lb.address, source="127.0.0.2") as another:
            another.send(format_request())
            return another.read_response().status == 429

    process.wait_until(refused, what="both to have arrived")
    for client in kept:
        client.close()


def test_requests_wait_for_a_full_backend_and_are_all_answered(backends, start_lb):
    """Many more clients than places, over several workers: nobody is refused, nobody is forgotten."""
    lb = start_lb(backends=[backends.config("b1", max_connections=2)], workers=3, queue={"timeout": 10})
    statuses = []

    def ask():
        with Connection(lb.address) as client:
            for _ in range(5):
                statuses.append(client.request(target="/?size=10&delay_ms=3").status)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 100


def test_503_with_retry_after_when_the_queue_is_full(raw_backend, start_lb):
    release = threading.Event()

    def handler(exchange):
        release.wait(10)
        exchange.reply()

    backend = raw_backend(handler)
    lb = start_lb(backends=[backend.config(max_connections=1)], queue={"size": 1, "timeout": 10}, workers=1)
    clients = [Connection(lb.address) for _ in range(4)]
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.send(format_request())
            selector.register(client.socket, selectors.EVENT_READ, client)
        refused = set()
        while len(refused) < 2:  # one is served, one waits
            ready = selector.select(5)
            assert ready
            for key, _ in ready:
                selector.unregister(key.fileobj)
                refused.add(key.data)
    for client in refused:
        response = client.read_response()
        assert (response.status, response.get("Retry-After")) == (503, "1")
    release.set()
    for client in clients:
        if client not in refused:
            assert client.read_response().status == 200
        client.close()


def limited_program(folder, descriptors):
    """The balancer under a hard limit of descriptors, which it cannot raise."""
    script = folder / "lb-limited"
    script.write_text(f'#!/bin/sh\nulimit -n {descriptors}\nexec "{paths.lb_binary()}" "$@"\n')
    script.chmod(0o755)
    return script


def test_out_of_descriptors_what_is_here_goes_on_and_the_rest_comes_later(backends, start_lb, tmp_path):
    """Far more clients than descriptors: they wait in the kernel's queue, none is refused or forgotten."""
    clients, limit = 200, 80
    lb = start_lb(
        backends=backends, workers=1, options={"binary": limited_program(tmp_path, limit)}, drain_timeout=5
    )
    with Connection(lb.address) as old, selectors.DefaultSelector() as selector:
        assert old.request().status == 200
        for _ in range(clients):
            client = Connection(lb.address)
            client.send(format_request("GET", "/"))
            selector.register(client.socket, selectors.EVENT_READ, client)
        process.wait_until(lambda: lb.status()["counters"]["accept_errors"] > 0, what="the shortage")
        statuses = []
        deadline = time.monotonic() + 30
        while len(statuses) < clients and time.monotonic() < deadline:
            for key, _ in selector.select(0.5):
                statuses.append(key.data.read_response().status)
                selector.unregister(key.fileobj)
                key.data.close()  # makes room for one that waits
            assert old.request().status in (200, 503), "who is here is answered"
        assert len(statuses) == clients and set(statuses) <= {200, 503}, statuses
        assert statuses.count(200) > 0, "503: who found no descriptor for a connection to a backend"
        assert old.request().status == 200
    assert fetch(lb.address).status == 200
    assert all(backend["standing"] == "up" for backend in lb.status()["backends"]), "nobody is blamed for it"
    assert lb.reload_cli().code == 0
