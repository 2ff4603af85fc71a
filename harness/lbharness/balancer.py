"""Balancer: the `lb` of this tree (or any binary with its interface) as a process under test.

Two ways to use it: as a Target that follows a plan of DesiredStates, and directly in tests, where a
configuration is just a dict handed to write() and reload().
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import paths, process, wire
from .errors import CannotMeasure, HarnessError, NotReady
from .plan import LB_CHANGES
from .process import Child, now_ns, parse_json_object
from .target import ReloadAnswer, ReloadFailed, Target

RELOAD_TIMEOUT_S = 40.0
VERIFY_TIMEOUT_S = 15.0  # more than a busy machine stalls


@dataclass
class CliResult:
    code: int
    out: str
    err: str

    def json(self):
        return json.loads(self.out)

    def __str__(self):
        return f"exit status {self.code}\nstdout: {self.out}\nstderr: {self.err}"


def run_cli(*arguments, binary=None, timeout=60.0, cwd=None, stdin=None):
    """Runs `lb ARGUMENTS` to its end."""
    argv = [str(binary or paths.lb_binary()), *[str(a) for a in arguments]]
    result = subprocess.run(argv, capture_output=True, text=True, timeout=timeout, cwd=cwd, input=stdin)
    return CliResult(result.returncode, result.stdout, result.stderr)


# Listeners of a run that speak something else than plain HTTP, by the names of profiles.PROTOCOLS.
PROTOCOL_LISTENERS = {
    "tcp": {"address": "127.0.2.1:0", "mode": "tcp"},
    "proxied": {"address": "127.0.2.2:0", "proxy_protocol": {"from": ["127.0.0.0/8"]}},
    "tls": {"address": "127.0.2.3:0"},  # and its certificate
}


class Balancer(Target):
    """`base`: keys of the configuration that the plan does not touch (or, with keep_shape, an operator's
    whole file, of which only backends and additional listeners change)."""

    name = "lb"
    changes = LB_CHANGES
    answers_reloads = True
    promises_removal = True

    def __init__(
        self,
        backends=None,
        directory=None,
        *,
        binary=None,
        base=None,
        keep_shape=False,
        protocols=(),
        certificates=None,
        tls_backends=(),
        linger_max=30.0,
        seed=1,
        pid_file=True,
        log_format="json",
        arguments=(),
        env=None,
    ):
        super().__init__(backends or {}, directory)
        self.binary = paths.executable(binary) if binary else paths.lb_binary()
        self.base = dict(base or {})
        self.keep_shape = keep_shape
        self.protocols = tuple(p for p in protocols if p != "tls" or certificates)
        self.certificates, self.tls_backends = certificates, frozenset(tls_backends)
        self.linger_max = linger_max
        self.seed, self.log_format = seed, log_format
        self.config_path = self.directory / "lb.json"
        self.pid_path = self.directory / "lb.pid" if pid_file else None
        self.control_path = self.directory / "lb.sock"
        self.arguments, self.env = list(arguments), dict(env or {})
        self.address = None
        self._blocker = None

    # -- configuration ------------------------------------------------------------------------------

    def config(self, state):
        """The configuration for a DesiredState, as a dict."""
        config = dict(self.base)
        if not self.keep_shape:
            config.setdefault("listen", ["127.0.0.1:0"])
            config["algorithm"] = state.algorithm
            config["workers"] = state.workers
            config.setdefault("drain_timeout", self.linger_max)
            config.setdefault("max_connections", 200_000)
        if self.protocols:
            config["listen"] = [*_listen_of(config), *map(self._protocol_listener, self.protocols)]
        if state.extra_listeners:
            config["listen"] = [*_listen_of(config), *(f"{host}:0" for host in state.extra_listeners)]
            config.pop("listen_port", None)
        config["backends"] = [
            {
                **self._backend_extras(name),
                "name": name,
                "host": self.backends[name][0],
                "port": self.backends[name][1],
                "weight": weight,
            }
            for name, weight in state.backends
        ]
        config["response_headers"] = {**config.get("response_headers", {}), "X-Config": state.label_text}
        return config

    def _protocol_listener(self, name):
        listener = PROTOCOL_LISTENERS[name]
        return {**listener, "tls": self.certificates.listener()} if name == "tls" else listener

    def _backend_extras(self, name):
        """What the operator's file says about a backend of this name besides where it is."""
        if name in self.tls_backends:
            return {"tls": self.certificates.backend()}
        for backend in self.base.get("backends", []):
            if isinstance(backend, dict) and backend.get("name") == name:
                return {k: v for k, v in backend.items() if k not in ("name", "host", "port", "weight")}
        return {}

    def write(self, config):
        """Replaces the configuration file, by renaming, as a careful editor does. dict, text or bytes."""
        if isinstance(config, dict):
            config = json.dumps(config, indent=2)
        if isinstance(config, str):
            config = config.encode()
        beside = self.config_path.with_name(self.config_path.name + ".new")
        beside.write_bytes(config)
        os.replace(beside, self.config_path)

    # -- life ---------------------------------------------------------------------------------------

    def argv(self):
        argv = [self.binary, "-c", self.config_path, "--log-format", self.log_format]
        argv += ["--seed", self.seed, "--control", self.control_path]
        if self.pid_path:
            argv += ["--pid-file", self.pid_path]
        return [*argv, *self.arguments]

    def spawn(self):
        self.child = Child("lb", self.argv(), env=self.env)
        return self

    def start(self, state):
        """A DesiredState, or a configuration (dict, text); None: the file as it is."""
        if hasattr(state, "label_text"):
            self.write(self.config(state))
        elif state is not None:
            self.write(state)
        self.spawn()
        self.wait_serving()
        return self

    def wait_serving(self, timeout=20.0):
        """Waits for the event `ready`; sets `address` (of the first listener)."""
        self.wait_event("ready", timeout=timeout)
        listeners = self.listeners()
        if not listeners:
            raise HarnessError(f"lb is ready but names no listener\n{self.log_text()}")
        self.address = listeners[0][1]
        return self

    def wait_ready(self, state, timeout=15.0):
        if self.keep_shape or state is None:
            self.child.check_alive()
            return
        super().wait_ready(state, timeout)

    def stop(self):
        self.unblock()
        if self.child is not None:
            # INT ends it at once; whatever it leaves, its whole session is killed.
            self.child.stop(signal.SIGINT, timeout=3.0)
            self.child = None
        super().stop()

    @property
    def pid(self):
        return self.child.pid

    def send_signal(self, number):
        self.child.send_signal(number)

    def version(self):
        result = run_cli("--version", binary=self.binary, timeout=10)
        return result.out.strip() or result.err.strip()

    # -- the log ------------------------------------------------------------------------------------

    def log_position(self):
        return self.child.position()

    def wait_event(self, *names, since=0, timeout=20.0, wanted=lambda event: True):
        """The first event of one of these names after `since` (see log_position)."""

        def check(line):
            if self.log_format == "text":
                event = next(({"event": n, "message": line} for n in names if f" {n}: " in line), None)
            else:
                event = parse_json_object(line)
            return event if event and event.get("event") in names and wanted(event) else None

        event, at = self.child.wait_line(
            check, since=since, timeout=timeout, what=f"event {' or '.join(names)}"
        )
        event["seen_at_ns"] = at
        return event

    def events(self, name=None, since=0):
        parsed = (parse_json_object(line) for line in self.child.lines(since=since))
        return [e for e in parsed if e and (name is None or e.get("event") == name)]

    # -- the control socket -------------------------------------------------------------------------

    def cli(self, *arguments, **options):
        return run_cli(*arguments, binary=self.binary, **options)

    def status(self):
        result = self.cli("status", "--json", "--control", self.control_path, timeout=20)
        if result.code != 0:
            raise HarnessError(f"lb status failed: {result}\n{self.log_text()}")
        return result.json()

    def listeners(self):
        """[(configured text, address to connect to)], in the order of the configuration."""
        return [
            (entry["endpoint"], wire.parse_address(entry["address"]))
            for entry in self.status()["listeners"]
        ]

    def protocol_addresses(self):
        """{name: address to connect to} of `protocols`."""
        actual = dict(self.listeners())
        return {name: actual[PROTOCOL_LISTENERS[name]["address"]] for name in self.protocols}

    def generations(self):
        return self.status()["generations"]

    def current(self):
        """The status of the serving generation."""
        status = self.status()
        for generation in status["generations"]:
            if generation["generation"] == status["current"]:
                return generation
        raise HarnessError(f"no generation is serving: {status}")

    def serving_pids(self):
        return [self.current()["pid"]]

    def worker_pids(self):
        return process.children_of(self.child.pid)

    def reload_cli(self, *more, timeout=RELOAD_TIMEOUT_S):
        """`lb reload`, waited for."""
        return self.cli(
            "reload",
            "--control",
            self.control_path,
            "--timeout",
            f"{timeout:g}",
            *more,
            timeout=timeout + 10,
        )

    def reload_config(self, config):
        """Writes a configuration and reloads it; raises when it is refused."""
        self.write(config)
        result = self.reload_cli()
        if result.code != 0:
            raise ReloadFailed(f"reload refused: {result}\n{self.log_text()}")
        return result

    # -- reloads of a plan --------------------------------------------------------------------------

    def reload(self, planned):
        if planned.bad:
            self._write_bad(planned)
        else:
            self.write(self.config(planned.state))
        try:
            answer = self._by_signal() if planned.by_signal else self._by_cli()
        finally:
            if planned.bad:
                self.unblock()
                self.write(self.config(planned.state))
        if answer.applied == bool(planned.bad):
            what = "was applied although it is bad" if planned.bad else "was refused"
            raise ReloadFailed(
                f"reload {planned.number} ({planned.text}) {what}: {answer.text}\n{self.log_text()}"
            )
        return answer

    def _by_cli(self):
        began = now_ns()
        result = self.reload_cli("--json")
        ended = now_ns()
        self.child.check_alive()
        if result.code not in (0, 1):
            raise ReloadFailed(f"lb reload: {result}\n{self.log_text()}")
        details = parse_json_object(result.out.strip().splitlines()[-1]) if result.out.strip() else {}
        return ReloadAnswer(
            result.code == 0, began, ended, (result.out + result.err).strip(), details or {}
        )

    def _by_signal(self):
        since = self.log_position()
        began = now_ns()
        self.child.send_signal(signal.SIGHUP)
        try:
            event = self.wait_event(
                "reload.applied", "reload.rejected", since=since, timeout=RELOAD_TIMEOUT_S
            )
        except NotReady as error:
            raise ReloadFailed(f"SIGHUP was not answered in the log: {error}") from error
        return ReloadAnswer(
            event["event"] == "reload.applied", began, event["seen_at_ns"], event.get("message", ""), event
        )

    def _write_bad(self, planned):
        config = self.config(planned.state)
        kind = planned.bad
        if kind == "missing_file":
            self.config_path.unlink()
            return
        if kind == "syntax":
            self.write(json.dumps(config, indent=2)[:-3])
            return
        if kind == "unknown_key":
            config["algoritm"] = "round_robin"
        elif kind == "no_backends":
            config["backends"] = []
        elif kind == "bad_weight":
            config["backends"][0]["weight"] = -1
        elif kind == "bad_port":
            config["backends"][0]["port"] = 65536
        elif kind == "duplicate_name":
            config["backends"].append(dict(config["backends"][0]))
        elif kind == "address_in_use":
            # Only the new generation can find this out; it must give up and nobody notice.
            self._blocker = socket.socket()
            self._blocker.bind(("127.0.0.9", 0))
            self._blocker.listen(1)
            host, port = self._blocker.getsockname()
            config["listen"] = [*_listen_of(config), f"{host}:{port}"]
            config.pop("listen_port", None)
        else:
            raise ValueError(kind)
        self.write(config)

    def unblock(self):
        if self._blocker is not None:
            self._blocker.close()
            self._blocker = None

    def verify(self, planned, answer):
        """Compares what `lb status` says, what new connections see and which ports answer with the plan."""
        wrong = []
        status = self.status()
        serving = [g for g in status["generations"] if g["generation"] == status["current"]]
        if len(serving) != 1:
            return [f"{len(serving)} generations are serving: {status['generations']}"]
        for key in () if planned.bad else ("generation", "config"):
            if answer.details.get(key) != serving[0][key]:
                wrong.append(f"{key}: the answer says {answer.details.get(key)}, status {serving[0][key]}")
        want = planned.state.label_text
        others = {PROTOCOL_LISTENERS[name]["address"] for name in self.protocols}  # the load looks at these
        addresses = [
            (entry["endpoint"], wire.parse_address(entry["address"]))
            for entry in status["listeners"]
            if entry["endpoint"] not in others
        ]
        extra = {text: address for text, address in addresses if address != self.address}
        for where, address in [("the main address", self.address), *extra.items()]:
            try:
                response = wire.fetch(address, "/?size=1", timeout=VERIFY_TIMEOUT_S)
                if response.label != want:
                    wrong.append(f"{where} answers with X-Config {response.label} instead of {want}")
            except (OSError, wire.WireError) as error:
                wrong.append(f"{where} does not answer: {error}")
        if not self.keep_shape:
            hosts = {text.rsplit(":", 1)[0] for text in extra}
            if hosts != set(planned.state.extra_listeners):
                wrong.append(
                    f"additional listeners {sorted(hosts)}, wanted {sorted(planned.state.extra_listeners)}"
                )
        return wrong


def _listen_of(config):
    listen = config.get("listen")
    if isinstance(listen, str):
        return [listen]
    if listen:
        return list(listen)
    return [f"0.0.0.0:{config['listen_port']}"] if "listen_port" in config else ["127.0.0.1:0"]


def operator_base(path, directory):
    """An operator's configuration as the base of a run: everything is kept but what would disturb a balancer
    that runs here already (pid file, control socket, access log go to the run's directory) and the rate limit
    (the whole load comes from one machine). Returns (config, notes)."""
    try:
        config = json.loads(Path(path).read_text())
    except (OSError, ValueError) as error:
        raise CannotMeasure(f"{path}: {error}") from error
    if not isinstance(config, dict):
        raise CannotMeasure(f"{path} is not a JSON object")
    notes = []
    if config.pop("rate_limit", None) is not None:
        notes.append("rate_limit left out: the whole load comes from a few addresses of this machine")
    for key in ("pid_file", "admin"):
        if config.pop(key, None) is not None:
            notes.append(f"{key} replaced by one in the run's directory")
    if config.get("access_log"):
        config["access_log"] = str(Path(directory) / "access.log")
        notes.append("access_log redirected to the run's directory")
    for backend in config.get("backends") or []:
        if isinstance(backend, dict) and "name" not in backend:
            backend["name"] = f"{backend.get('host')}:{backend.get('port')}"
    return config, notes


@contextlib.contextmanager
def frozen(pids):
    """Stops processes by SIGSTOP for the time of the block."""
    stopped = []
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)
        for pid in stopped:
            process.wait_until(lambda p=pid: process.process_state(p) == "T", what=f"process {pid} to stop")
        yield
    finally:
        for pid in stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
