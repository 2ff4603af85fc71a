#!/usr/bin/env python3
"""What a reload costs, depending on what it does with the listening socket; measured here and now.

A small server (reuseport_server.cpp) is reloaded again and again in each way while clients open connections
without a pause. Every connection that does not bring its one line of answer is lost. Nothing is tried again.

    make experiment-reuseport
    harness/experiments/reuseport.py --reloads 20 --only rebind,share --json

Runs in a network namespace of its own where that is permitted, so that nothing on the machine is disturbed
and net.ipv4.tcp_migrate_req may be set. Exit status: 0 measured, 2 could not be measured.
"""

import argparse
import collections
import errno
import heapq
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LB_BUILD_DIR", ROOT / "build" / "release"))
SERVER = BUILD / "harness" / "experiments" / "reuseport_server"
MIGRATE = Path("/proc/sys/net/ipv4/tcp_migrate_req")
INSIDE = "--inside-namespace"

CLIENTS_MAX = 512
RELOADS_MAX = 100
TIMEOUT_S = 3.0  # a connection without an answer for this long is lost
SETTLE_S = 0.15  # between two reloads: the queues fill again
AFTER_FAILURE_S = 0.01  # a client that failed waits before its next connection
WAY_S_MAX = 60.0


@dataclass
class Way:
    name: str  # what the reader asks for
    title: str
    why: str
    options: list
    migrate: bool = False


WAYS = [
    Way("restart", "restart",
        "nobody listens while the next one starts: refused; what was queued is reset",
        ["--way", "restart"]),
    Way("rebind", "new bind, old closes",
        "each socket has a queue of its own, and closing it resets what waits there",
        ["--way", "rebind"]),
    Way("drain", "accept until EAGAIN, then close",
        "handshakes that are not finished yet are in no queue: they are reset",
        ["--way", "drain"]),
    Way("rebind+migrate", "new bind, old closes, migrate_req",
        "the kernel moves queue and handshakes to another socket of the group",
        ["--way", "rebind"], migrate=True),
    Way("drain+migrate", "until EAGAIN, close, migrate_req",
        "the same, with less to move",
        ["--way", "drain"], migrate=True),
    Way("shrink", "inherited, 4 shards <-> 2",
        "shared sockets, but nobody holds the two that are too many any more",
        ["--way", "shrink", "--shards", "4", "--to", "2"]),
    Way("adopt", "inherited, 4 shards, 4 <-> 2 threads",
        "the surplus sockets are adopted: no queue loses its last holder",
        ["--way", "adopt", "--shards", "4", "--to", "2"]),
    Way("share", "the same sockets, inherited",
        "old and new hold the same queues: there is nothing to lose",
        ["--way", "share"]),
]  # fmt: skip


@dataclass
class Outcome:
    way: str
    title: str
    why: str
    skipped: str = ""  # why it was not measured
    reloads: int = 0
    tried: int = 0
    lost: int = 0
    refused: int = 0  # nobody listened
    reset: int = 0  # before a byte of the answer
    closed: int = 0  # the same, without a reset
    timed_out: int = 0
    in_queue: float = 0.0  # connections in the old sockets' queues when they were left, on average
    slowest_ms: float = 0.0
    per_generation: dict = field(default_factory=dict)  # answers by the generation that gave them


class CannotMeasure(Exception):
    pass


class Client:
    """One connection after the other: connect, wait as long as the network would, send, read a line."""

    def __init__(self):
        self.socket = None
        self.began = 0.0
        self.attempt = 0  # tells a timer whether it is still meant


class Run:
    """One way: a server, its clients, its reloads. One thread, one selector, one heap of timers."""

    def __init__(self, way, args):
        self.way = way
        self.args = args
        self.outcome = Outcome(way.name, way.title, way.why)
        self.selector = selectors.DefaultSelector()
        self.timers = []
        self.counter = 0
        self.queued = []
        self.starting = True  # new connections are begun
        self.open = 0
        self.kinds = collections.Counter()
        self.strange = set()  # names of errors that no balancer causes

    def measure(self):
        self.server = subprocess.Popen(
            [str(SERVER), *self.way.options, "--accept-us", str(self.args.accept_us)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )  # fmt: skip
        try:
            line = self.server.stdout.readline().split()
            if len(line) != 2 or line[0] != "port":
                raise CannotMeasure(f"{self.way.name}: the server did not start")
            self.address = ("127.0.0.1", int(line[1]))
            self.selector.register(self.server.stdout, selectors.EVENT_READ, None)
            for _ in range(self.args.clients):
                self.begin(Client())
            self.after(2 * SETTLE_S, self.ask_for_reload)
            self.loop()
        finally:
            self.server.stdin.close()
            try:
                self.server.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
            self.server.stdout.close()
            self.selector.close()
        return self.result()

    def loop(self):
        deadline = time.monotonic() + WAY_S_MAX
        while self.starting or self.open:
            now = time.monotonic()
            if now > deadline:
                raise CannotMeasure(f"{self.way.name}: no end after {WAY_S_MAX:.0f} s")
            while self.timers and self.timers[0][0] <= now:
                heapq.heappop(self.timers)[2]()
            wait = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else 0.1
            for key, _ in self.selector.select(min(wait, 0.1)):
                if key.data is None:
                    self.server_said(self.server.stdout.readline())
                else:
                    self.ready(key.data)

    def after(self, seconds, action):
        self.counter += 1  # equal times: first come, first served
        heapq.heappush(self.timers, (time.monotonic() + seconds, self.counter, action))

    # ---- the reloads ----

    def ask_for_reload(self):
        if self.outcome.reloads == self.args.reloads:
            self.starting = False
            return
        self.server.stdin.write("reload\n")

    def server_said(self, line):
        words = line.split()
        if len(words) != 3 or words[0] != "reloaded":
            raise CannotMeasure(f"{self.way.name}: the server ended")
        self.outcome.reloads += 1
        self.queued.append(int(words[2]))
        self.after(SETTLE_S, self.ask_for_reload)

    # ---- the clients ----

    def begin(self, client):
        if not self.starting:
            return
        self.outcome.tried += 1
        self.open += 1
        client.attempt += 1
        client.began = time.monotonic()
        client.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        # Never from the address it connects to: with the same port by chance it would reach itself.
        client.socket.bind(("127.0.0.2", 0))
        error = client.socket.connect_ex(self.address)
        if error not in (0, errno.EINPROGRESS):
            self.end(client, error)
            return
        self.selector.register(client.socket, selectors.EVENT_READ, client)
        attempt = client.attempt
        self.after(self.args.far_ms / 1000, lambda: self.send(client, attempt))
        self.after(TIMEOUT_S, lambda: self.time_out(client, attempt))

    def send(self, client, attempt):
        if client.attempt != attempt or client.socket is None:
            return
        try:
            client.socket.send(b"hello\n")
        except BlockingIOError:  # not connected yet: its SYN was dropped, and will be sent again
            self.after(0.01, lambda: self.send(client, attempt))
        except OSError as error:
            self.end(client, error.errno)

    def time_out(self, client, attempt):
        if client.attempt == attempt and client.socket is not None:
            self.end(client, errno.ETIMEDOUT)

    def ready(self, client):
        if client.socket is None:
            return
        try:
            answer = client.socket.recv(64)
        except BlockingIOError:
            return
        except OSError as error:
            self.end(client, error.errno)
            return
        self.end(client, 0, answer)

    def end(self, client, error, answer=b""):
        try:
            self.selector.unregister(client.socket)
        except KeyError:
            pass
        client.socket.close()
        client.socket = None
        self.open -= 1
        self.outcome.slowest_ms = max(self.outcome.slowest_ms, (time.monotonic() - client.began) * 1000)
        if not error and answer.endswith(b"\n"):
            generation = answer.decode().strip()
            self.outcome.per_generation[generation] = self.outcome.per_generation.get(generation, 0) + 1
            self.begin(client)
            return
        kind = self.kind(error)
        self.kinds[kind] += 1
        if kind == "other":
            self.strange.add(errno.errorcode.get(error, str(error)))
        self.after(AFTER_FAILURE_S, lambda: self.begin(client))

    @staticmethod
    def kind(error):
        return {
            0: "closed",
            errno.ECONNREFUSED: "refused",
            errno.ECONNRESET: "reset",
            errno.EPIPE: "reset",
            errno.ETIMEDOUT: "timed_out",
        }.get(error, "other")

    def result(self):
        out = self.outcome
        if self.kinds["other"]:
            raise CannotMeasure(f"{self.way.name}: failures on the clients' side: {sorted(self.strange)}")
        for kind, count in self.kinds.items():
            setattr(out, kind, count)
        out.lost = sum(self.kinds.values())
        out.in_queue = round(sum(self.queued) / max(1, len(self.queued)), 1)
        out.slowest_ms = round(out.slowest_ms, 1)
        return out


# ---- the namespace ----


def enter_namespace():
    """Starts this program again in a network namespace of its own; returns, saying why, if it cannot."""
    unshare = shutil.which("unshare")
    if unshare is None:
        return "unshare(1) is not installed"
    flags = ["-n"] if os.geteuid() == 0 else ["-rn"]
    tried = subprocess.run([unshare, *flags, "true"], capture_output=True, text=True)
    if tried.returncode != 0:
        return "no network namespace: " + (tried.stderr.strip().splitlines() or ["unshare failed"])[-1]
    sys.stdout.flush()
    again = [sys.executable, os.path.abspath(__file__), INSIDE, *sys.argv[1:]]
    os.execv(unshare, [unshare, *flags, *again])


def bring_loopback_up():
    """`ip link set lo up`, without needing iproute2: SIOCSIFFLAGS with IFF_UP and IFF_RUNNING."""
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        fcntl.ioctl(s, 0x8914, struct.pack("16sH14x", b"lo", 0x1 | 0x40))


def set_migrate(on):
    """Why the setting is not to be had, or nothing."""
    try:
        MIGRATE.write_text("1" if on else "0")
    except FileNotFoundError:
        return "this kernel has no tcp_migrate_req (it came with 5.14)"
    except OSError as error:
        return f"not permitted here: {error.strerror}"
    return ""


# ---- the command ----


def table(outcomes):
    yield ""
    yield (f"{'the reload':<37}{'tried':>8}{'lost':>7}   {'refused':>7}{'reset':>7}{'closed':>7}{'late':>6}"
           f"   {'in queue':>8}{'slowest':>10}")  # fmt: skip
    for o in outcomes:
        if o.skipped:
            yield f"{o.title:<37}{o.skipped}"
            continue
        yield (f"{o.title:<37}{o.tried:>8,}{o.lost:>7,}   {o.refused:>7}{o.reset:>7}{o.closed:>7}"
               f"{o.timed_out:>6}   {o.in_queue:>8.1f}{o.slowest_ms:>7.0f} ms")  # fmt: skip
    yield ""
    for o in outcomes:
        yield f"  {o.title:<37}{o.why}"


def parse():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--reloads", type=int, default=10, metavar="N", help="of each way (10)")
    parser.add_argument("--clients", type=int, default=96, metavar="N", help="connections at once (96)")
    parser.add_argument("--far-ms", type=float, default=15, metavar="MS",
                        help="how far away the clients are: from SYN to the first byte (15)")  # fmt: skip
    parser.add_argument("--accept-us", type=int, default=2000, metavar="US",
                        help="what an accept costs a thread (2000)")  # fmt: skip
    parser.add_argument("--only", metavar="A,B",
                        help="these ways: " + ", ".join(w.name for w in WAYS))  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument(INSIDE, action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    names = args.only.split(",") if args.only else [w.name for w in WAYS]
    unknown = [n for n in names if n not in {w.name for w in WAYS}]
    if unknown:
        parser.error(f"no such way: {', '.join(unknown)}")
    if not 1 <= args.reloads <= RELOADS_MAX or not 1 <= args.clients <= CLIENTS_MAX:
        parser.error(f"1 to {RELOADS_MAX} reloads, 1 to {CLIENTS_MAX} clients")
    if not 0 <= args.far_ms <= 1000 or not 0 <= args.accept_us <= 100_000:
        parser.error("0 to 1000 ms, 0 to 100000 us")
    args.ways = [w for w in WAYS if w.name in names]
    return args


def main():
    args = parse()
    if not SERVER.exists():
        print(f"reuseport: {SERVER} is not built: tools/build.sh release reuseport_server", file=sys.stderr)
        return 2
    no_namespace = "" if args.inside_namespace else enter_namespace()
    say = (lambda *_: None) if args.json else (lambda text: print(text, flush=True))
    if args.inside_namespace:
        bring_loopback_up()
    say(f"{args.reloads} reloads each way, {args.clients} clients at once, {args.far_ms:g} ms away, "
        f"{args.accept_us} us an accept, Linux {os.uname().release}")  # fmt: skip
    began = time.monotonic()
    outcomes = []
    for way in args.ways:
        skipped = ""
        if args.inside_namespace:
            skipped = set_migrate(way.migrate) if way.migrate or MIGRATE.exists() else ""
        elif way.migrate:
            skipped = f"not permitted here ({no_namespace})"
        if skipped and way.migrate:
            outcomes.append(Outcome(way.name, way.title, way.why, skipped=skipped))
            continue
        try:
            outcomes.append(Run(way, args).measure())
        except CannotMeasure as problem:
            print(f"reuseport: {problem}", file=sys.stderr)
            return 2
        o = outcomes[-1]
        say(f"  {o.title:<37}{o.reloads:>3} reloads, {o.tried:,} connections, {o.lost:,} lost")
    seconds = round(time.monotonic() - began, 1)
    if args.json:
        print(json.dumps({
            "reloads": args.reloads, "clients": args.clients,
            "far_ms": args.far_ms, "accept_us": args.accept_us, "kernel": os.uname().release,
            "namespace": args.inside_namespace, "seconds": seconds,
            "ways": [asdict(o) for o in outcomes],
        }, indent=2))  # fmt: skip
    else:
        for line in table(outcomes):
            print(line)
        print(f"\n{seconds:.0f} s")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(2)
