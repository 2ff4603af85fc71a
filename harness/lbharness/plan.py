"""What each reload of a run changes: a seeded plan, pure, the same for every balancer.

A DesiredState is what the configuration should say after a reload; targets translate it into their own
language. Every reload changes something real, so that it can be verified that it took effect.
"""

import random
from dataclasses import dataclass, replace

BACKENDS_MIN = 2
WORKERS = (1, 2, 4)
ALGORITHMS = ("round_robin", "weighted_round_robin", "least_connections", "random", "ip_hash")
EXTRA_LISTENERS_MAX = 2

# Kinds of changes, and what of them a target can do at all.
COMMON_CHANGES = ("add_backend", "remove_backend", "reweight")
LB_CHANGES = (*COMMON_CHANGES, "add_port", "remove_port", "algorithm", "workers")

_OPPOSITE = {"add_backend": "remove_backend", "add_port": "remove_port"}
_OPPOSITE |= {b: a for a, b in _OPPOSITE.items()}

# Ways in which a configuration can be bad. The texts are in balancer.py, beside the good ones.
BAD_KINDS = (
    "syntax",
    "unknown_key",
    "no_backends",
    "bad_weight",
    "bad_port",
    "address_in_use",
    "missing_file",
    "duplicate_name",
)


@dataclass(frozen=True)
class DesiredState:
    label: int  # of the generation: X-Config: g<label>
    backends: tuple  # ((name, weight), ...) in order
    algorithm: str = "round_robin"
    workers: int = 2
    extra_listeners: tuple = ()  # loopback hosts ("127.0.0.2", ...): each listens on a port of its own

    @property
    def label_text(self):
        return f"g{self.label}"

    @property
    def names(self):
        return {name for name, _ in self.backends}


@dataclass(frozen=True)
class PlannedReload:
    number: int  # 1-based
    state: DesiredState  # in force afterwards; for a bad reload the one that stays
    changes: tuple = ()  # ("add_backend b3", "workers 2 -> 4", ...)
    bad: str = ""  # one of BAD_KINDS: must be rejected
    by_signal: bool = False  # SIGHUP and the log instead of `lb reload`

    @property
    def text(self):
        return f"bad: {self.bad}" if self.bad else ", ".join(self.changes)


def initial_state(pool, workers=2):
    """The first three of the pool, the first with more weight."""
    names = pool[: max(BACKENDS_MIN, min(3, len(pool) - 1))]
    return DesiredState(
        0, tuple((name, 3 if i == 0 else 1) for i, name in enumerate(names)), workers=workers
    )


def make_plan(
    first, pool, reloads, seed, *, changes=LB_CHANGES, bad_every=0, signal_every=4, bad_until=None, keep=()
):
    """`reloads` reloads from `first` on. `pool`: names of all backends that exist. Kinds of changes come in
    shuffled rounds, so that each occurs as early and as often as the others. Reloads after number `bad_until`
    are all good. Backends in `keep` are never removed."""
    rng = random.Random(f"plan {seed}")
    state, round_, plan = first, [], []
    bad_round = []
    good = 0
    for number in range(1, reloads + 1):
        if bad_every and number % bad_every == 0 and number <= (bad_until or reloads):
            bad_round = bad_round or rng.sample(BAD_KINDS, len(BAD_KINDS))
            plan.append(
                PlannedReload(
                    number,
                    state,
                    (),
                    bad_round.pop(),
                    by_signal=bool(signal_every) and rng.randrange(signal_every) == 0,
                )
            )
            continue
        good += 1
        done, kinds = [], set()
        wanted = 1 + (rng.random() < 0.35)
        for _ in range(4 * len(changes)):
            if len(done) == wanted:
                break
            round_ = round_ or rng.sample(changes, len(changes))
            kind = round_.pop()
            if kind in kinds or _OPPOSITE.get(kind) in kinds:
                continue  # two changes must not cancel each other
            changed, text = _apply(kind, state, pool, rng, keep)
            if text:
                state = changed
                done.append(text)
                kinds.add(kind)
        state = replace(state, label=number)
        plan.append(
            PlannedReload(
                number,
                state,
                tuple(done) or ("label only",),
                by_signal=bool(signal_every) and good % signal_every == 0,
            )
        )
    return plan


def _apply(kind, state, pool, rng, keep=()):
    """(state, text); the text is empty where the change is not possible now."""
    if kind == "add_backend":
        absent = [name for name in pool if name not in state.names]
        if not absent:
            return state, ""
        name, weight = rng.choice(absent), rng.randint(1, 4)
        place = rng.randint(0, len(state.backends))
        backends = (*state.backends[:place], (name, weight), *state.backends[place:])
        return replace(state, backends=backends), f"add {name} weight {weight}"
    if kind == "remove_backend":
        removable = [b for b in state.backends if b[0] not in keep]
        if len(state.backends) <= BACKENDS_MIN or not removable:
            return state, ""
        gone = rng.choice(removable)[0]
        return replace(state, backends=tuple(b for b in state.backends if b[0] != gone)), f"remove {gone}"
    if kind == "reweight":
        place = rng.randrange(len(state.backends))
        name, old = state.backends[place]
        new = rng.choice([w for w in (1, 2, 3, 5, 8) if w != old])
        backends = (*state.backends[:place], (name, new), *state.backends[place + 1 :])
        return replace(state, backends=backends), f"weight of {name} {old} -> {new}"
    if kind == "add_port":
        if len(state.extra_listeners) >= EXTRA_LISTENERS_MAX:
            return state, ""
        host = next(h for h in (f"127.0.0.{i}" for i in range(2, 10)) if h not in state.extra_listeners)
        return replace(state, extra_listeners=(*state.extra_listeners, host)), f"listen on {host} too"
    if kind == "remove_port":
        if not state.extra_listeners:
            return state, ""
        host = rng.choice(state.extra_listeners)
        rest = tuple(h for h in state.extra_listeners if h != host)
        return replace(state, extra_listeners=rest), f"stop listening on {host}"
    if kind == "algorithm":
        new = rng.choice([a for a in ALGORITHMS if a != state.algorithm])
        return replace(state, algorithm=new), f"algorithm {new}"
    if kind == "workers":
        new = rng.choice([w for w in WORKERS if w != state.workers])
        return replace(state, workers=new), f"workers {state.workers} -> {new}"
    raise ValueError(kind)
