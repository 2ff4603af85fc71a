"""TLS towards clients against the real program, with Python's ssl as the client."""

import json
import os
import signal
import socket
import ssl
import subprocess
import threading
import time

import pytest

from lbharness import process, run_cli
from lbharness.process import wait_until
from lbharness.wire import fetch, free_port


def openssl(*arguments):
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=20)


class Authority:
    """Certificates made for one test session."""

    def __init__(self, folder):
        self.folder = folder
        self.ca = folder / "ca.pem"
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", 30,
                "-subj", "/CN=Test CA", "-keyout", folder / "ca.key", "-out", self.ca)

    def issue(self, name, days=365):
        """{"cert", "key"} for a DNS name; a negative number of days makes it expired."""
        stem = name.replace("*", "any")
        key, request, cert = (self.folder / f"{stem}.{days}.{end}" for end in ("key", "csr", "pem"))
        extensions = self.folder / "extensions"
        extensions.write_text(f"subjectAltName=DNS:{name}")
        openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self.folder / "ca.key",
                "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", cert)
        key.chmod(0o600)
        return {"cert": str(cert), "key": str(key)}


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


def listener(*certificates, **more):
    return {"address": "127.0.0.1:0", "tls": {"certificates": list(certificates), **more}}


def context(authority, version=None):
    made = ssl.create_default_context(cafile=str(authority.ca))
    made.set_alpn_protocols(["http/1.1"])
    if version:
        made.minimum_version = made.maximum_version = version
    return made


class Visit:
    """One request on a connection of its own, and how the handshake went."""

    def __init__(self, lb, made, name, session=None):
        with socket.create_connection(lb.address, timeout=10) as plain:
            with made.wrap_socket(plain, server_hostname=name, session=session) as secured:
                secured.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                self.answer = b""
                while piece := secured.recv(65536):
                    self.answer += piece
                self.alpn = secured.selected_alpn_protocol()
                self.session, self.resumed = secured.session, secured.session_reused


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_names_versions_and_resumption_across_a_reload(start_lb, raw_backend, authority, config_for, version):
    backend = raw_backend()
    names = listener(authority.issue("a.example"), authority.issue("*.b.example"))
    config = config_for(backend, listen=names)
    lb = start_lb(config)
    made = context(authority, version)
    for name in ("a.example", "x.b.example"):
        seen = Visit(lb, made, name)
        assert seen.answer.startswith(b"HTTP/1.1 200") and seen.alpn == "http/1.1"
    with pytest.raises(ssl.SSLCertVerificationError):
        Visit(lb, made, "c.example")
    session = Visit(lb, made, "a.example").session
    lb.reload_config({**config, "drain_timeout": 9})
    again = Visit(lb, made, "a.example", session)
    assert again.answer.startswith(b"HTTP/1.1 200") and again.resumed


def test_bad_files_are_rejected_with_their_place(raw_backend, authority, config_for, tmp_path):
    good, other = authority.issue("a.example"), authority.issue("o.example")
    path = tmp_path / "bad.json"
    cases = [
        ({**good, "key": other["key"]}, "/listen/tls/certificates/0/key: ", "holds the key of another"),
        (authority.issue("a.example", -1), "/listen/tls/certificates/0/cert: ", "expired on"),
        ({**good, "cert": "/nonexistent.pem"}, "/listen/tls/certificates/0/cert: ", "No such file"),
    ]
    backend = raw_backend()
    for certificate, place, words in cases:
        path.write_text(json.dumps(config_for(backend, listen=listener(certificate))))
        result = run_cli("check", path)
        assert result.code == 1 and f"{path}:1:" in result.err, result
        assert place in result.err and words in result.err
    path.write_text(json.dumps(config_for(backend, listen=listener(authority.issue("soon.example", 10)))))
    result = run_cli("check", path)
    assert result.code == 0 and "expires on" in result.err


def backend_context(certificate):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate["cert"], certificate["key"])
    return made


@pytest.mark.parametrize("kind", ["http", "tcp", "tls"])
def test_health_checks_judge_the_certificate_of_a_backend(start_lb, raw_backend, authority, config_for, kind):
    good = backend_context(authority.issue("a.example"))
    backend = raw_backend(tls=good)
    entry = backend.config(name="secured", tls={"ca": str(authority.ca), "server_name": "a.example"})
    check = {"type": kind, "interval": 0.02, "rise": 1, "fall": 1}
    lb = start_lb(config_for([entry], health_check=check))
    assert lb.status()["backends"][0]["standing"] == "up"
    failed = "TLS: certificate verify failed "
    for shown, reason in [
        (authority.issue("a.example", -1), failed + "(certificate has expired)"),
        (authority.issue("b.example"), failed + "(hostname mismatch)"),
    ]:
        since = lb.log_position()
        backend.tls = backend_context(shown)
        assert lb.wait_event("backend.down", since=since)["reason"] == reason
        status = lb.status()["backends"][0]
        assert (status["standing"], status["reason"]) == ("down", reason)
        backend.tls = good
        lb.wait_event("backend.up", since=since)


def test_what_failed_by_other_settings_is_checked_afresh(start_lb, raw_backend, authority, config_for):
    """Down for want of trust says nothing of a backend that is trusted now, so it need not rise again."""
    backend = raw_backend(tls=backend_context(authority.issue("b.example")))

    def config(verify, label):
        entry = backend.config(name="secured", tls={"verify": verify})
        check = {"type": "tls", "interval": 600, "rise": 3, "fall": 1}
        return config_for([entry], health_check=check, response_headers={"X-Config": label})

    lb = start_lb(config(True, "first"))
    assert lb.status()["backends"][0]["standing"] == "down"
    lb.reload_config(config(True, "the same settings"))
    assert lb.status()["backends"][0]["standing"] == "down"
    lb.reload_config(config(False, "trusting"))
    assert lb.status()["backends"][0]["standing"] == "up"


def dribble(connection, kind, until):
    """A byte of an unfinished record (RFC 8446 5.1) each tenth of a second; for how long it was taken."""
    began = time.monotonic()
    try:
        connection.sendall(kind + b"\x03\x03\x40\x00")
        while time.monotonic() - began < until:
            connection.sendall(b"x")
            time.sleep(0.1)  # that slow is the fault
    except OSError:
        pass
    return time.monotonic() - began


def test_a_backend_that_dribbles_its_handshake_is_given_up(start_lb, config_for):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            try:
                while True:
                    threading.Thread(target=dribble, args=(server.accept()[0], b"\x16", 15)).start()
            except OSError:
                pass

        threading.Thread(target=serve, daemon=True).start()
        entry = {"host": "127.0.0.1", "port": server.getsockname()[1], "tls": {"verify": False}}
        lb = start_lb(config_for([entry], timeouts={"connect": 1}))
        began = time.monotonic()
        response = fetch(lb.address, timeout=14)
        assert response.status in (502, 504), response
        assert 1 <= time.monotonic() - began < 10
        server.shutdown(socket.SHUT_RDWR)


def test_a_client_that_only_sends_is_let_go(start_lb, raw_backend, authority, config_for):
    names = listener(authority.issue("a.example"))
    backend = raw_backend(lambda exchange: exchange.reply(body=bytes(100_000_000)))
    lb = start_lb(config_for(backend, listen=names, timeouts={"body": 1}))
    plain = socket.socket()
    plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    plain.connect(lb.address)
    with context(authority).wrap_socket(plain, server_hostname="a.example") as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        with socket.socket(fileno=os.dup(client.fileno())) as raw:
            assert 1 <= dribble(raw, b"\x17", 15) < 10


def test_ticket_keys_are_renewed_without_a_reload_and_known_before_they_seal(
    start_lb, raw_backend, authority, config_for
):
    names = listener(authority.issue("a.example"))
    config = config_for(raw_backend(), listen=names)
    lb = start_lb(config, options={"arguments": ["--ticket-keys-interval", "1"]})
    made = context(authority)
    first = Visit(lb, made, "a.example").session
    since = lb.log_position()
    lb.wait_event("tls.ticket_keys", since=since)
    again = Visit(lb, made, "a.example", first)
    assert again.resumed, "a former key still opens"
    lb.reload_config({**config, "drain_timeout": 9})
    assert Visit(lb, made, "a.example", again.session).resumed, "the next generation has the ring of now"
    for _ in range(4):
        since = lb.log_position()
        lb.wait_event("tls.ticket_keys", since=since)
    late = Visit(lb, made, "a.example", first)
    assert late.answer.startswith(b"HTTP/1.1 200") and not late.resumed, "in the end it opens nothing"
    assert Visit(lb, made, "a.example", late.session).resumed


def test_ticket_keys_outlive_a_killed_supervisor(start_lb, raw_backend, authority, config_for):
    secured = {**listener(authority.issue("a.example")), "address": f"127.0.0.1:{free_port()}"}
    config = config_for(raw_backend(), listen=secured)
    lb = start_lb(config)
    made = context(authority)
    session = Visit(lb, made, "a.example").session
    pid = lb.pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: process.process_state(pid) in (None, "Z"), what="it to be dead")
    lb.start(config)
    again = Visit(lb, made, "a.example", session)
    assert again.answer.startswith(b"HTTP/1.1 200") and again.resumed


def agreed_on(lb, authority, offered):
    made = context(authority)
    made.set_alpn_protocols(offered)
    with socket.create_connection(lb.address, timeout=10) as plain:
        with made.wrap_socket(plain, server_hostname="a.example") as secured:
            return secured.selected_alpn_protocol()


def test_alpn_is_what_the_listener_says(start_lb, raw_backend, authority, config_for):
    certificate = authority.issue("a.example")
    tcp = {**listener(certificate, alpn="h2, http/1.1"), "mode": "tcp"}
    lb = start_lb(config_for(raw_backend(), listen=tcp))
    assert agreed_on(lb, authority, ["http/1.1", "h2"]) == "h2", "the listener's order counts"
    assert agreed_on(lb, authority, ["http/1.1"]) == "http/1.1"
    with pytest.raises(ssl.SSLError):
        agreed_on(lb, authority, ["spdy/3"])
    silent = start_lb(config_for(raw_backend(), listen={**listener(certificate), "mode": "tcp"}))
    assert agreed_on(silent, authority, ["h2"]) is None
    old = start_lb(config_for(raw_backend(), listen=listener(certificate, alpn="http/1.0")))
    assert agreed_on(old, authority, ["http/1.1", "http/1.0"]) == "http/1.0"


def test_plain_http_on_a_tls_port_is_told(start_lb, raw_backend, authority, config_for):
    lb = start_lb(config_for(raw_backend(), listen=listener(authority.issue("a.example"))))
    with socket.create_connection(lb.address, timeout=10) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert plain.recv(65536).startswith(b"HTTP/1.1 400")
