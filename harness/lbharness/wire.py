"""HTTP at the level of bytes, for tests and probes: a client that sends what it is told and reads strictly.

It repairs nothing and retries nothing: what a balancer does wrong is meant to show.
"""

import json
import socket
import time
from dataclasses import dataclass, field

LINE_BYTES_MAX = 1 << 16


class WireError(Exception):
    """The peer broke the protocol or the connection; `received` is what had come until then."""

    def __init__(self, message, received=b""):
        super().__init__(f"{message}; received {len(received)} bytes: {received[:400]!r}")
        self.received = received


@dataclass
class Response:
    version: str
    status: int
    reason: str
    headers: list = field(default_factory=list)  # (name, value) as sent
    body: bytes = b""
    trailers: list = field(default_factory=list)
    interim: list = field(default_factory=list)  # 1xx responses that came before

    def get(self, name, default=None):
        """The value of a header; several of a name joined by ", " (RFC 9110 5.3)."""
        values = self.all(name)
        return ", ".join(values) if values else default

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    @property
    def label(self):
        return self.get("X-Config")

    @property
    def backend(self):
        return self.get("X-Backend")

    @property
    def closes(self):
        return "close" in (self.get("Connection") or "").lower()


class Connection:
    """One client connection. `address` is ("127.0.0.1", 80), ("::1", 80) or the path of a Unix socket."""

    def __init__(self, address, timeout=10.0, source=None, receive_buffer=None):
        if isinstance(address, str):
            self.socket = socket.socket(socket.AF_UNIX)
        else:
            family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            self.socket = socket.socket(family)
            if receive_buffer:
                self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source:
                self.socket.bind((source, 0))
        self.socket.settimeout(timeout)
        self.socket.connect(address)
        if not isinstance(address, str):
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data.encode("latin-1") if isinstance(data, str) else data)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def request(self, method="GET", target="/", headers=(), body=None, version="HTTP/1.1", host="lb.test"):
        """Sends one request (Content-Length is added for a body) and reads its response."""
        self.send(format_request(method, target, headers, body, version, host))
        return self.read_response(method)

    def _receive(self):
        try:
            data = self.socket.recv(65536)
        except TimeoutError as error:
            raise WireError("timeout", self.buffer) from error
        except ConnectionError as error:
            raise WireError(f"connection lost ({error.strerror})", self.buffer) from error
        self.buffer += data
        return bool(data)

    def read_line(self):
        while b"\n" not in self.buffer:
            if len(self.buffer) > LINE_BYTES_MAX:
                raise WireError("a line without end", self.buffer)
            if not self._receive():
                raise WireError("closed within a line" if self.buffer else "closed", self.buffer)
        line, self.buffer = self.buffer.split(b"\n", 1)
        if not line.endswith(b"\r"):
            raise WireError("a line ends without CR", line)
        return line[:-1].decode("latin-1")

    def read_exactly(self, count):
        parts, have = [self.buffer], len(self.buffer)
        while have < count:
            try:
                data = self.socket.recv(min(1 << 20, max(65536, count - have)))
            except TimeoutError as error:
                raise WireError(f"timeout after {have} of {count} bytes", b"".join(parts)[:400]) from error
            except ConnectionError as error:
                raise WireError(
                    f"connection lost after {have} of {count} bytes", b"".join(parts)[:400]
                ) from error
            if not data:
                raise WireError(f"closed after {have} of {count} bytes", b"".join(parts)[:400])
            parts.append(data)
            have += len(data)
        whole = b"".join(parts)
        self.buffer = whole[count:]
        return whole[:count]

    def read_headers(self):
        headers = []
        while True:
            line = self.read_line()
            if not line:
                return headers
            if ":" not in line:
                raise WireError(f"not a header: {line!r}")
            name, value = line.split(":", 1)
            headers.append((name, value.strip()))

    def read_head(self):
        line = self.read_line()
        parts = line.split(" ", 2)
        if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].isdigit():
            raise WireError(f"not a status line: {line!r}")
        response = Response(parts[0], int(parts[1]), parts[2] if len(parts) > 2 else "")
        response.headers = self.read_headers()
        return response

    def read_response(self, method="GET"):
        """The next final response, with its body; 1xx ones before it are kept in `interim`."""
        interim = []
        while True:
            response = self.read_head()
            if 100 <= response.status < 200 and response.status != 101:
                interim.append(response)
                continue
            break
        response.interim = interim
        if method == "HEAD" or response.status in (101, 204, 304):
            return response
        coding = (response.get("Transfer-Encoding") or "").lower()
        length = response.all("Content-Length")
        if coding and length:
            raise WireError("both Transfer-Encoding and Content-Length")
        if coding == "chunked":
            response.body, response.trailers = self.read_chunked()
        elif coding:
            raise WireError(f"an unexpected transfer coding {coding!r}")
        elif length:
            if len(set(length)) != 1 or not length[0].isdigit():
                raise WireError(f"Content-Length {length}")
            response.body = self.read_exactly(int(length[0]))
        else:
            response.body = self.read_to_end()
        return response

    def read_chunked(self):
        parts = []
        while True:
            size = int(self.read_line().split(";")[0], 16)
            if size == 0:
                return b"".join(parts), self.read_headers()
            parts.append(self.read_exactly(size))
            if self.read_exactly(2) != b"\r\n":
                raise WireError("a chunk does not end with CRLF")

    def read_to_end(self):
        parts = [self.buffer]
        self.buffer = b""
        while True:
            try:
                data = self.socket.recv(1 << 18)
            except TimeoutError as error:
                raise WireError("timeout before the end", b"".join(parts)) from error
            except ConnectionError as error:
                raise WireError("connection lost before the end", b"".join(parts)) from error
            if not data:
                return b"".join(parts)
            parts.append(data)

    def closed_by_peer(self, timeout=5.0):
        """Whether the peer ends the connection within `timeout` without sending anything more."""
        if self.buffer:
            return False
        self.socket.settimeout(timeout)
        try:
            return self.socket.recv(1) == b""
        except TimeoutError:
            return False
        except ConnectionError:
            return True

    def quiet(self, seconds):
        """Whether the connection stays open with nothing arriving for `seconds`."""
        if self.buffer:
            return False
        self.socket.settimeout(seconds)
        try:
            self.socket.recv(1, socket.MSG_PEEK)
            return False
        except TimeoutError:
            return True
        except ConnectionError:
            return False


def format_request(method="GET", target="/", headers=(), body=None, version="HTTP/1.1", host="lb.test"):
    lines = [f"{method} {target} {version}"]
    pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
    if host is not None and not any(name.lower() == "host" for name, _ in pairs):
        lines.append(f"Host: {host}")
    lines += [f"{name}: {value}" for name, value in pairs]
    if body is not None and not any(
        name.lower() in ("content-length", "transfer-encoding") for name, _ in pairs
    ):
        lines.append(f"Content-Length: {len(body)}")
    head = "\r\n".join(lines) + "\r\n\r\n"
    return head.encode("latin-1") + (body or b"")


def chunked(*parts, trailers=()):
    out = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in parts if p)
    return out + b"0\r\n" + b"".join(f"{n}: {v}\r\n".encode() for n, v in trailers) + b"\r\n"


def fetch(address, target="/", method="GET", headers=(), body=None, timeout=10.0, **options):
    """One request on a connection of its own."""
    with Connection(address, timeout=timeout) as connection:
        return connection.request(method, target, [*headers, ("Connection", "close")], body, **options)


def can_connect(address, timeout=1.0):
    try:
        Connection(address, timeout=timeout).close()
        return True
    except OSError:
        return False


def free_port(host="127.0.0.1"):
    """A port that was free a moment ago, for programs that cannot be asked to choose one. What they
    bind is checked afterwards; the callers try another one when it was taken meanwhile."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def parse_address(text):
    """The address as Connection takes it. An unspecified host becomes loopback."""
    if text.startswith("unix:"):
        return text[5:]
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
    return host, int(port)


def format_address(address):
    if isinstance(address, str):
        return f"unix:{address}"
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


def wait_answer(address, deadline_s=10.0, wanted=lambda response: True, target="/", check=lambda: None):
    """Probes `address` with one request per connection until a response satisfies `wanted`, and returns it.
    `check` is called before each attempt and may raise, for example because the server died."""
    deadline = time.monotonic() + deadline_s
    last = "no attempt was made"
    while time.monotonic() < deadline:
        check()
        try:
            response = fetch(address, target, timeout=2.0)
            if wanted(response):
                return response
            last = f"last answer {response.status}, X-Config {response.label}"
        except (OSError, WireError) as error:
            last = str(error)
        time.sleep(0.003)
    raise TimeoutError(
        f"{format_address(address)} did not answer as expected within {deadline_s:g} s: {last}"
    )


def json_body(response):
    return json.loads(response.body)
