"""For the tests of RFC 9110 and 9112: one balancer, one backend in Python that answers as the test says."""

from conftest import SEED, basic_config
from lbharness import Balancer, RawBackend
from lbharness.wire import Connection

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
IMF_DATE = r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT"


class Rig:
    """The balancer and what stands behind it; `script` decides about each request."""

    def __init__(self, directory):
        self.script = None
        self.backend = RawBackend(self._handle)
        self.lb = Balancer(directory=directory, seed=SEED % 2**31)
        self.lb.start(basic_config(self.backend, workers=1, response_headers={"X-Served": "lb"}))

    def _handle(self, exchange):
        return self.script(exchange)

    def answers(self, data, then=None):
        """Each request is read as a whole and answered with `data`."""

        def script(exchange):
            exchange.body = exchange.read_body()
            exchange.send(data)
            return then

        self.script = script

    def answers_ok(self):
        self.answers(OK)

    def connect(self):
        return Connection(self.lb.address)

    def exchange(self, request, method="GET"):
        """The response to `request` and the request that the backend saw (or None)."""
        before = len(self.backend.requests)
        with self.connect() as client:
            client.send(request)
            response = client.read_response(method)
        seen = self.backend.requests[before:]
        assert len(seen) <= 1, "one request arrives once"
        return response, (seen[0] if seen else None)

    def stop(self):
        self.lb.stop()
        self.backend.stop()


def request(target="/", method="GET", *fields, version="HTTP/1.1", body=b""):
    lines = [f"{method} {target} {version}", "Host: h.test", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
