"""Debian's HAProxy as a target: master-worker, reload by USR2, listeners passed on by the stats socket."""

import resource
import signal
import subprocess

from . import wire
from .errors import ChildDied, HarnessError, NotReady
from .process import Child, catches_signal, now_ns, wait_until
from .plan import COMMON_CHANGES
from .target import ReloadAnswer, ReloadFailed, Target, find_program

_BALANCE = "roundrobin"  # the same for all: the measurement is about reloads, not about choosing
_START_ATTEMPTS = 5


class HaproxyServer(Target):
    """`options`: further lines of the defaults section, e.g. ["option idle-close-on-response"]."""

    name = "haproxy"
    changes = COMMON_CHANGES

    def __init__(self, backends, directory=None, options=(), threads=2):
        super().__init__(backends, directory)
        self.program = find_program("haproxy", "haproxy")
        self.options, self.threads = list(options), threads
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
            "    hard-stop-after 30s",
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
            f"    http-after-response set-header X-Config {state.label_text}",
            "    default_backend servers",
            "backend servers",
            f"    balance {_BALANCE}",
        ]
        for name, weight in state.backends:
            host, port = self.backends[name]
            lines.append(f"    server {name} {host}:{port} weight {weight}")
        return "\n".join(lines) + "\n"

    def start(self, state):
        for attempt in range(_START_ATTEMPTS):
            self.address = ("127.0.0.1", wire.free_port())
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
    return min(10_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] // 2 - 200)


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
