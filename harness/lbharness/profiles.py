"""The loads. `moderate` and `blast` are those of the table of peers (requests and clients alike for every
target); `mixed` is moderate and every other kind of traffic besides; `quick` is a small mixed one for tests;
`long-lived` is connections that stay open over as many reloads as there are, and a little of the rest.
"""

from dataclasses import asdict, dataclass

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
PROTOCOLS = {"tcp": "TCP mode", "proxied": "PROXY header", "tls": "TLS"}


@dataclass
class LongLived:
    """How many connections of each long-lived kind."""

    idle: int = 0
    websockets: int = 0
    tcp_tunnels: int = 0
    events: int = 0
    uploads: int = 0

    def descriptors(self):
        """What they need at once in the balancer: two for each but the idle ones."""
        return self.idle + 2 * (self.websockets + self.tcp_tunnels + self.events + self.uploads)


LONG_LIVED = {
    "mixed": LongLived(40, 8, 8, 8, 4),
    "quick": LongLived(20, 4, 4, 4, 2),
    "long-lived": LongLived(1000, 100, 100, 10, 10),
}
# Lives in ms. None: until the run ends. Requests that take long (events, uploads) cannot move to another
# process and keep the old one alive, so they do not last for ever.
_LIVES = {"mixed": [1000, 4000], "quick": [400, 1500], "long-lived": None}
_REQUEST_LIFE = [1000, 3000]


def long_lived(name, wanted):
    """The counts of a profile, those in `wanted` ({field: number or None}) instead where they are given."""
    own = asdict(LONG_LIVED.get(name, LongLived()))
    return LongLived(**{**own, **{key: n for key, n in wanted.items() if n is not None}})


def _long_lived_streams(name, counts, targets):
    life = _LIVES.get(name)
    tunnel = {"lifetime_ms": life} if life else {}
    quick = {"interval_ms": [20, 200], "peer_interval_ms": [20, 200]} if name == "quick" else {}
    idle = [200, 1500] if name == "quick" else [2000, 20000] if counts.idle > 500 else [500, 5000]
    request = life or _REQUEST_LIFE
    streams = [
        {"name": "idle", "kind": "idle", "clients": counts.idle, "think_ms": idle},
        {
            "name": "websocket",
            "kind": "websocket",
            "clients": counts.websockets,
            "params": {**tunnel, **quick},
        },
        {
            "name": "tcp_tunnels",
            "kind": "tcp_tunnel",
            "clients": counts.tcp_tunnels,
            "params": {**tunnel, **quick},
            **({"target": targets["tcp"]} if "tcp" in targets else {}),
        },
        {
            "name": "events",
            "kind": "events",
            "clients": counts.events,
            "params": {**quick, "lifetime_ms": request},
        },
        {
            "name": "long_upload",
            "kind": "long_upload",
            "clients": counts.uploads,
            "params": {"lifetime_ms": request},
        },
    ]
    return [stream for stream in streams if stream["clients"] > 0]


def _tls(target, client, scale):
    """Load over TLS. `client(resume)` is the parameter `tls`. What is open over TLS cannot move to another
    process, so it must end by itself: an announced close for requests, a short life for a WebSocket."""
    full, resumed = {"tls": client(False)}, {"tls": client(True)}
    rate = round(15 * min(scale, 1), 3)
    streams = [
        {"name": "tls_new", "kind": "new", "clients": 4, "rate": rate, "params": full},
        {"name": "tls_resumed", "kind": "new", "clients": 4, "rate": rate, "params": resumed},
        {
            "name": "tls_keepalive",
            "kind": "keepalive",
            "clients": 16,
            "think_ms": [0, 300],
            "params": resumed,
        },
        {"name": "tls_race", "kind": "race", "clients": 16, "params": full},
        {
            "name": "tls_websocket",
            "kind": "websocket",
            "clients": 3,
            "params": {
                **full,
                "lifetime_ms": [200, 1500],
                "interval_ms": [20, 100],
                "peer_interval_ms": [20, 100],
            },
        },
    ]
    return [{**stream, "target": target} for stream in streams]


def _protocols(targets, scale):
    """Load on listeners of other protocols. `targets`: {one of PROTOCOLS: address}."""
    streams = []
    rate = round(60 * min(scale, 1), 3)
    for protocol, params in (("tcp", {"tunneled": True}), ("proxied", {"preface": PROXY_HEADER})):
        if protocol not in targets:
            continue
        common = {"target": targets[protocol]}
        ended = {**params, "lifetime_ms": [200, 1500], "end": "half_close"}
        fresh = {"kind": "new", "clients": 8, "rate": rate, "params": params}
        streams += [
            {"name": f"{protocol}_new", **fresh, **common},
            {"name": f"{protocol}_tunnel", "kind": "upgrade", "clients": 6, "params": ended, **common},
        ]
    if "proxied" in targets:
        keeps = {"target": targets["proxied"], "params": {"preface": PROXY_HEADER}}
        streams.append({"name": "proxied", "kind": "keepalive", "clients": 16, "think_ms": [0, 300], **keeps})
    return streams


def _little(scale):
    return [
        {"name": "new", "kind": "new", "clients": 8, "rate": round(25 * scale, 3)},
        {"name": "keepalive", "kind": "keepalive", "clients": 16, "think_ms": [0, round(100 / scale, 3)]},
    ]


def profile(name, rate=None, targets=None, counts=None, tls_client=None):
    """The spec of lb_traffic. `rate`: requests per second, about; None: the profile's own; 0: flat out.
    `targets`: see _protocols; for the profiles with every kind of traffic. `counts`: a LongLived, or the
    profile's own. `tls_client(resume)`: the parameter `tls`, where a target speaks TLS."""
    targets = targets or {}
    counts = counts or long_lived(name, {})
    scale = (rate or (3000 if name == "quick" else MODERATE_RATE)) / MODERATE_RATE
    if name == "blast" or rate == 0:
        streams = [
            {"name": "new", "kind": "new", "clients": 16},
            {"name": "keepalive", "kind": "keepalive", "clients": 8},
        ]
    elif name == "moderate":
        streams = _moderate(scale)
    elif name == "long-lived":
        streams = _little(scale)
    elif name == "mixed":
        streams = _moderate(scale) + _others(scale)
    elif name == "quick":
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
        streams += _protocols(targets, scale)
        if "tls" in targets and tls_client:
            streams += _tls(targets["tls"], tls_client, scale)
    streams += _long_lived_streams(name, counts, targets)
    timeout_ms = 4000 if name == "quick" else 10000
    return {
        "streams": streams,
        "defaults": {"timeout_ms": timeout_ms, "connect_timeout_ms": 5000},
        # All at once would be a storm of handshakes at the backends that speak TLS.
        "ramp_ms": (600 if name in ("mixed", "quick") else 100)
        + 2 * (counts.idle + counts.websockets + counts.tcp_tunnels) // 10,
    }


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


PROFILES = ("moderate", "mixed", "blast", "quick", "long-lived")
