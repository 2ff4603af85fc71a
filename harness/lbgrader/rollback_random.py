"""Random histories for the rollback policy: mostly what a supervisor would really send, sometimes what is
late, twice or out of place. The same random numbers give the same history."""
from .rollback_model import State, backend, died, ended, rejected, sample, serving, step, tick

# Powers of two: every share is exact in binary, so that a history can lie exactly at the limit.
TOTALS = (0, 32, 63, 64, 128)
SHARES = (0, 0, 0, 1 / 16, 1 / 4, 5 / 16, 1 / 2, 1)


def long_history(rng, limits, configs, length):
    """`length` events. Follows the model only to know what would be likely next."""
    state, now, events = State(), 0, []
    while len(events) < length:
        event, now = _next(rng, limits, state, now, configs)
        events.append(event.at(now))
        state, _ = step(limits, state, events[-1])
    return events


def _next(rng, limits, state, now, configs):
    later = now + rng.choice([0, 0, 250, 1000, 1000, limits.probation_ms // 2])
    some = rng.choice(configs)
    current = some if state.serving is None or rng.random() < 0.15 else state.serving
    if state.deadline is not None and rng.random() < 0.25:
        return tick(), max(now, state.deadline + rng.choice([-1, 0, 0, 0, 700]))
    if state.rolling_back and rng.random() < 0.3:
        applied = rng.random() < 0.6
        if applied and state.serving != state.proven:
            return serving(state.proven), later
        return ended(applied), later
    kind = rng.choices(("serving", "sample", "died", "rejected", "ended", "tick"), (5, 8, 2, 2, 1, 1))[0]
    if kind == "serving" or state.serving is None and rng.random() < 0.6:
        return serving(some), later
    if kind == "sample":
        return sample(current, *_backends(rng, rng.choice([0, 1, 1, 1, 2, 3]))), later
    if kind == "died":
        return died(current, rng.choice(["killed by SIGSEGV", "exit status 3"])), later
    if kind == "rejected":
        return rejected(some), later
    return (ended(rng.random() < 0.5) if kind == "ended" else tick()), later


def _backends(rng, number):
    def count(totals=TOTALS):
        total = rng.choice(totals)
        # 63 is there for its being too few: what its share would be does not matter
        return total, int(total * rng.choice(SHARES))

    return [backend(f"b{i + 1}", after=count((32, 63, 64, 128, 128)), before=count(), old=count())
            for i in range(number)]
