"""The loads. `moderate` and `blast` are those of the table of peers (requests and clients alike for every
target); `mixed` is moderate and every other kind of traffic besides; `quick` is a small mixed one for tests.
"""

MODERATE_RATE = 8600  # requests per second of `moderate`, all streams together, about


def _moderate(scale):
    return [
        {"name": "new", "kind": "new", "clients": 16, "rate": round(150 * scale, 3)},
        {"name": "keepalive", "kind": "keepalive", "clients": 64, "think_ms": [0, round(20 / scale, 3)]},
        {"name": "slow_download", "kind": "slow_download", "clients": 4},
    ]


def _others(scale):
    pause = [5 / scale, 40 / scale]
    return [
        {
            "name": "pipelined",
            "kind": "pipelined",
            "clients": 4,
            "think_ms": pause,
            "params": {"depth": [2, 6]},
        },
        # Pauses about as long as the time after which a draining balancer gives up on a quiet connection.
        {"name": "patient", "kind": "keepalive", "clients": 64, "think_ms": [200, 1800]},
        {"name": "race", "kind": "race", "clients": 32},
        {"name": "slow_upload", "kind": "slow_upload", "clients": 4},
        {"name": "slow_reader", "kind": "slow_download", "clients": 2, "params": {"slow_side": "client"}},
        {"name": "slow_chunks", "kind": "slow_upload", "clients": 2, "params": {"chunked_request": True}},
        {"name": "chunked", "kind": "chunked", "clients": 4, "think_ms": pause},
        {
            "name": "expect",
            "kind": "keepalive",
            "clients": 2,
            "think_ms": pause,
            "params": {"body": [1, 20000], "expect": True},
        },
        {"name": "upgrade", "kind": "upgrade", "clients": 8},
    ]


PROXY_HEADER = "PROXY TCP4 192.0.2.1 198.51.100.1 40000 80\r\n"
# Beginnings of names of streams, and what goes through them, for people.
PROTOCOLS = {"tcp": "TCP mode", "proxied": "PROXY header"}


def _protocols(targets):
    """Load on listeners of other protocols. `targets`: {one of PROTOCOLS: address}."""
    streams = []
    for protocol, params in (("tcp", {"tunneled": True}), ("proxied", {"preface": PROXY_HEADER})):
        if protocol not in targets:
            continue
        common = {"target": targets[protocol]}
        ended = {**params, "lifetime_ms": [200, 1500], "end": "half_close"}
        streams += [
            {"name": f"{protocol}_new", "kind": "new", "clients": 8, "rate": 60, "params": params, **common},
            {"name": f"{protocol}_tunnel", "kind": "upgrade", "clients": 6, "params": ended, **common},
        ]
    if "proxied" in targets:
        keeps = {"target": targets["proxied"], "params": {"preface": PROXY_HEADER}}
        streams.append({"name": "proxied", "kind": "keepalive", "clients": 16, "think_ms": [0, 300], **keeps})
    return streams


def profile(name, rate=None, targets=None):
    """The spec of lb_traffic. `rate`: requests per second, about; None: the profile's own; 0: flat out.
    `targets`: see _protocols; for the profiles with every kind of traffic."""
    if name == "blast" or rate == 0:
        streams = [
            {"name": "new", "kind": "new", "clients": 16},
            {"name": "keepalive", "kind": "keepalive", "clients": 8},
        ]
    elif name == "moderate":
        streams = _moderate((rate or MODERATE_RATE) / MODERATE_RATE)
    elif name == "mixed":
        scale = (rate or MODERATE_RATE) / MODERATE_RATE
        streams = _moderate(scale) + _others(scale)
    elif name == "quick":
        scale = (rate or 3000) / MODERATE_RATE
        streams = _moderate(scale) + _others(1)
        short = {"size": 40000, "bytes_per_s": 60000}
        for stream in streams:
            if stream["kind"] == "slow_download":
                stream["params"] = {**stream.get("params", {}), **short}
            elif stream["kind"] == "slow_upload":
                stream["params"] = {**stream.get("params", {}), "body": 40000, "bytes_per_s": 60000}
            elif stream["kind"] == "upgrade":
                stream["params"] = {"lifetime_ms": [200, 900]}
    else:
        raise ValueError(f"no profile {name!r}")
    if name in ("mixed", "quick") and rate == 0:
        streams += _others(1)
    if name in ("mixed", "quick"):
        streams += _protocols(targets or {})
    timeout_ms = 2000 if name == "quick" else 10000
    return {"streams": streams, "defaults": {"timeout_ms": timeout_ms, "connect_timeout_ms": 5000}}


def frozen_profile():
    """What runs while the serving generation is stopped by a signal: bursts of connections that can only
    queue, and a little of the rest."""
    return {
        "streams": [
            {"name": "halfopen", "kind": "halfopen", "clients": 200, "params": {}},
            {"name": "frozen_new", "kind": "new", "clients": 4, "rate": 50},
            {"name": "frozen_keepalive", "kind": "keepalive", "clients": 16, "think_ms": [0, 20]},
        ],
        "defaults": {"timeout_ms": 15000, "connect_timeout_ms": 15000},
    }


PROFILES = ("moderate", "mixed", "blast", "quick")
