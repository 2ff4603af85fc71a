"""Kept-alive clients over reloads: they move to the next generation. Whatever is killed or stopped meanwhile,
nobody hangs."""

import asyncio
import contextlib
import os
import random
import signal
import threading
import time

import pytest
from lbharness import process, wire
from lbharness.process import wait_until

CLIENTS = 200
HANG_S = 20.0  # an answer that takes longer will never come
THINK_S = (0.05, 0.4)
REQUEST = b"GET / HTTP/1.1\r\nHost: lb.test\r\n\r\n"


class KeptAlive:
    """Clients in a thread of their own, each with one connection that it uses again and again, and opens anew
    only when it was closed."""

    def __init__(self, address, count=CLIENTS, seed=1):
        self.address, self.count = address, count
        self.answers = self.closed = self.refused = self.hung = 0
        self.cut = 0  # of `closed`: with a request on its way, and without an announcement
        self.connected = 0
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()))

    def __enter__(self):
        self._thread.start()
        wait_until(lambda: self.answers >= 2 * self.count, timeout=30, what="every client to be answered")
        return self

    def __exit__(self, *_):
        self.finish()

    def finish(self):
        self._stop.set()
        self._thread.join()

    def more(self, count=None, timeout=30):
        """Waits for `count` further answers."""
        goal = self.answers + (count or 2 * self.count)
        wait_until(lambda: self.answers >= goal or self.hung, timeout=timeout, what="further answers")

    async def _all(self):
        await asyncio.gather(*(self._client() for _ in range(self.count)))

    async def _client(self):
        while not self._stop.is_set():
            try:
                reader, writer = await asyncio.wait_for(asyncio.open_connection(*self.address), HANG_S)
            except asyncio.TimeoutError:
                self.hung += 1
                return
            except OSError:
                self.refused += 1
                await asyncio.sleep(0.02)
                continue
            self.connected += 1
            served = []
            try:
                await self._use(reader, writer, served)
            except (OSError, asyncio.IncompleteReadError):
                self.cut += len(served) > 0
            writer.close()
            if self._stop.is_set() or self.hung:
                return
            self.closed += 1

    async def _use(self, reader, writer, served):
        while not self._stop.is_set():
            writer.write(REQUEST)
            try:
                head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), HANG_S)
                length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                await asyncio.wait_for(reader.readexactly(int(length[0].split(b":")[1])), HANG_S)
            except asyncio.TimeoutError:
                self.hung += 1
                return
            self.answers += 1
            served[:] = [head]
            if b"connection: close" in head.lower():
                return
            await asyncio.sleep(self._random.uniform(*THINK_S))

    def __str__(self):
        return (
            f"{self.answers} answers, {self.connected} connections, {self.closed} closed, "
            f"{self.cut} of them cut, {self.refused} refused, {self.hung} hung"
        )


def alive(pid):
    return process.process_state(pid) not in (None, "Z")


def kill_9(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not alive(pid), what="it to be dead")


def labelled(config, number):
    return {**config, "response_headers": {"X-Config": str(number)}}


@pytest.fixture
def config(backends, config_for):
    return config_for(backends=backends, listen=f"127.0.0.1:{wire.free_port()}")


def test_nobody_is_closed_over_30_reloads(start_lb, config):
    lb = start_lb(labelled(config, 0))
    with KeptAlive(lb.address) as clients:
        for number in range(1, 31):
            lb.reload_config(labelled(config, number))
        clients.more()
    assert clients.closed == clients.refused == clients.hung == 0, clients
    assert clients.connected == CLIENTS
    wait_until(lambda: len(lb.generations()) == 1, timeout=20, what="the old generations to end")
    ended = lb.status()["drains"]
    assert sum(drain["handed_over"] for drain in ended) >= CLIENTS
    assert sum(drain["force_closed"] + drain["closed_idle"] for drain in ended) == 0


def test_connections_wait_for_a_stopped_generation(start_lb, config):
    """Each that becomes idle meanwhile goes to the one that does not read."""
    lb = start_lb(labelled(config, 0))
    with KeptAlive(lb.address) as clients:
        lb.reload_config(labelled(config, 1))
        stopped = lb.current()["pid"]
        os.kill(stopped, signal.SIGSTOP)
        time.sleep(1)  # the length of the stop, not a wait for something
        os.kill(stopped, signal.SIGCONT)
        clients.more()
    assert clients.closed == clients.refused == clients.hung == 0, clients


def test_new_generation_stopped_during_the_reload(start_lb, config, rng):
    lb = start_lb(labelled(config, 0))
    with KeptAlive(lb.address) as clients:
        for number in range(1, 4):
            lb.write(labelled(config, number))
            before = set(process.children_of(lb.pid))
            lb.send_signal(signal.SIGHUP)
            fresh = wait_until(lambda b=before: set(process.children_of(lb.pid)) - b, what="a generation")
            time.sleep(rng.uniform(0, 0.05))
            for pid in fresh:
                os.kill(pid, signal.SIGSTOP)
            time.sleep(1)
            for pid in fresh:
                os.kill(pid, signal.SIGCONT)
            wait_until(lambda n=number: lb.status()["reloads"]["applied"] == n, what="it to be applied")
        clients.more()
    assert clients.closed == clients.refused == clients.hung == 0, clients


def test_generations_killed_at_any_moment(start_lb, config, rng):
    """The supervisor holds the sockets: nobody is refused, nobody hangs, and reloads go on."""
    lb = start_lb(labelled(config, 0))
    with KeptAlive(lb.address) as clients:
        for number in range(1, 13):
            lb.write(labelled(config, number))
            lb.send_signal(signal.SIGHUP)
            time.sleep(rng.uniform(0, 0.15))
            children = process.children_of(lb.pid)
            if children:
                kill_9(rng.choice([min(children), max(children)]))
            clients.more(20)
        answered = wait_until(lambda: lb.reload_cli().code == 0, timeout=30, what="a reload that succeeds")
        clients.more()
    assert answered and clients.refused == clients.hung == 0, clients


def test_supervisor_killed_at_any_moment(start_lb, config, rng):
    """Only those on their way through it are lost; the next one takes over."""
    lb = start_lb(labelled(config, 0))
    with KeptAlive(lb.address) as clients:
        for number in range(1, 6):
            lb.write(labelled(config, number))
            lb.send_signal(signal.SIGHUP)
            time.sleep(rng.uniform(0, 0.15))
            kill_9(lb.pid)
            clients.more(20)
            lb.start(labelled(config, number))
            clients.more(20)
        lb.reload_config(labelled(config, 99))
        clients.more()
    assert clients.hung == 0, clients
    assert clients.refused == 0, clients
    wire.wait_answer(lb.address, 10, lambda r: r.label == "99")


def test_stop_in_the_middle_of_a_reload(start_lb, config):
    """Those on their way when the service stops are closed between two requests, like all others."""
    lb = start_lb({**labelled(config, 0), "timeouts": {"quiet": 0.5}})
    with KeptAlive(lb.address) as clients:
        lb.write(labelled(config, 1))
        lb.send_signal(signal.SIGHUP)
        lb.wait_event("drain.begin")
        lb.send_signal(signal.SIGTERM)
        assert lb.child.wait(timeout=40) == 0
    assert clients.hung == clients.cut == 0, clients
