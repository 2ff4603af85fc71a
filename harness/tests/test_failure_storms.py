"""Backends that flap under traffic: nothing is lost that a retry may rightly save."""

import threading

from lbharness.wire import Connection, WireError, fetch, free_port


class Flapping:
    """Refuses, hangs up without an answer or answers, as its mood says."""

    def __init__(self, raw_backend, name):
        self.name = name
        self.mood = "well"
        self.backend = raw_backend(self.handle)

    def handle(self, exchange):
        if self.mood == "hangs up":
            return "close"
        if self.mood == "busy":
            return exchange.reply(503, (), b"busy")
        return exchange.reply(body=self.name.encode())

    def config(self):
        return self.backend.config(name=self.name)


class Traffic:
    """Clients that ask one after the other, over and over, until the block ends or one of them is failed."""

    def __init__(self, address, clients=6):
        self.address = address
        self.stop = threading.Event()
        self.statuses = []
        self.lost = []
        self.threads = [threading.Thread(target=self._run) for _ in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind, _error, _trace):
        self.stop.set()
        for thread in self.threads:
            thread.join()
        if kind is None:
            assert not self.lost, self.lost

    def _run(self):
        while not self.stop.is_set():
            try:
                with Connection(self.address) as client:
                    for _ in range(20):
                        self.statuses.append(client.request().status)
            except (OSError, WireError) as error:
                self.lost.append(error)
                self.stop.set()

    def wait_for(self, count):
        target = len(self.statuses) + count
        while len(self.statuses) < target:
            assert not self.lost, self.lost
            self.stop.wait(0.002)


def test_a_backend_that_hangs_up_now_and_then_costs_no_idempotent_request(start_lb, raw_backend):
    a, b, c = (Flapping(raw_backend, name) for name in "abc")
    lb = start_lb(backends=[x.config() for x in (a, b, c)], outlier_detection={"ejection": 0.1})
    with Traffic(lb.address) as traffic:
        for _ in range(6):
            traffic.wait_for(40)
            a.mood = "hangs up"
            traffic.wait_for(40)
            a.mood = "well"
    assert set(traffic.statuses) == {200}
    assert lb.events("backend.ejected")


def test_a_busy_backend_is_covered_by_the_others_when_asked(start_lb, raw_backend):
    a, b = Flapping(raw_backend, "a"), Flapping(raw_backend, "b")
    lb = start_lb(backends=[a.config(), b.config()], retries={"gateway_errors": True})
    with Traffic(lb.address, clients=4) as traffic:
        for _ in range(4):
            traffic.wait_for(20)
            a.mood = "busy"
            traffic.wait_for(20)
            a.mood = "well"
    assert set(traffic.statuses) == {200}


def test_a_dead_backend_among_others_is_never_seen_by_a_client(start_lb, raw_backend):
    a = Flapping(raw_backend, "a")
    dead = {"host": "127.0.0.1", "port": free_port(), "name": "dead"}
    lb = start_lb(backends=[a.config(), dead])
    statuses = {fetch(lb.address, method="POST", body=b"x").status for _ in range(20)}
    assert statuses == {200}, "nothing was sent to the dead one, so any method may go on"


def test_when_nobody_is_well_the_budget_bounds_what_is_tried(start_lb, raw_backend):
    a, b = Flapping(raw_backend, "a"), Flapping(raw_backend, "b")
    a.mood = b.mood = "hangs up"
    lb = start_lb(
        backends=[a.config(), b.config()], retries={"budget_share": 0.1, "budget_per_second": 0}
    )
    for _ in range(60):
        assert fetch(lb.address).status == 502
    seen = len(a.backend.requests) + len(b.backend.requests)
    assert 60 < seen <= 60 + 60 * 0.1 + 1
