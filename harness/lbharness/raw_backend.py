"""A backend in Python whose every byte a test decides: for what the native fake backend cannot be told.

handler(exchange) runs in a thread per connection, once for each request read. Slow; for tests of behaviour.
"""

import socket
import ssl
import threading

from .wire import Connection, WireError


class Exchange:
    """One request as it came, and the means to answer it."""

    def __init__(self, connection, method, target, version, headers):
        self.connection = connection
        self.method, self.target, self.version, self.headers = method, target, version, headers

    def get(self, name, default=None):
        values = self.all(name)
        return ", ".join(values) if values else default

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def read_body(self):
        if (self.get("Transfer-Encoding") or "").lower() == "chunked":
            body, self.trailers = self.connection.read_chunked()
            return body
        return self.connection.read_exactly(int(self.get("Content-Length", "0")))

    def send(self, data):
        self.connection.send(data)

    def reply(self, status=200, headers=(), body=b"", reason="OK"):
        lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers]
        self.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)


class RawBackend:
    def __init__(self, handler=lambda exchange: exchange.reply(), host="127.0.0.1", tls=None):
        self.handler = handler
        self.tls = tls  # an ssl.SSLContext for each connection from now on; None: plain text
        self.requests = []  # heads, in order of arrival
        self.connections = 0  # that carried a request: a connectivity test makes one that does not
        self.errors = []
        self._open = []
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, 0))
        self._listener.listen(128)
        self.host, self.port = host, self._listener.getsockname()[1]
        self._stopping = False
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def config(self, **more):
        return {"host": self.host, "port": self.port, **more}

    def stop(self):
        self._stopping = True
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        with self._lock:
            for connection in self._open:
                connection.close()

    def _accept(self):
        while True:
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection.__new__(Connection)
            accepted.settimeout(20)
            accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.socket, connection.buffer = accepted, b""
            with self._lock:
                self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        counted = False
        try:
            if self.tls:
                connection.socket = self.tls.wrap_socket(connection.socket, server_side=True)
        except (OSError, ssl.SSLError):
            return connection.close()
        try:
            while True:
                try:
                    line = connection.read_line()
                except WireError:
                    return
                if not counted:
                    with self._lock:
                        self.connections += 1
                    counted = True
                method, target, version = line.split(" ")
                exchange = Exchange(connection, method, target, version, connection.read_headers())
                with self._lock:
                    self.requests.append(exchange)
                if self.handler(exchange) == "close":
                    return
        except (OSError, WireError, ValueError) as error:
            if not self._stopping:
                self.errors.append(error)
        finally:
            with self._lock:
                if connection in self._open:
                    self._open.remove(connection)
            connection.close()
