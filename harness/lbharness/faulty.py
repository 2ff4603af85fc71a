"""lb_faulty as a target: the positive controls, balancers that are wrong in one known way."""

import signal

from . import paths
from .plan import COMMON_CHANGES
from .process import JsonChild
from .target import ReloadAnswer, ReloadFailed, Target
from .wire import format_address

CONTROLS = {
    # name: (what is wrong, outcomes of which at least one must be found)
    "none": ("nothing: a correct reload on a shared listener", ()),
    "rebind": (
        "binds afresh with SO_REUSEPORT and closes the old listener",
        ("reset_before_first_byte", "refused"),
    ),
    "close_idle": (
        "closes idle kept-alive connections at the reload",
        ("closed_under_request", "reset_before_first_byte"),
    ),
    "truncate": ("cuts response bodies short in the reload window", ("truncated",)),
    "answer_502": ("answers 502 in the reload window", ("unexpected_status",)),
    "stale_backend": ("goes on using removed backends", ("removed_backend",)),
    "duplicate": ("sends requests to two backends in the window", ("duplicated",)),
    "hang": ("never answers some requests of the window", ("timeout",)),
    "wrong_body": ("flips bytes of response bodies in the window", ("wrong_body",)),
    "kill_tunnel": ("ends tunnels and slow transfers at the reload", ("truncated",)),
    "lose_tunnel": ("loses pieces of tunnels in the window", ("wrong_body",)),
    "repeat_tunnel": ("sends pieces of tunnels twice in the window", ("wrong_body",)),
    "reorder_tunnel": ("sends pieces of tunnels in another order in the window", ("wrong_body",)),
    "lose_event": ("loses server-sent events in the window", ("wrong_body",)),
}


class FaultyServer(Target):
    name = "lb_faulty"
    changes = COMMON_CHANGES
    answers_reloads = True
    promises_removal = True

    def __init__(self, backends, control, directory=None, time_limit_s=600, certificates=None):
        super().__init__(backends, directory)
        self.control, self.time_limit_s = control, time_limit_s
        self.certificates, self.tls = certificates, None
        self.list_path = self.directory / "backends.txt"
        self.generation = 0

    def version(self):
        return f"lb_faulty --control {self.control}: {CONTROLS[self.control][0]}"

    def _write(self, state):
        self.list_path.write_text(
            " ".join(format_address(self.backends[name]) for name, _ in state.backends) + "\n"
        )

    def start(self, state):
        self._write(state)
        self.child = JsonChild(
            "lb_faulty",
            [
                paths.tool("lb_faulty"),
                "--listen",
                "127.0.0.1:0",
                "--backends",
                f"@{self.list_path}",
                "--control",
                self.control,
                "--time-limit",
                str(int(self.time_limit_s)),
                *self._tls_arguments(),
            ],
        )
        ready = self.child.wait_message(lambda m: m.get("event") == "ready", what="ready")
        self.address = ("127.0.0.1", ready["port"])
        self.generation = ready["generation"]
        self.tls = ("127.0.0.1", ready["tls_port"])
        return self

    def _tls_arguments(self):
        if not self.certificates:
            return []
        files = self.certificates
        return ["--tls-listen", "127.0.0.1:0", "--certificate", files.certificate, "--key", files.key]

    def protocol_addresses(self):
        return {"tls": self.tls} if self.certificates else {}

    def wait_ready(self, state, timeout=15.0):
        self.child.check_alive()

    def reload(self, planned):
        self._write(planned.state)
        since = self.child.position("stdout")
        self.child.send_signal(signal.SIGHUP)
        event = self.child.wait_message(
            lambda m: m.get("event") == "reload", since=since, what="the reload"
        )
        if not event["ok"]:
            raise ReloadFailed(f"lb_faulty refused reload {planned.number}: {event.get('error')}")
        self.generation = event["generation"]
        return ReloadAnswer(
            True,
            event["t_request_ns"],
            event["t_answer_ns"],
            f"generation {self.generation}",
            {"label": str(self.generation)},
        )
