"""A running balancer whose new configuration is bad under traffic: for the live check of exercise 10.3."""
import contextlib
import pathlib
import tempfile
import threading

from lbharness import Balancer, HarnessError, RawBackend, wire
from lbharness.errors import NotReady

from .check import CheckFailed, NotImplementedYet

ROLL_BACK_S = 15.0  # for what should take one or two; the second configuration's probation is twice as long
PAUSE_S = 0.005  # between two requests: some hundred requests each second


class Load:
    """One client that sends a request after the other, until the end of the with block."""

    def __init__(self, address):
        self._address, self._over = address, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.statuses = []  # in the order of the requests; 0: no answer

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._over.set()
        self._thread.join()

    def _run(self):
        while not self._over.wait(PAUSE_S):
            try:
                self.statuses.append(wire.fetch(self._address, timeout=5.0).status)
            except (OSError, wire.WireError):
                self.statuses.append(0)


class LiveRollback:
    """A balancer between a backend that is well and one that answers 500."""

    def __init__(self, lab):
        self.lab = lab

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="lb-rollback-"))
            self.well = stack.enter_context(RawBackend())
            self.ill = stack.enter_context(RawBackend(lambda e: e.reply(500, reason="Internal Server Error")))
            self.lb = Balancer(directory=pathlib.Path(folder), binary=self.lab.balancer())
            stack.callback(self.lb.stop)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self._stack.close()

    def config(self, label, backend, probation):
        return {"listen": "127.0.0.1:0", "workers": 1, "backends": [backend.config(name="shop")],
                "reload": {"probation": probation, "requests_min": 20},
                "response_headers": {"X-Config": label}}

    def wait(self, event, since=0, timeout=ROLL_BACK_S):
        """The log's event; None when it does not come. A hole of the policy ends the check."""
        try:
            found = self.lb.wait_event(event, "probation.off", since=since, timeout=timeout)
        except NotReady:
            return None
        if found["event"] == event:
            return found
        message = found.get("message", "")
        if "not implemented" in message:
            raise NotImplementedYet(message)
        raise CheckFailed("a policy that answers", message, self.lb.log_text())

    def expect(self, condition, expected, seen):
        self.lab.expect(condition, expected=expected, seen=seen, log=[self.lb.log_text()])

    def prove_first(self):
        self.lab.step("lb starts with configuration A, probation 1 s; its backend is well")
        self.lb.start(self.config("A", self.well, 1))
        with Load(self.lb.address):
            good = self.wait("config.good")
        self.expect(good, "A proves good after 1 s", f"nothing in {ROLL_BACK_S:g} s")

    def reload_bad_one(self):
        """Returns once the balancer has gone back."""
        self.lab.step("lb reload: configuration B, probation 30 s; its backend answers 500 to every request")
        since = self.lb.log_position()
        with Load(self.lb.address) as load:
            try:
                self.lb.reload_config(self.config("B", self.ill, 30))
            except HarnessError as error:
                raise CheckFailed("B is applied: it is valid", str(error).split("\n", 1)[0],
                                  self.lb.log_text()) from error
            back = self.wait("reload.rolled_back", since)
            failed = load.statuses.count(500)
        self.expect(back, f"the balancer goes back to A: {failed} requests have failed with B, none with A",
                    f"B serves on for {ROLL_BACK_S:g} s")

    def well_again(self):
        self.lab.step("20 more requests")
        answers = [wire.fetch(self.lb.address, timeout=5.0) for _ in range(20)]
        seen = sorted({f"{answer.status} from {answer.label}" for answer in answers})
        self.expect(seen == ["200 from A"], "200 from A", ", ".join(seen))

    def status_says_why(self):
        self.lab.step("lb status --json")
        record = next((r for r in self.lb.status()["reloads"]["history"] if r.get("rollback")), {})
        reason = str(record.get("reason"))
        self.expect(record.get("applied") and "shop" in reason,
                    "a rollback in the history whose reason names the backend, shop", reason)
