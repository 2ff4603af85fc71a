"""What the project asks of itself, as paired ratios; see the issue "a data plane to trust in production"."""

from . import arithmetic
from .workloads import PEERS

KEEPALIVE_TO_RELAY_MAX = 1.10
NEW_TO_PEER_MAX = 0.80
BODY_TO_SPLICE_MAX = 1.10
TLS_TO_PEER_MAX = 1.00
IDLE_BYTES_MAX = 300
TWO_WORKERS_MIN = 1.80


def _goal(workload, text, value, limit, at_most=True):
    reached = None if value is None else (value <= limit if at_most else value >= limit)
    return {
        "workload": workload,
        "text": text,
        "value": value,
        "limit": limit,
        "at_most": at_most,
        "reached": reached,
    }


def _to(results, other, key="us"):
    if other is None or other not in results or "lb" not in results:
        return None
    found = arithmetic.ratio(arithmetic.figures(results["lb"], key), arithmetic.figures(results[other], key))
    return found["median"] if found else None


def _peer_goal(name, results, limit):
    peer = arithmetic.better_peer(results, PEERS, "us")
    return _goal(name, f"CPU per request x {peer or 'the better peer'}", _to(results, peer), limit)


def _two_workers(results, they_fit):
    """Where two workers, load and backend do not all have a processor, throughput says how these were divided
    up. What remains to be seen is whether a request costs more with a second worker beside: a pair with
    processors of their own answers twice as many a second, divided by that."""
    one, two = results.get("lb", []), results["lb-2-workers"]
    if they_fit:
        found = arithmetic.ratio(arithmetic.figures(two, "rate"), arithmetic.figures(one, "rate"))
        text, value = "requests a second x one worker", found and found["median"]
    else:
        found = arithmetic.ratio(arithmetic.figures(one, "us"), arithmetic.figures(two, "us"))
        text, value = "2 x CPU per request of one worker / of two", found and 2 * found["median"]
    return _goal("workers", text, value, TWO_WORKERS_MIN, at_most=False)


def judge(measured, two_workers_fit=True):
    """measured: workload name -> name -> rounds. The goals whose workload was measured, in order.
    two_workers_fit: there is a processor for each worker, the load and the backend."""
    goals = []
    for name, results in measured.items():
        if name == "keepalive":
            goals.append(
                _goal(name, "CPU per request x relay", _to(results, "relay"), KEEPALIVE_TO_RELAY_MAX)
            )
            peer = arithmetic.better_peer(results, PEERS, "rate", larger_is_better=True)
            text = f"requests a second of one worker x {peer or 'the better peer'}"
            goals.append(_goal(name, text, _to(results, peer, "rate"), 1.0, at_most=False))
        elif name == "new":
            goals.append(_peer_goal(name, results, NEW_TO_PEER_MAX))
        elif name == "body-1m":
            to_floor = _to(results, "relay-splice")
            goals.append(_goal(name, "CPU per request x splicing relay", to_floor, BODY_TO_SPLICE_MAX))
        elif name.startswith("tls-"):
            goals.append(_peer_goal(name, results, TLS_TO_PEER_MAX))
        elif name == "idle":
            value = arithmetic.median(arithmetic.figures(results.get("lb", []), "bytes"))
            goals.append(_goal(name, "bytes of memory for an idle connection", value, IDLE_BYTES_MAX))
        elif name == "workers" and "lb-2-workers" in results:
            goals.append(_two_workers(results, two_workers_fit))
    return goals
