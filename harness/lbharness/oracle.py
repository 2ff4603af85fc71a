"""Node's HTTP parser (llhttp) as an oracle for ours.

Each case, the bytes of one client connection, is read by three: by our parser as a program (lb_reader), by a
Node server that is sent the very same bytes, and by one behind the balancer. What must hold:

  direct    wherever both read a request, it is the same one; Node reads none behind a point where we read
            none without having refused there, and none is missing that we read unless Node refused something
  through   the Node server behind the balancer reads exactly those requests that our reader says are passed
            on: none more, none other, and none fewer unless Node refused one
  answers   the client gets one final answer a request, and one for a refusal

Every case has a loopback address of its own, and the balancer writes it behind what X-Forwarded-For holds:
a request that was smuggled is filed under the case that did it, or under none, which is worse and seen too.
"""

import concurrent.futures
import json
import random
import shutil
import socket
import subprocess
from dataclasses import dataclass, field

from . import paths, wire
from .balancer import Balancer
from .errors import CannotMeasure
from .oracle_cases import Generator
from .process import JsonChild

BATCH = 250
CONNECTIONS_AT_ONCE = 8
PATIENCE_S = 10.0


@dataclass
class Disagreement:
    rule: str
    what: str
    data: bytes

    def __str__(self):
        return f"{self.rule}: {self.what}\n  {self.data!r}"


@dataclass
class Result:
    seed: int
    cases: int = 0
    requests_read: int = 0  # by our parser
    requests_passed: int = 0  # on to the backend
    refused_by_us: int = 0
    refused_by_node: int = 0  # of what we passed on: it is stricter there, which harms nobody
    comparisons: int = 0
    disagreements: list = field(default_factory=list)

    def __str__(self):
        return (
            f"{self.cases} cases (seed {self.seed}), {self.comparisons} comparisons: "
            f"{self.requests_read} requests read, {self.requests_passed} passed on, "
            f"{self.refused_by_us} cases refused, {self.refused_by_node} refused by Node after us, "
            f"{len(self.disagreements)} disagreements"
        )


def node_program():
    """Node's program, or None."""
    return shutil.which("node") or shutil.which("nodejs")


class Reader:
    """lb_reader: what the balancer's parser makes of bytes."""

    def __init__(self):
        path = paths.build_dir() / "harness" / "oracle" / "lb_reader"
        self.process = subprocess.Popen(
            [paths.executable(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def read(self, data):
        self.process.stdin.write(b"%d\n" % len(data) + data)
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def stop(self):
        self.process.stdin.close()
        self.process.wait(5)
        self.process.stdout.close()


class Oracle:
    def __init__(self, directory, seed):
        node = node_program()
        if node is None:
            raise CannotMeasure("Node is not installed (apt-get install nodejs): nothing to compare with")
        self.node = JsonChild("node", [node, paths.ROOT / "harness" / "oracle" / "backend.js"])
        self.ports = self.node.wait_message(lambda m: m.get("event") == "ready", what="ready")
        self.reader = Reader()
        self.lb = Balancer(directory=directory, seed=seed % 2**31)
        backend = {"host": "127.0.0.1", "port": self.ports["proxied"]}
        self.lb.start({"listen": "127.0.0.1:0", "workers": 1, "backends": [backend]})
        self.generator = Generator(random.Random(seed))
        self.rng = random.Random(seed + 1)
        self.result = Result(seed)
        self.pool = concurrent.futures.ThreadPoolExecutor(CONNECTIONS_AT_ONCE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.pool.shutdown()
        self.lb.stop()
        self.reader.stop()
        self.node.stop()

    def run(self, cases):
        while cases > 0:
            count = min(cases, BATCH)
            self.batch([self.generator.case() for _ in range(count)])
            cases -= count
        return self.result

    def batch(self, cases):
        readings = [self.reader.read(data) for data in cases]
        sources = [f"127.{100 + i // 62500}.{i // 250 % 250}.{i % 250 + 1}" for i in range(len(cases))]
        cuts = [
            sorted(self.rng.randrange(len(d) + 1) for _ in range(self.rng.choice((0, 0, 1, 3))))
            for d in cases
        ]
        direct_address = ("127.0.0.1", self.ports["direct"])
        through = list(self.pool.map(converse, [self.lb.address] * len(cases), sources, cases, cuts))
        list(self.pool.map(converse, [direct_address] * len(cases), sources, cases, cuts))
        seen = wire.fetch(("127.0.0.1", self.ports["control"]))
        seen = json.loads(seen.body)
        for data, reading, source, answers in zip(cases, readings, sources, through):
            self.judge(
                data, reading, seen["proxied"].pop(source, None), seen["direct"].pop(source, None), answers
            )
        for source, entry in seen["proxied"].items():
            if entry["requests"] or source != "?":
                self.disagree("through", f"the backend read {entry} from nobody ({source})", b"")

    def disagree(self, rule, what, data):
        self.result.disagreements.append(Disagreement(rule, what, data))

    def judge(self, data, reading, proxied, direct, answers):
        result = self.result
        result.cases += 1
        result.comparisons += 3
        result.requests_read += len(reading["requests"])
        result.refused_by_us += reading["end"] == "refused"
        nobody = {"requests": [], "errors": [], "started": 0}
        self.judge_direct(data, reading, direct or nobody)
        node_refused = self.judge_through(data, reading, proxied or nobody, answers)
        result.refused_by_node += node_refused
        wanted = len(reading["requests"]) + (reading["end"] == "refused")
        if answers != wanted and not (node_refused and answers < wanted):
            self.disagree("answers", f"{answers} final answers, expected {wanted}: {reading}", data)

    def judge_direct(self, data, reading, node):
        ours = [(r["method"], r["target"], r["body"]) for r in reading["requests"]]
        theirs = [(r["method"], r["url"], r["body"]) for r in node["requests"]]
        for request, mine, other in zip(reading["requests"], ours, theirs):
            if request["unread"] and mine[:2] == other[:2]:
                return None  # we answered without reading its content, and closed
            if mine != other:
                return self.disagree("direct", f"we read {mine}, Node read {other}", data)
        # To close and keep-alive at once we close (RFC 9112 9.3), and read nothing behind it; Node may go on.
        closed = reading["end"] == "closed" and reading["requests"][-1]["contradicts"]
        if len(theirs) > len(ours) and reading["end"] != "refused" and not closed:
            self.disagree(
                "direct", f"Node read {theirs[len(ours):]} where we ended with {reading['end']}", data
            )
        # Behind a request to switch protocols Node waits for the other protocol.
        switched = any(r["upgrade"] for r in reading["requests"][: len(theirs) + 1])
        if len(theirs) < len(ours) and not node["errors"] and not switched:
            self.disagree("direct", f"Node did not read {ours[len(theirs):]}, and refused nothing", data)

    def judge_through(self, data, reading, node, answers):
        """Whether Node refused something that was passed on."""
        wanted = [
            (r["method"], r["path"], r["host"] or "localhost", r["body"])
            for r in reading["requests"]
            if r["forwarded"]
        ]
        seen = [(r["method"], r["url"], r["host"], r["body"]) for r in node["requests"]]
        self.result.requests_passed += len(seen)
        refused = len(seen) < len(wanted)
        unread = list(wanted)
        for request in seen:  # in order; what Node refused with 400 is skipped
            while unread and unread[0] != request:
                unread.pop(0)
            if not unread:
                self.disagree("through", f"the backend read {seen}, passed on were {wanted}", data)
                return refused
            unread.pop(0)
        return refused


def converse(address, source, data, cuts):
    """Sends `data` in pieces and nothing more, reads to the end; how many final answers came."""
    received = b""
    with socket.socket() as client:
        client.settimeout(PATIENCE_S)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        client.bind((source, 0))
        client.connect(address)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for begin, end in zip([0, *cuts], [*cuts, len(data)]):
                client.sendall(data[begin:end])
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused early
        try:
            while piece := client.recv(65536):
                received += piece
        except ConnectionError:
            pass
        except TimeoutError:
            return -1
    return count_answers(received)


def count_answers(received):
    """Final answers in the bytes that the balancer sent, which are well-formed. -1: they are not."""
    count = 0
    while received:
        head, end, received = received.partition(b"\r\n\r\n")
        lines = head.split(b"\r\n")
        if not end or not lines[0].startswith(b"HTTP/1.1 "):
            return -1
        status = int(lines[0][9:12])
        if status < 200:
            continue
        count += 1
        fields = dict(line.lower().split(b": ", 1) for line in lines[1:] if b": " in line)
        # An answer to HEAD has a length and no content: the next one begins where that would be.
        length = int(fields.get(b"content-length", b"0"))
        if not received.startswith(b"HTTP/1.1 ") or length == 0:
            received = received[length:]
    return count
