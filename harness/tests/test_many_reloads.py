"""Two hundred reloads in a row: descriptors, threads, memory and children end where they began."""

from dataclasses import replace

from lbharness import process
from lbharness.plan import WORKERS, initial_state, make_plan
from lbharness.process import wait_until
from lbharness.wire import Connection, fetch

RELOADS = 200
WARM_UP = 20


def usage(lb):
    pid = lb.current()["pid"]
    return {
        "supervisor fds": process.fd_count(lb.pid),
        "supervisor threads": process.thread_count(lb.pid),
        "generation fds": process.fd_count(pid),
        "generation threads": process.thread_count(pid),
        "children": len(process.descendants(lb.pid)),
    }, {"supervisor": process.rss_kib(lb.pid), "generation": process.rss_kib(pid)}


def settled(lb):
    """After all drains; the same configuration each time it is measured."""
    wait_until(
        lambda: len(process.descendants(lb.pid)) == 1, timeout=20, what="the old generations to be gone"
    )
    assert fetch(lb.address).status == 200
    return usage(lb)


def test_200_reloads_leave_nothing_behind(start_lb, backends, rng):
    from lbharness import Balancer

    pool = tuple(backends.names)
    target = start_lb(backends=backends)
    # Pooled connections are handed on, so how many a generation has depends on the moment.
    lb = Balancer(backends.address, target.directory,
                  base={"timeouts": {"quiet": 0.05}, "pool": {"max_size": 0}})
    lb.child, lb.address = target.child, target.address
    first = initial_state(pool)
    plan = make_plan(first, pool, RELOADS, rng.randrange(1 << 30), bad_every=10, signal_every=5)
    # Shards of a listener are kept while its address is: the widest configuration comes first.
    lb.reload_config(lb.config(replace(first, workers=max(WORKERS))))
    measured = {}
    for planned in plan:
        with Connection(lb.address) as client:
            assert client.request().status == 200
            answer = lb.reload(planned)
            assert client.request().status == 200
        assert answer.applied != bool(planned.bad)
        if planned.number in (WARM_UP, RELOADS):
            lb.reload_config(lb.config(first))
            measured[planned.number] = settled(lb)
    (before, rss_before), (after, rss_after) = measured[WARM_UP], measured[RELOADS]
    # Idle connections to backends move along, so how many there are is chance, and the supervisor may be
    # about to close what an ended generation had; a leak is one a reload.
    for kind in ("generation fds", "supervisor fds"):
        grown = after.pop(kind) - before.pop(kind)
        assert grown < (RELOADS - WARM_UP) / 4, f"{kind}: {grown} more"
    assert after == before
    for who, kib in rss_after.items():
        assert kib < rss_before[who] * 1.1 + 1024, f"{who} grew from {rss_before[who]} to {kib} KiB"
    status = lb.status()
    assert status["pid"] == target.pid and len(status["generations"]) == 1
