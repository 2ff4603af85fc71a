"""An independent model of lb/reload/rollback.hpp, to compare a submission with, and the words of its stories.

The model is a function from (limits, state, event) to (state, action): states are tuples that never change,
so that what follows from one can be remembered. It was written from the header alone. Times are milliseconds,
configurations numbers, shares fractions: the model never rounds.
"""
import dataclasses
import functools
from fractions import Fraction
from typing import NamedTuple, Optional

# A sample whose shares are less than this from the limit, and not at it in binary, would judge a submission's
# rounding and not its rule: check scripts must not have one.
TOO_CLOSE = Fraction(1, 10**6)


class Limits(NamedTuple):
    probation_ms: int = 10_000
    requests_min: int = 50
    failure_increase: float = 0.25
    failed_max: int = 32


class Count(NamedTuple):
    requests: int = 0
    failures: int = 0

    def text(self):
        if self.requests and self.failures == self.requests:
            return f"{self.requests}, all failed"
        return f"{self.requests}, {self.failures or 'none'} failed"


class Backend(NamedTuple):
    name: str
    after: Count
    before: Count = Count()
    old: Count = Count()


@dataclasses.dataclass(frozen=True)
class Event:
    """One event. `at_ms` is None while it is a letter of an alphabet."""

    kind: str  # serving, sample, died, rejected, ended, tick
    config: int = 0
    backends: tuple = ()
    reason: str = ""
    applied: bool = False
    at_ms: Optional[int] = None

    def at(self, ms):
        return dataclasses.replace(self, at_ms=ms)

    def json(self):
        fields = {"event": self.kind}
        if self.at_ms is not None:
            fields["at_ms"] = self.at_ms
        if self.kind in ("serving", "sample", "died", "rejected"):
            fields["config"] = self.config
        if self.kind == "sample":
            fields["backends"] = [{"name": b.name, "before": b.before, "old": b.old, "after": b.after}
                                  for b in self.backends]
        if self.kind in ("died", "rejected"):
            fields["reason"] = self.reason
        if self.kind == "ended":
            fields["applied"] = self.applied
        return fields

    def text(self):
        """A line of an operations log."""
        if self.kind == "serving":
            return f"{name(self.config)} serves"
        if self.kind == "died":
            return f"the generation with {name(self.config)} died: {self.reason}"
        if self.kind == "rejected":
            return f"{name(self.config)} was asked for and never served: {self.reason}"
        if self.kind == "ended":
            return f"the roll back has ended, {'applied' if self.applied else 'NOT applied'}"
        if self.kind == "tick":
            return "a probation tick"
        parts = [f"{b.after.requests} requests to {b.name}, {b.after.failures} failed"
                 f" (before: {b.before.text()}; still on old connections: {b.old.text()})"
                 for b in self.backends]
        return f"sample of {name(self.config)}: " + ("; ".join(parts) or "no backends")


def serving(config):
    return Event("serving", config)


def died(config, reason="killed by SIGSEGV"):
    return Event("died", config, reason=reason)


def rejected(config, reason="not valid"):
    return Event("rejected", config, reason=reason)


def ended(applied):
    return Event("ended", applied=applied)


def tick():
    return Event("tick")


def sample(config, *backends):
    return Event("sample", config, backends=backends)


def backend(name, after, before=(0, 0), old=(0, 0)):
    return Backend(name, Count(*after), Count(*before), Count(*old))


def name(config):
    """A, B, C... for 1, 2, 3...; other hashes as they are."""
    return f"configuration {chr(64 + config)}" if 1 <= config <= 26 else f"configuration {config:#x}"


class State(NamedTuple):
    serving: Optional[int] = None
    deadline: Optional[int] = None  # of the probation of what serves
    rolling_back: bool = False
    proven: Optional[int] = None
    failed: tuple = ()  # the newest first


NONE = ("none", None)


@functools.lru_cache(maxsize=4096)
def worse(limits, one):
    """Whether this backend alone makes its configuration worse than before."""

    def share(count):
        if count.requests == 0 or count.requests < limits.requests_min:
            return Fraction(0)
        return Fraction(count.failures, count.requests)

    if one.after.requests < limits.requests_min:
        return False
    above = share(one.after) - max(share(one.before), share(one.old)) - Fraction(limits.failure_increase)
    exact = all(c.requests < limits.requests_min or c.requests & (c.requests - 1) == 0
                for c in (one.after, one.before, one.old))
    assert abs(above) > TOO_CLOSE or exact, one
    return above > 0


def step(limits, state, event):
    """(state afterwards, (action, its configuration))."""
    return _STEPS[event.kind](limits, state, event)


def _with_failed(limits, state, config):
    rest = tuple(c for c in state.failed if c != config)
    return state._replace(failed=((config,) + rest)[:limits.failed_max])


def _serving(limits, state, event):
    again = state.proven is not None and state.proven == event.config
    deadline = None if again else event.at_ms + limits.probation_ms
    return state._replace(serving=event.config, deadline=deadline), NONE


def _on_probation(state, config):
    return state.deadline is not None and state.serving == config


def _sample(limits, state, event):
    if state.rolling_back or state.proven is None or not _on_probation(state, event.config):
        return state, NONE
    if not any(worse(limits, one) for one in event.backends):
        return state, NONE
    state = _with_failed(limits, state, event.config)._replace(deadline=None, rolling_back=True)
    return state, ("roll_back", state.proven)


def _died(limits, state, event):
    if state.serving is None or state.serving != event.config:
        return state, NONE
    if state.deadline is None:
        return state._replace(serving=None), NONE
    state = _with_failed(limits, state, event.config)._replace(serving=None, deadline=None)
    if state.rolling_back or state.proven is None:
        return state, NONE
    return state, ("roll_back", state.proven)


def _rejected(limits, state, event):
    if state.proven is not None and state.proven == event.config:
        return state, NONE
    return _with_failed(limits, state, event.config), NONE


def _ended(_limits, state, _event):
    return state._replace(rolling_back=False), NONE


def _tick(_limits, state, event):
    if state.deadline is None or state.rolling_back or event.at_ms < state.deadline:
        return state, NONE
    config = state.serving
    failed = tuple(c for c in state.failed if c != config)
    return state._replace(deadline=None, proven=config, failed=failed), ("prove", config)


_STEPS = {"serving": _serving, "sample": _sample, "died": _died, "rejected": _rejected, "ended": _ended,
          "tick": _tick}


def seen(state, action, ask):
    """What a runner has to say after an event, in its spelling (harness/labs/rollback_runner.cpp)."""
    what, config = action
    deadline = "never" if state.deadline is None or state.rolling_back else str(state.deadline)
    proven = "-" if state.proven is None else str(state.proven)
    may_try = "".join("0" if c in state.failed else "1" for c in ask)
    return f"{what if config is None else f'{what}:{config}'} {deadline} {proven} {may_try}"


def expected(limits, events, ask):
    """What is to be seen after each event of a script."""
    state, lines = State(), []
    for event in events:
        state, action = step(limits, state, event)
        lines.append(seen(state, action, ask))
    return lines


def expected_all(limits, prefix, alphabet, step_ms, length, ask):
    """What is to be seen after the last event of every sequence of `length` letters that follows the prefix,
    in the runner's order."""
    state = State()
    for event in prefix:
        state, _ = step(limits, state, event)
    states, lines = [state], []
    for timed in places(prefix, alphabet, step_ms, length):
        known, following, lines = {}, [], []
        for state in states:
            if state not in known:
                pairs = [step(limits, state, event) for event in timed]
                known[state] = [s for s, _ in pairs], [seen(s, action, ask) for s, action in pairs]
            after, said = known[state]
            following += after
            lines += said
        states = following
    return lines


def places(prefix, alphabet, step_ms, length):
    """For each place after the prefix the alphabet's letters at the time of this place."""
    begin_ms = prefix[-1].at_ms if prefix else 0
    return [[letter.at(begin_ms + (i + 1) * step_ms) for letter in alphabet] for i in range(length)]
