"""Active health checks: who fails them takes no requests, before and after the first one of a generation."""

import threading

from lbharness.wire import fetch, free_port


def quick(**more):
    return {"interval": 0.02, "timeout": 2, "rise": 2, "fall": 2, **more}


class Moody:
    """Answers checks by its mood and requests with its name."""

    def __init__(self, raw_backend, name):
        self.name = name
        self.well = threading.Event()
        self.well.set()
        self.requests = 0
        self.checks = 0
        self.backend = raw_backend(self.handle)

    def handle(self, exchange):
        if exchange.target == "/health":
            self.checks += 1
            return exchange.reply(*((200, (), b"fine") if self.well.is_set() else (503, (), b"ill")))
        self.requests += 1
        return exchange.reply(body=self.name.encode())

    def config(self):
        return self.backend.config(name=self.name)


def served_by(lb, count=12):
    return {fetch(lb.address).body.decode() for _ in range(count)}


def backend_status(lb, name):
    return next(b for b in lb.status()["backends"] if b["name"] == name)


def test_a_backend_that_fails_its_checks_takes_no_requests_until_it_is_well_again(start_lb, raw_backend):
    a, b = Moody(raw_backend, "a"), Moody(raw_backend, "b")
    lb = start_lb(
        backends=[a.config(), b.config()], health_check=quick(path="/health", expect_body="fine")
    )
    assert served_by(lb) == {"a", "b"}
    since = lb.log_position()
    a.well.clear()
    event = lb.wait_event("backend.down", since=since)
    assert (event["backend"], event["reason"]) == ("a", "status 503, expected 200-399")
    assert served_by(lb) == {"b"}
    status = backend_status(lb, "a")
    assert status["standing"] == "down" and status["reason"] == "status 503, expected 200-399"
    assert "down for" in lb.cli("status", "--control", lb.control_path).out
    a.well.set()
    assert lb.wait_event("backend.up", since=since)["backend"] == "a"
    assert served_by(lb) == {"a", "b"}
    assert backend_status(lb, "a")["standing"] == "up"


def test_a_new_generation_knows_who_is_down_before_its_first_request(start_lb, raw_backend):
    a, b = Moody(raw_backend, "a"), Moody(raw_backend, "b")
    b.well.clear()
    plain = {"listen": "127.0.0.1:0", "workers": 2, "backends": [a.config(), b.config()]}
    checked = {**plain, "health_check": quick(path="/health", interval=60)}
    lb = start_lb(plain)
    served_by(lb)
    assert b.requests > 0
    for _ in range(5):
        before = b.requests
        lb.reload_config(checked)
        assert served_by(lb, 30) == {"a"}
        assert b.requests == before, "not one request went to a backend known to be ill"
        lb.reload_config(plain)
        served_by(lb, 2)


def test_when_most_are_down_all_are_used(start_lb, raw_backend):
    a, b = Moody(raw_backend, "a"), Moody(raw_backend, "b")
    a.well.clear()
    b.well.clear()
    lb = start_lb(backends=[a.config(), b.config()], health_check=quick(path="/health"))
    lb.wait_event("backends.panic")
    assert served_by(lb) == {"a", "b"}
    b.well.set()
    lb.wait_event("backends.panic_over")
    assert served_by(lb) == {"b"}


def test_checks_go_on_over_reloads_without_leaving_anything_behind(start_lb, raw_backend):
    a = Moody(raw_backend, "a")
    dead = {"host": "127.0.0.1", "port": free_port(), "name": "dead"}
    lb = start_lb(backends=[a.config(), dead], health_check=quick(type="tcp"))
    for _ in range(6):
        assert lb.reload_cli().code == 0
        assert served_by(lb, 4) == {"a"}
    assert backend_status(lb, "dead")["reason"] == "connection refused"
    assert len(lb.generations()) <= 2, "the old ones have ended, with their checks"


def test_a_faulty_health_check_is_refused(start_lb, raw_backend):
    a = Moody(raw_backend, "a")
    lb = start_lb(backends=[a.config()])
    check = {"path": "x y", "expect_status": "2xx", "send": "PING"}
    lb.write({"listen": "127.0.0.1:0", "backends": [a.config()], "health_check": check})
    answer = lb.reload_cli()
    assert answer.code != 0
    for key in check:
        assert f"/health_check/{key}: " in answer.out + answer.err
    assert served_by(lb) == {"a"}
