"""The interface of what is put to the test: start / wait_ready / reload / stop. One subclass a balancer."""

import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from . import wire
from .errors import CannotMeasure, HarnessError


class ReloadFailed(HarnessError):
    """A reload of a good configuration was refused or never took effect."""


@dataclass
class ReloadAnswer:
    applied: bool
    t_request_ns: int
    t_answer_ns: int
    text: str = ""  # what the balancer said
    details: dict = field(default_factory=dict)

    @property
    def duration_ms(self):
        return (self.t_answer_ns - self.t_request_ns) / 1e6


class Target:
    """Owns a directory of its own. `backends`: name -> (host, port), everything that may be configured."""

    name = "?"
    changes = ()  # the kinds of plan.py it can do
    answers_reloads = (
        False  # whether a reload is answered by the balancer itself, or we probe until it shows
    )
    promises_removal = False  # whether the answer means that removed backends get no further request

    def __init__(self, backends, directory=None):
        self.backends = backends
        self._own_directory = directory is None
        self.directory = Path(directory or tempfile.mkdtemp(prefix=f"lb-{self.name}-"))
        self.child = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self, state):
        raise NotImplementedError

    def wait_ready(self, state, timeout=15.0):
        self.child.check_alive()
        try:
            wire.wait_answer(
                self.address,
                timeout,
                lambda r: r.label == state.label_text,
                "/?size=1",
                self.child.check_alive,
            )
        except TimeoutError as error:
            raise HarnessError(f"{self.name} is not ready: {error}\n{self.log_text()}") from error

    def reload(self, planned):
        raise NotImplementedError

    def verify(self, planned, answer):
        """Checks that the reload took effect; a list of what is wrong."""
        return []

    def stop(self):
        if self.child is not None:
            self.child.stop()
            self.child = None
        if self._own_directory:
            shutil.rmtree(self.directory, ignore_errors=True)

    def check_alive(self):
        if self.child is None:
            raise HarnessError(f"{self.name} was not started")
        self.child.check_alive()

    def log_text(self):
        return self.child.log_text() if self.child else ""

    def version(self):
        return ""

    def worker_pids(self):
        """The processes that carry connections now, old ones included; none where it is all one process."""
        return []

    def protocol_addresses(self):
        """{one of profiles.PROTOCOLS: address} of the listeners for other protocols."""
        return {}

    def serving_pids(self):
        """The processes that accept connections now, where freezing them is supported."""
        return []


def find_program(name, package):
    """A packaged program, installed on demand when we may."""
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin:/usr/local/sbin:/usr/local/bin")
    if path:
        return path
    command = f"apt-get install -y --no-install-recommends {package}"
    try:
        result = subprocess.run(
            command.split(),
            capture_output=True,
            text=True,
            timeout=300,
            env={"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotMeasure(f"{name} is not installed and `{command}` failed: {error}") from error
    path = shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")
    if result.returncode != 0 or not path:
        tail = (result.stderr or result.stdout).strip().splitlines()[-3:]
        raise CannotMeasure(f"{name} is not installed; try `{command}` as root\n" + "\n".join(tail))
    return path
