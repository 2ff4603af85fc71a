"""A made-up result of a run, in the shape that lb_ledger and run.py give it: for tests of table and report,
which must work without a balancer. Everything is seeded."""

import random

KINDS = {"new": 60, "keepalive": 40, "slow_download": 6, "upgrade": 14}
OUTCOMES = (
    "ok",
    "refused",
    "connect_timeout",
    "reset_before_first_byte",
    "closed_under_request",
    "truncated",
    "timeout",
    "wrong_body",
    "unexpected_status",
    "malformed",
    "duplicated",
    "removed_backend",
    "lost",
    "unserved",
    "unfinished",
    "local_error",
)


def latency(scale):
    return {
        "n": 1000,
        "mean_us": 400 * scale,
        "p50_us": 310 * scale,
        "p90_us": 700 * scale,
        "p99_us": 1900 * scale,
        "p99_9_us": 4800 * scale,
        "max_us": 9000 * scale,
    }


def both(scale):
    return {"all": latency(1), "inside": latency(scale), "outside": latency(1)}


def result(reloads=12, drops=0, seed=1):
    rng = random.Random(seed)
    duration = reloads + 2.0
    pairs = [_reload(rng, number) for number in range(1, reloads + 1)]
    marks, records = [mark for mark, _ in pairs], [record for _, record in pairs]
    ledger = _ledger(rng, marks, duration, drops, seed)
    attempts = ledger["totals"]["attempts"]
    return {
        "version": 1, "target": "lb", "title": "lb", "verdict": ledger["verdict"],
        "exit_code": ledger["exit_code"],
        "sentence": f"{drops} dropped of {attempts:,}", "options": {"seed": seed, "profile": "mixed"},
        "environment": {"date": "2026-11-23 10:00:00 UTC", "command": "reload_zero_drop.py --seed 1"},
        "notes": [], "problems": [], "log": "", "reloads": records, "kernel_counters": {"ListenDrops": 0},
        "ledger": ledger, "latency": ledger["latency"],
        "latency_by_kind": {kind: data["latency"] for kind, data in ledger["kinds"].items()},
    }


def _reload(rng, number):
    """(mark, record) of one reload; every fifth is a bad one."""
    bad = number % 5 == 0
    at, took = 0.9 + number + rng.random() * 0.1, 20 + 30 * rng.random()
    answered = at + took / 1000
    mark = {
        "index": number - 1, "name": f"reload {number} (change)", "ok": not bad, "label": f"g{number}",
        "removed": [], "added": [], "t_request_s": at, "t_answer_s": answered, "window_end_s": answered + 0.5,
        "answer_ms": took, "attempts_inside": 4100 + number, "drops_inside": 0,
        "first_with_label_ms": took - 1,
        "last_without_label_ms": 900.0,
        "latency": {"new_connection": latency(1.4), "kept_alive": latency(1.1)},
    }
    record = {
        "number": number, "text": "bad: syntax" if bad else f"add b{number} weight 2",
        "bad": "syntax" if bad else "",
        "applied": not bad, "by": "command", "duration_ms": took, "label": f"g{number}", "answer": "",
        "wrong": [],
        "backends_after": ["b1", "b2"], "state": {}, "frozen": False,
    }
    return mark, record


def _drop_some(rng, connections, marks, drops):
    """Puts drops on kept-alive connections; their stories."""
    stories = []
    for i in range(drops):
        connection = rng.choice([c for c in connections if c["kind"] == "keepalive"])
        mark = rng.choice(marks)
        at = mark["t_request_s"] + 0.03 + i * 1e-4
        connection["drops"].append({"t_s": at, "outcome": "closed_under_request"})
        stories.append(_story(connection, mark, at))
        mark["drops_inside"] += 1
    return stories


def _kind(kind, attempts, drops):
    lost = drops if kind == "keepalive" else 0
    return {
        "attempts": attempts, "ok": attempts - lost, "drops": lost, "unserved": 0, "unfinished": 0,
        "local_errors": 0,
        "connections": KINDS[kind], "outcomes": {"closed_under_request": lost} if lost else {},
        "latency": both(1.3),
    }


def _ledger(rng, marks, duration, drops, seed):
    connections = _connections(rng, marks, duration)
    stories = _drop_some(rng, connections, marks, drops)
    attempts = 9000 * int(duration)
    none = ("answered_not_seen", "seen_not_answered", "seen_not_sent", "seen_twice", "retried", "duplicated",
            "request_body_wrong", "backend_disagrees", "status_disagrees")
    return {
        "verdict": "drops" if drops else "zero_drops", "exit_code": 1 if drops else 0, "reasons": [],
        "run": {"t_begin_ns": 0, "t_end_ns": int(duration * 1e9), "duration_s": duration, "seed": seed,
                "target": "x", "reason": "stop"},
        "totals": {"attempts": attempts, "ok": attempts - drops, "drops": drops, "unserved": 0,
                   "unfinished": 0,
                   "local_errors": 0, "connections": 4321, "requests_per_s": 9000.0},
        "drop_rate": {"observed": drops / attempts, "upper_95": (drops + 3) / attempts,
                      "method": "clopper_pearson" if drops else "rule_of_three"},
        "outcomes": dict.fromkeys(OUTCOMES, 0) | {"ok": attempts - drops, "closed_under_request": drops},
        "kinds": {kind: _kind(kind, attempts // 4, drops) for kind in KINDS},
        "latency": {"new_connection": both(1.3), "kept_alive": both(1.3),
                    "p99_ratio": {"new_connection": 1.3, "kept_alive": 1.3}},
        "comparison": {"answered": attempts, "backend_records": attempts, **dict.fromkeys(none, 0)},
        "removed_backend": {"requests": 0, "on_new_connections": 0, "counted": "request", "by_backend": {}},
        "backends": {}, "labels": {}, "marks": marks, "drops": stories, "slowest": [],
        "timeline": {"t0_ns": 0, "bucket_ms": 100, "labels": [f"g{i}" for i in range(len(marks) + 1)],
                     "buckets": _buckets(rng, duration, marks, stories), "connections": connections},
    }


def _connections(rng, marks, duration):
    borders = [0.0, *(m["t_answer_s"] for m in marks if m["ok"]), duration]
    names = ["g0", *(m["label"] for m in marks if m["ok"])]
    out = []
    for kind, count in KINDS.items():
        for i in range(count):
            begin = 0.0 if kind == "keepalive" else rng.random() * duration * 0.9
            length = {
                "new": 0.004,
                "keepalive": duration,
                "slow_download": 2.0,
                "upgrade": rng.uniform(0.5, 3),
            }[kind]
            end = min(duration, begin + length)
            segments = [
                {"t0_s": max(a, begin), "t1_s": min(b, end), "label": names[j], "requests": 5}
                for j, (a, b) in enumerate(zip(borders, borders[1:]))
                if a < end and b > begin
            ]
            if kind in ("upgrade", "slow_download"):
                segments = [{**segments[0], "t1_s": end}]
            out.append(
                {
                    "id": len(out) + 1,
                    "stream": kind,
                    "kind": kind,
                    "t0_s": begin,
                    "t1_s": end,
                    "requests": 10,
                    "segments": segments,
                    "drops": [],
                }
            )
    return out


def _buckets(rng, duration, marks, stories):
    times = [i / 10 for i in range(int(duration * 10))]
    inside = [any(m["t_request_s"] - 0.1 <= t <= m["t_answer_s"] + 0.1 for m in marks) for t in times]
    p50 = [300 + 60 * rng.random() + (90 if i else 0) for i in inside]
    p99 = [1500 + 900 * rng.random() + (2500 * rng.random() if i else 0) for i in inside]
    return {
        "t_s": times,
        "n": [900] * len(times),
        "p50_us": p50,
        "p99_us": p99,
        "max_us": [p * 2.5 for p in p99],
        "new_p99_us": p99,
        "kept_p99_us": p99,
        "drops": [sum(t <= s["t_end_s"] < t + 0.1 for s in stories) for t in times],
    }


def _story(connection, mark, at):
    return {
        "nonce": "00000000deadbeef",
        "stream": "keepalive",
        "kind": "keepalive",
        "outcome": "closed_under_request",
        "detail": "eof",
        "phase": "wait",
        "errno": 0,
        "errno_name": "",
        "status": 0,
        "backend": None,
        "label": "g1",
        "connection": connection["id"],
        "local_port": 40000,
        "request_on_connection": 17,
        "t_due_s": at - 0.001,
        "t_connect_s": 0.0,
        "t_connected_s": 0.0,
        "t_send_s": at - 0.001,
        "t_first_byte_s": None,
        "t_end_s": at,
        "idle_before_us": 8000,
        "bytes": 0,
        "mark": {
            "index": mark["index"],
            "name": mark["name"],
            "after_request_ms": 30.0,
            "after_answer_ms": -5.0,
        },
        "seen_by": [],
        "history": [
            {"t_send_s": at - 0.02, "t_end_s": at - 0.019, "outcome": "ok", "backend": "b1", "label": "g1"}
        ],
        "text": "The server closed the connection 0.4 ms after the request was sent; no backend saw it. "
        "</script><script>alert(1)</script>",
    }
