"""What is measured: one table. A workload's `floor` is the relay that does the least for it."""

from dataclasses import dataclass

PEERS = ("haproxy", "nginx")


@dataclass(frozen=True)
class Workload:
    name: str  # what the command line calls it
    title: str
    kind: str = "load"  # load: as fast as answers come; latency: at a fixed rate; idle: memory
    connections: int = 64
    body_bytes: int = 128
    close: bool = False  # a connection for each request
    tls: str = "none"  # none, full (a whole handshake each time), resume
    floor: str = "relay"  # "": none does this
    also: tuple = ()  # measured beside lb, the peers and the floor

    @property
    def proxies(self):
        """In the order of tables. The floor comes first."""
        floor = (self.floor,) if self.floor else ()
        return (*floor, *self.also, "lb", *PEERS)


WORKLOADS = (
    Workload("keepalive", "keep-alive, 128 B"),
    Workload("keepalive-10k", "keep-alive, 10 KiB", body_bytes=10 * 1024),
    Workload(
        "body-1m",
        "1 MiB bodies",
        connections=8,
        body_bytes=1024 * 1024,
        floor="relay-splice",
        also=("relay",),
    ),
    Workload("new", "a connection per request, 128 B", close=True),
    Workload("tls-handshake", "TLS, a whole handshake per request", close=True, tls="full", floor=""),
    Workload("tls-resume", "TLS, a resumed session per request", close=True, tls="resume", floor=""),
    Workload("tls-keepalive", "TLS, keep-alive, 128 B", tls="full", floor=""),
    Workload("tls-body-1m", "TLS, 1 MiB bodies", connections=8, body_bytes=1024 * 1024, tls="full", floor=""),
    Workload("latency", "latency at a fixed rate, 128 B", kind="latency"),
    Workload("idle", "idle kept-alive connections", kind="idle", floor=""),
    Workload("workers", "two workers, keep-alive 128 B", floor="", also=("lb-2-workers",)),
)


def choose(names):
    """The workloads of these names; a name that ends in * takes all that begin so. ValueError for others."""
    if not names:
        return list(WORKLOADS)
    chosen = []
    for name in names:
        found = [
            w for w in WORKLOADS if w.name == name or (name.endswith("*") and w.name.startswith(name[:-1]))
        ]
        if not found:
            raise ValueError(f"no workload {name}; there are {', '.join(w.name for w in WORKLOADS)}")
        chosen += [w for w in found if w not in chosen]
    return chosen
