"""Debian's HAProxy as a target: master-worker, reload by USR2, listeners passed on by the stats socket."""

import resource
import signal
import subprocess

from . import wire
from .errors import ChildDied, HarnessError, NotReady
from .process import Child, catches_signal, children_of, now_ns, wait_until
from .plan import COMMON_CHANGES
from .target import ReloadAnswer, ReloadFailed, Target, find_program

_BALANCE = "roundrobin"  # the same for all: the measurement is about reloads, not about choosing
_START_ATTEMPTS = 5


class HaproxyServer(Target):
    """`options`: further lines of the defaults section, e.g. ["option idle-close-on-response"]."""

    name = "haproxy"
    changes = COMMON_CHANGES

    def __init__(self, backends, directory=None, options=(), threads=2, certificates=None, linger_max=30.0):
        super().__init__(backends, directory)
        self.program = find_program("haproxy", "haproxy")
        self.options, self.threads = list(options), threads
        self.certificates, self.linger_max = certificates, linger_max
        self.tcp = self.tls = None
        self.config_path = self.directory / "haproxy.cfg"
        self.address = None

    def version(self):
        out = subprocess.run([self.program, "-v"], capture_output=True, text=True, timeout=10).stdout
        return out.splitlines()[0] if out else ""

    def config_text(self, state):
        socket_path = self.directory / "stats.sock"
        lines = [
            "global",
            f"    nbthread {self.threads}",
            f"    stats socket {socket_path} mode 600 level admin expose-fd listeners",
            f"    hard-stop-after {int(self.linger_max * 1000)}ms",
            f"    maxconn {_connections_max()}",
            "defaults",
            "    mode http",
            "    timeout connect 5s",
            "    timeout client 60s",
            "    timeout server 60s",
            "    timeout tunnel 1h",
            "    http-reuse safe",
            *[f"    {option}" for option in self.options],
            "frontend main",
            f"    bind {wire.format_address(self.address)} backlog 4096",
            *(
                [f"    bind {wire.format_address(self.tls)} ssl crt {self.certificates.both} alpn http/1.1"]
                if self.certificates
                else []
            ),
            f"    http-after-response set-header X-Config {state.label_text}",
            "    default_backend servers",
            "frontend raw",
            "    mode tcp",
            f"    bind {wire.format_address(self.tcp)} backlog 4096",
            "    default_backend raw_servers",
            "backend raw_servers",
            "    mode tcp",
            f"    balance {_BALANCE}",
            *self._servers(state),
            "backend servers",
            f"    balance {_BALANCE}",
        ]
        return "\n".join([*lines, *self._servers(state)]) + "\n"

    def _servers(self, state):
        return [
            f"    server {name} {self.backends[name][0]}:{self.backends[name][1]} weight {weight}"
            for name, weight in state.backends
        ]

    def protocol_addresses(self):
        return {"tcp": self.tcp, **({"tls": self.tls} if self.certificates else {})}

    def worker_pids(self):
        return children_of(self.child.pid)

    def start(self, state):
        for attempt in range(_START_ATTEMPTS):
            self.address, self.tcp, self.tls = (("127.0.0.1", wire.free_port()) for _ in range(3))
            self.config_path.write_text(self.config_text(state))
            self.child = Child(
                "haproxy",
                [self.program, "-W", "-f", self.config_path, "-p", self.directory / "haproxy.pid"],
            )
            try:
                self.wait_ready(state)
                return self
            except (ChildDied, HarnessError):
                # The port may have been taken between choosing and binding it.
                if attempt == _START_ATTEMPTS - 1 or "Address already in use" not in self.log_text():
                    raise
                self.child.stop()
        return self

    def reload(self, planned):
        self.config_path.write_text(self.config_text(planned.state))
        # While the master starts, and again after each reload (it executes itself anew), it ignores USR2
        # for a moment; a reload asked for then is silently lost.
        wait_until(
            lambda: catches_signal(self.child.pid, signal.SIGUSR2), what="haproxy to listen to signals"
        )
        since = self.child.position()
        began = now_ns()
        self.child.send_signal(signal.SIGUSR2)
        return wait_for_label(
            self,
            planned,
            began,
            lambda: any("Proxy main stopped" in line for line in self.child.lines(since=since)),
        )


def _connections_max():
    """Each takes two descriptors, and HAProxy refuses to start when it may not have them."""
    return min(40_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 200)


def wait_for_label(target, planned, began, old_has_stopped, timeout=20.0):
    """For one that does not answer: the reload is done when a new connection is served by the new
    configuration and the old processes have stopped accepting."""
    label = planned.state.label_text
    try:
        wire.wait_answer(
            target.address, timeout, lambda r: r.label == label, "/?size=1", target.check_alive
        )
        wait_until(old_has_stopped, timeout, "the old processes to stop accepting")
    except (TimeoutError, NotReady) as error:
        target.check_alive()
        raise ReloadFailed(
            f"reload {planned.number} never took effect: {error}\n{target.log_text()}"
        ) from error
    return ReloadAnswer(True, began, now_ns(), f"{label} seen, old processes accept no more")
