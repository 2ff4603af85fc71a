"""The proxies under measurement: one process (with children) each, one worker thread, a plain port and, where
it can, a port with TLS. The peers' configurations are harness/bench/{haproxy.cfg,nginx.conf}."""

import json
import os
import resource
import shutil
import subprocess
from pathlib import Path

from lbharness import paths, wire
from lbharness.errors import CannotMeasure, HarnessError
from lbharness.process import wait_until

from . import procfs

CONFIGURATIONS = Path(__file__).resolve().parents[1] / "bench"
DESCRIPTORS = 65536


def raise_descriptor_limit():
    """Returns how many descriptors each process may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (max(hard, DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, max(wanted, hard)))
            return wanted
        except (ValueError, OSError):
            continue
    return soft


def bench_tool(name):
    return paths.executable(paths.build_dir() / "harness" / "bench" / name)


class Process:
    """A program that ends when its standard input does, or at SIGTERM."""

    def __init__(self, name, argv, *, output=subprocess.DEVNULL, errors=subprocess.DEVNULL):
        self.name = name
        self.popen = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=errors,
            text=True,
        )
        self.pid = self.popen.pid

    def stop(self):
        self.popen.stdin.close()
        self.popen.terminate()
        try:
            self.popen.wait(10)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        if self.popen.stdout:
            self.popen.stdout.close()


class Origin(Process):
    """The backend of all of them."""

    def __init__(self):
        super().__init__("origin", [bench_tool("lb_origin"), "0"], output=subprocess.PIPE)
        self.port = int(self.popen.stdout.readline())


class Proxy(Process):
    """`port` without and `tls_port` with TLS; 0: it has none."""

    def __init__(self, name, argv, port=0, tls_port=0, log=None, **options):
        if log:
            with log.open("w") as errors:
                super().__init__(name, argv, errors=errors, **options)
        else:
            super().__init__(name, argv, **options)
        self.log, self.port, self.tls_port = log, port, tls_port

    def wait_ready(self):
        def answers():
            if self.popen.poll() is not None:
                text = self.log.read_text()[-2000:] if self.log else ""
                raise HarnessError(f"{self.name} ended with status {self.popen.returncode}\n{text}")
            try:
                return wire.fetch(("127.0.0.1", self.port), "/x?size=1").status == 200
            except (OSError, wire.WireError):
                return False

        wait_until(answers, 20, f"{self.name} answers")

    def cpu_ns(self):
        return procfs.cpu_ns(self.pid)

    def anonymous_bytes(self):
        return procfs.anonymous_bytes(self.pid)


def certificate(directory):
    """(certificate, key, both in one file): ECDSA P-256, signed by itself."""
    crt, key, both = (directory / name for name in ("bench.crt", "bench.key", "bench.pem"))
    if not both.exists():
        argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        argv += [
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=bench.test",
            "-addext",
            "subjectAltName=DNS:bench.test",
        ]
        argv += ["-keyout", str(key), "-out", str(crt)]
        subprocess.run(argv, check=True, capture_output=True, timeout=30)
        both.write_text(crt.read_text() + key.read_text())
    return crt, key, both


def lb_config(backend_port, port, workers=1):
    return {
        "listen": f"127.0.0.1:{port}",
        "workers": workers,
        "backends": [{"host": "127.0.0.1", "port": backend_port}],
        "pool": {"max_size": 128},
    }


def lb_tls_config(backend_port, port, tls_port, crt, key):
    """The same with a second listener."""
    tls = {"certificates": [{"cert": str(crt), "key": str(key)}]}
    config = lb_config(backend_port, port)
    config["listen"] = [config["listen"], {"address": f"127.0.0.1:{tls_port}", "tls": tls}]
    return config


class Factory:
    """Starts proxies by name in front of one origin. `notes` says what had to be left out, and why."""

    def __init__(self, directory, origin, descriptors):
        self.directory, self.origin, self.descriptors = directory, origin, descriptors
        self.notes = []
        self._count = 0

    def note(self, text):
        if text not in self.notes:
            self.notes.append(text)

    def start(self, name):
        """A ready proxy; None when it is not installed."""
        self._count += 1
        where = self.directory / f"{name}-{self._count}"
        where.mkdir()
        make = {
            "relay": self._relay,
            "relay-splice": self._relay,
            "lb": self._lb,
            "lb-2-workers": self._lb,
            "haproxy": self._peer,
            "nginx": self._peer,
        }[name]
        proxy = make(name, where)
        if proxy is not None:
            try:
                proxy.wait_ready()
            except BaseException:
                proxy.stop()
                raise
        return proxy

    def _relay(self, name, _where):
        argv = [
            bench_tool("lb_relay"),
            "0",
            self.origin.port,
            *(["splice"] if name == "relay-splice" else []),
        ]
        proxy = Proxy(name, argv, output=subprocess.PIPE)
        proxy.port = int(proxy.popen.stdout.readline())
        return proxy

    def _lb(self, name, where):
        port, tls_port = wire.free_port(), wire.free_port()
        path = where / "lb.json"
        crt, key, _ = certificate(self.directory)
        config = lb_tls_config(self.origin.port, port, tls_port, crt, key)
        if name == "lb-2-workers":
            config, tls_port = lb_config(self.origin.port, port, workers=2), 0
        elif not self._accepts(path, config):  # an older lb, by LB_BIN
            config, tls_port = lb_config(self.origin.port, port), 0
        path.write_text(json.dumps(config, indent=1))
        argv = [paths.lb_binary(), "-c", path, "--control", where / "lb.sock"]
        return Proxy(name, argv, port, tls_port, log=where / "log")

    @staticmethod
    def _accepts(path, config):
        path.write_text(json.dumps(config, indent=1))
        check = subprocess.run(
            [paths.lb_binary(), "check", path], capture_output=True, timeout=20, stdin=subprocess.DEVNULL
        )
        return check.returncode == 0

    def _peer(self, name, where):
        program = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
        if program is None:
            self.note(f"{name} is not installed (apt-get install {name}) and was left out")
            return None
        port, tls_port = wire.free_port(), wire.free_port()
        crt, key, both = certificate(self.directory)
        template = {"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}[name]
        text = (CONFIGURATIONS / template).read_text()
        values = {
            "DIRECTORY": where,
            "PORT": port,
            "TLS_PORT": tls_port,
            "BACKEND_PORT": self.origin.port,
            "CONNECTIONS": min(12_000, self.descriptors - 1000),
            "DESCRIPTORS": self.descriptors,
            "CERTIFICATE": crt,
            "KEY": key,
            "PEM": both,
        }
        for key_name, value in values.items():
            text = text.replace("{{" + key_name + "}}", str(value))
        path = where / template
        path.write_text(text)
        argv = {
            "haproxy": [program, "-f", path],
            "nginx": [program, "-c", path, "-e", where / "nginx.err"],
        }[name]
        return Proxy(name, argv, port, tls_port, log=where / "log")


def versions():
    """name -> version text, of what is installed."""
    found = {"lb": _first_line([paths.lb_binary(), "--version"])}
    for name, option in (("haproxy", "-v"), ("nginx", "-v")):
        program = shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
        if program:
            found[name] = _first_line([program, option])
    found["openssl"] = _first_line(["openssl", "version"])
    return found


def _first_line(argv):
    try:
        done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=10)
    except OSError as error:
        raise CannotMeasure(f"{argv[0]}: {error}") from error
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0] if lines else "?"
