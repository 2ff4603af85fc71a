"""Debian's nginx as a target: master and workers, reload by HUP."""

import contextlib
import os
import resource
import signal
import subprocess
from pathlib import Path

from . import wire
from .errors import ChildDied, HarnessError
from .haproxy import wait_for_label
from .plan import COMMON_CHANGES
from .process import Child, children_of, command_line, now_ns
from .target import Target, find_program

_START_ATTEMPTS = 5


class NginxServer(Target):
    """`reuseport`: give each worker a listening socket of its own."""

    name = "nginx"
    changes = COMMON_CHANGES

    def __init__(
        self, backends, directory=None, workers=2, reuseport=False, certificates=None, linger_max=30.0
    ):
        super().__init__(backends, directory)
        self.program = find_program("nginx", "nginx-light")
        self.workers, self.reuseport = workers, reuseport
        self.certificates, self.linger_max = certificates, linger_max
        self.stream_module = self._find_stream()
        self.tcp = self.tls = None
        self.config_path = self.directory / "nginx.conf"
        self.address = None

    def version(self):
        result = subprocess.run([self.program, "-v"], capture_output=True, text=True, timeout=10)
        return (result.stderr or result.stdout).strip()

    def _find_stream(self):
        """What to load for TCP mode: "" when it is built in, a path, or None when the package has none."""
        result = subprocess.run([self.program, "-V"], capture_output=True, text=True, timeout=10)
        if "--with-stream " in result.stderr + " ":
            return ""
        for folder in ("/usr/lib/nginx/modules", "/usr/share/nginx/modules"):
            path = Path(folder) / "ngx_stream_module.so"
            if path.is_file():
                return str(path)
        return None

    def notes(self):
        if self.stream_module is None:
            return ["nginx has no stream module, so no TCP tunnels (apt-get install libnginx-mod-stream)"]
        return []

    def protocol_addresses(self):
        found = {} if self.stream_module is None else {"tcp": self.tcp}
        return {**found, **({"tls": self.tls} if self.certificates else {})}

    def worker_pids(self):
        return children_of(self.child.pid)

    def _stream_lines(self, state):
        if self.stream_module is None:
            return []
        servers = [
            f"    server {self.backends[name][0]}:{self.backends[name][1]} weight={weight};"
            for name, weight in state.backends
        ]
        where = wire.format_address(self.tcp)
        return [
            "stream {",
            "  upstream raw_servers {",
            *servers,
            "  }",
            f"  server {{ listen {where} backlog=4096; proxy_pass raw_servers; proxy_timeout 1h; }}",
            "}",
        ]

    def config_text(self, state):
        where = wire.format_address(self.address)
        reuseport = " reuseport" if self.reuseport else ""
        lines = [
            *([f"load_module {self.stream_module};"] if self.stream_module else []),
            *(["user root;"] if os.geteuid() == 0 else []),
            f"worker_shutdown_timeout {int(self.linger_max * 1000)}ms;",
            f"worker_rlimit_nofile {resource.getrlimit(resource.RLIMIT_NOFILE)[1]};",
            "daemon off;",
            f"worker_processes {self.workers};",
            f"pid {self.directory}/nginx.pid;",
            "error_log stderr warn;",
            "events { worker_connections 40000; }",
            "http {",
            "  access_log off;",
            *[
                f"  {kind}_temp_path {self.directory}/{kind};"
                for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
            ],
            "  keepalive_timeout 60s; keepalive_requests 1000000;",
            "  client_max_body_size 0; proxy_request_buffering off; proxy_buffering off;",
            "  proxy_http_version 1.1;",
            "  map $http_upgrade $connection_upgrade { default upgrade; '' ''; }",
            "  upstream servers {",
        ]
        for name, weight in state.backends:
            host, port = self.backends[name]
            lines.append(f"    server {host}:{port} weight={weight};")
        lines += [
            "    keepalive 64;",
            "  }",
            "  server {",
            f"    listen {where} backlog=4096{reuseport};",
            *self._tls_lines(),
            f"    add_header X-Config {state.label_text} always;",
            "    location / {",
            "      proxy_pass http://servers;",
            "      proxy_set_header Connection $connection_upgrade;",
            "      proxy_set_header Upgrade $http_upgrade;",
            "      proxy_set_header Host $host;",
            "      proxy_next_upstream off;",
            "      proxy_read_timeout 1h; proxy_send_timeout 1h;",
            "    }",
            "  }",
            "}",
            *self._stream_lines(state),
        ]
        return "\n".join(lines) + "\n"

    def _tls_lines(self):
        if not self.certificates:
            return []
        return [
            f"    listen {wire.format_address(self.tls)} ssl backlog=4096;",
            f"    ssl_certificate {self.certificates.certificate};",
            f"    ssl_certificate_key {self.certificates.key};",
            "    ssl_session_cache shared:tls:4m;",
        ]

    def start(self, state):
        for attempt in range(_START_ATTEMPTS):
            self.address, self.tcp, self.tls = (("127.0.0.1", wire.free_port()) for _ in range(3))
            self.config_path.write_text(self.config_text(state))
            self.child = Child(
                "nginx", [self.program, "-p", self.directory, "-c", self.config_path, "-e", "stderr"]
            )
            try:
                self.wait_ready(state)
                return self
            except (ChildDied, HarnessError):
                if attempt == _START_ATTEMPTS - 1 or "Address already in use" not in self.log_text():
                    raise
                self.child.stop()
        return self

    def reload(self, planned):
        self.config_path.write_text(self.config_text(planned.state))
        old = self._accepting()
        began = now_ns()
        self.child.send_signal(signal.SIGHUP)
        return wait_for_label(self, planned, began, lambda: not old & self._accepting())

    def _accepting(self):
        """Workers that have not been told to stop: nginx says so in their titles."""
        workers = set()
        for pid in children_of(self.child.pid):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if command_line(pid).startswith("nginx: worker process") and "shutting" not in command_line(
                    pid
                ):
                    workers.add(pid)
        return workers
