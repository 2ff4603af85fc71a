"""Connections that outlive reloads: idle kept-alive clients, upgraded connections and TCP tunnels, with
both ends in one thread of asyncio. Each direction of a tunnel carries random bytes without end; both ends
keep a running hash of what they sent and of what arrived, and compare when the tunnel ends."""

import asyncio
import hashlib
import random
import resource
import threading
import time

from .process import wait_until

REQUEST = b"GET / HTTP/1.1\r\nHost: lb.test\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
UPGRADE = b"GET /live HTTP/1.1\r\nHost: lb.test\r\nConnection: Upgrade\r\nUpgrade: lb-live\r\n\r\n"
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: lb-live\r\n\r\n"
NAME_BYTES = 8


def raise_descriptor_limit():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


class End:
    """One end of a tunnel."""

    def __init__(self):
        self.sent, self.arrived = hashlib.blake2b(), hashlib.blake2b()
        self.sent_bytes = self.arrived_bytes = 0
        self.fault = None

    async def live(self, reader, writer, rng, pause_s, stop):
        await asyncio.gather(self._speak(writer, rng, pause_s, stop), self._listen(reader))
        writer.close()

    async def _speak(self, writer, rng, pause_s, stop):
        try:
            while not stop.is_set():
                piece = rng.randbytes(rng.choice((1, 40, 700, 3000, 40_000)))
                writer.write(piece)
                self.sent.update(piece)
                self.sent_bytes += len(piece)
                await writer.drain()
                await asyncio.sleep(rng.uniform(0, 2 * pause_s))
            writer.write_eof()
        except OSError as error:
            self.fault = self.fault or f"sending: {error}"

    async def _listen(self, reader):
        try:
            while data := await reader.read(65536):
                self.arrived.update(data)
                self.arrived_bytes += len(data)
        except OSError as error:
            self.fault = self.fault or f"reading: {error}"


class LongLived:
    """A backend for all of them, and the clients. `start` once the balancer serves."""

    def __init__(self, seed=1, pause_s=0.05):
        self.seed, self.pause_s = seed, pause_s
        self.clients, self.servers = {}, {}  # tunnel number -> End
        self.idle_closed = self.exchanges = self.backend_connections = 0
        self.faults = []
        self.slowest_s = {}  # what was going on -> the slowest exchange of an idle client
        self.phase = "steady"
        self._idle = []
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._stop = self._call(self._make_event())
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=4096))
        self.port = self._server.sockets[0].getsockname()[1]

    def _call(self, coroutine, timeout=300):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout)

    async def _make_event(self):
        return asyncio.Event()

    # ---- the backend ----

    async def _serve(self, reader, writer):
        self.backend_connections += 1
        try:
            first = await reader.readexactly(4)
            if first != b"GET ":
                return await self._tunnel_server(first, reader, writer)
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if b"lb-live" in head:
                    writer.write(SWITCHED)
                    return await self._tunnel_server(b"", reader, writer)
                writer.write(ANSWER)
        except (OSError, asyncio.IncompleteReadError):
            writer.close()

    async def _tunnel_server(self, first, reader, writer):
        name = first + await reader.readexactly(NAME_BYTES - len(first))
        number = int(name)
        end = self.servers[number] = End()
        await end.live(reader, writer, random.Random(self.seed * 7919 + number), self.pause_s, self._stop)

    # ---- the clients ----

    def open_tunnels(self, address, count, upgrade):
        """Opens `count` more; returns once their backend ends live."""
        before = len(self.clients)
        self._call(self._open_tunnels(address, before, count, upgrade))
        goal = before + count
        wait_until(lambda: len(self.servers) >= goal, timeout=60, what=f"{goal} tunnels to reach the backend")

    async def _open_tunnels(self, address, first, count, upgrade):
        for number in range(first, first + count):
            reader, writer = await asyncio.open_connection(*address)
            if upgrade:
                writer.write(UPGRADE)
                head = await reader.readuntil(b"\r\n\r\n")
                if not head.startswith(b"HTTP/1.1 101"):
                    raise AssertionError(f"no tunnel but {head!r}")
            writer.write(b"%08d" % number)
            end = self.clients[number] = End()
            rng = random.Random(self.seed * 104729 + number)
            end.task = asyncio.ensure_future(end.live(reader, writer, rng, self.pause_s, self._stop))

    def open_idle(self, address, count):
        """Clients that ask once and are then quiet, but for one now and then (`ask_some`)."""
        self._call(self._open_idle(address, count))

    async def _open_idle(self, address, count):
        for _ in range(count):
            streams = await asyncio.open_connection(*address)
            self._idle.append(streams)
            await self._ask(*streams)

    async def _ask(self, reader, writer):
        began = time.monotonic()
        try:
            writer.write(REQUEST)
            await reader.readexactly(len(ANSWER))
        except (OSError, asyncio.IncompleteReadError) as error:
            self.idle_closed += 1
            self.faults.append(f"an idle client: {error!r}")
            return False
        self.exchanges += 1
        took = time.monotonic() - began
        self.slowest_s[self.phase] = max(took, self.slowest_s.get(self.phase, 0.0))
        return True

    def ask_some(self, count, rng):
        """`count` of the idle ones ask, one after the other."""
        self._call(self._ask_some([rng.randrange(len(self._idle)) for _ in range(count)]))

    async def _ask_some(self, chosen):
        for index in chosen:
            await self._ask(*self._idle[index])

    # ---- the end ----

    def finish(self):
        """Ends every tunnel from both ends and tells what went wrong; empty: nothing."""
        self._call(self._finish())
        for number, client in self.clients.items():
            server = self.servers[number]
            for end, name in ((client, "client"), (server, "backend")):
                if end.fault:
                    self.faults.append(f"tunnel {number}, {name}: {end.fault}")
            if client.sent.digest() != server.arrived.digest():
                self.faults.append(
                    f"tunnel {number}: {client.sent_bytes} bytes sent, "
                    f"{server.arrived_bytes} arrived at the backend"
                )
            if server.sent.digest() != client.arrived.digest():
                self.faults.append(
                    f"tunnel {number}: {server.sent_bytes} bytes sent, "
                    f"{client.arrived_bytes} arrived at the client"
                )
        return self.faults

    async def _finish(self):
        self._stop.set()
        await asyncio.wait_for(asyncio.gather(*(end.task for end in self.clients.values())), 120)
        for reader, writer in self._idle:
            if reader.at_eof():
                self.idle_closed += 1
                self.faults.append("an idle client was closed")
            writer.close()
        await asyncio.sleep(0)

    def bytes_moved(self):
        return sum(end.arrived_bytes for end in (*self.clients.values(), *self.servers.values()))

    def close(self):
        async def close():
            self._server.close()
            for task in asyncio.all_tasks():
                if task is not asyncio.current_task():
                    task.cancel()

        self._call(close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
