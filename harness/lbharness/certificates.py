"""Certificates for a run, made by openssl in its folder: one authority, one server that is `lb.test`."""

import subprocess
from pathlib import Path

from .errors import CannotMeasure

NAME = "lb.test"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Certificates:
    """`ca`, `certificate`, `key`: PEM files. `both`: certificate and key in one file, as HAProxy wants it."""

    def __init__(self, directory):
        self.directory = Path(directory)
        self.ca, self.certificate, self.key, self.both = (
            self.directory / name for name in ("ca.pem", "server.pem", "server.key", "server.both.pem")
        )
        request, extensions = self.directory / "server.csr", self.directory / "server.ext"
        extensions.write_text(f"subjectAltName=DNS:{NAME}\n")
        authority_key = self.directory / "ca.key"
        _openssl("req", "-x509", *_KEY, "-days", "30", "-subj", "/CN=zero-drop harness CA",
                 "-keyout", authority_key, "-out", self.ca)  # fmt: skip
        _openssl("req", *_KEY, "-subj", f"/CN={NAME}", "-keyout", self.key, "-out", request)
        _openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", authority_key, "-CAcreateserial",
                 "-days", "365", "-extfile", extensions, "-out", self.certificate)  # fmt: skip
        self.both.write_bytes(self.certificate.read_bytes() + self.key.read_bytes())
        for path in (self.key, self.both, authority_key):
            path.chmod(0o600)

    def listener(self):
        """The key `tls` of a listener of lb."""
        return {"certificates": [{"cert": str(self.certificate), "key": str(self.key)}]}

    def backend(self):
        """The key `tls` of a backend of lb."""
        return {"ca": str(self.ca), "server_name": NAME}

    def client(self, resume=False):
        """The parameter `tls` of a stream of lb_traffic."""
        return {"name": NAME, "ca": str(self.ca), "resume": resume}


def _openssl(*arguments):
    argv = ["openssl", *map(str, arguments)]
    try:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotMeasure(f"certificates cannot be made: {error}") from error
    if done.returncode != 0:
        raise CannotMeasure(f"`{' '.join(argv)}` failed: {done.stderr.strip()[-500:]}")
