"""Backends that fail in every way while reloads go on: a seeded storm, one or two backends at a time.

What must not be lost whatever happens, and what a retry may rightly lose, is decided by lb_ledger
(`--excuse-faults`): a request is excused only when every backend that saw it failed it on purpose, and it may
not be repeated, or some of an answer was sent, or the second try met a fault as well.
"""

import random
import threading
import time

from .errors import HarnessError

# Backends that fail; the others are always well, and always configured.
FAULTY_NAMES = ("b3", "b4", "b5", "b6")

# name: (the script, whether requests may be lost through it at all)
FAULTS = {
    "latency": ({"delay_ms": 150}, False),
    "slow close": ({"close_after": 3, "close_delay_ms": 400}, False),
    "slicing": ({"slice": 100}, False),
    "bandwidth": ({"rate": 60_000}, False),
    "answers before reading": ({"early_response": 1, "read_rate": 200_000}, False),
    "half-close when idle": ({"drop_idle_after": 1}, False),
    "closes idle ones soon": ({"idle_close_ms": 5}, False),
    "refuses": ({"mode": "refuse"}, False),
    "reset at accept": ({"mode": "reset", "at": "accept", "every": 2}, False),
    "reset at request": ({"mode": "reset", "at": "request", "every": 3}, True),
    "reset in the head": ({"mode": "reset", "at": "head", "every": 3}, True),
    "reset in the body": ({"mode": "reset", "at": "mid", "every": 3}, True),
    "half-close before the answer": ({"mode": "close", "every": 3}, True),
    "cut short": ({"mode": "truncate", "every": 3}, True),
    "garbage": ({"mode": "garbage", "every": 3}, True),
    "error status": ({"mode": "status", "status": 503, "every": 3}, True),
    "never answers": ({"mode": "hang", "every": 10}, True),
}
# After a connection that broke unseen the one further try must find a backend that is well.
_ALONE = ("reset at accept", "half-close when idle", "closes idle ones soon", "refuses", "flapping")
_STEP_S = (0.3, 0.9)
_FLAP_S = 0.1
_AT_ONCE = 2
_TICK_S = 0.02


class FaultStorm:
    """Runs in a thread of its own between start() and calm(). A test may call step() itself instead."""

    # What lb is told for such a run: enough tries and budget for each request that may be tried again, and an
    # end to waiting for backends that never answer.
    CONFIG = {
        "retries": {"attempts": 4, "budget_share": 1, "budget_per_second": 10_000},
        "timeouts": {"response": 5, "connect": 2},
    }

    def __init__(self, backends, seed, names=FAULTY_NAMES):
        self._backends, self._names = backends, names
        self._random = random.Random(f"faults {seed}")
        self._round, self._active, self._flapping = [], set(), None
        self._next = 0.0
        self._next_flap = 0.0
        self.counts = dict.fromkeys([*FAULTS, "flapping"], 0)
        self._over, self._thread, self._error = threading.Event(), None, None

    @staticmethod
    def adapt(spec):
        """Clients wait longer than the balancer does, so that it is the balancer that gives up."""
        spec["defaults"]["timeout_ms"] = 15_000

    def start(self):
        self._thread = threading.Thread(target=self._blow, daemon=True)
        self._thread.start()

    def _blow(self):
        try:
            while not self._over.wait(_TICK_S):
                self.step()
        except HarnessError as error:
            self._error = error

    def step(self):
        now = time.monotonic()
        if self._flapping and now >= self._next_flap:
            name, down = self._flapping
            self._flapping = (name, not down)
            self._backends.script(name, **({} if down else {"mode": "refuse"}))
            self._next_flap = now + _FLAP_S
        if now < self._next:
            return
        self._next = now + self._random.uniform(*_STEP_S)
        self._calm_all()
        for name in self._random.sample(self._names, _AT_ONCE):
            # In shuffled rounds, so that each fault comes as early and as often as the others.
            self._round = self._round or self._random.sample(list(self.counts), len(self.counts))
            if self._active and self._round[-1] in _ALONE:
                break
            fault = self._round.pop()
            self.counts[fault] += 1
            self._active.add(name)
            alone = fault in _ALONE
            if fault == "flapping":
                self._flapping, self._next_flap = (name, False), now
            else:
                self._backends.script(name, **FAULTS[fault][0])
            if alone:
                break

    def _calm_all(self):
        self._flapping = None
        for name in self._active:
            self._backends.script(name)
        self._active.clear()

    def stop(self):
        """No further fault; what is being committed stays."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def calm(self):
        """All backends are well from now on. Raises what went wrong meanwhile."""
        self.stop()
        if self._error is not None:
            raise self._error
        self._calm_all()

    def text(self):
        return ", ".join(f"{name} x{n}" for name, n in self.counts.items() if n)
