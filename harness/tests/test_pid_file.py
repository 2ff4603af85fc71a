"""The pid file: who runs, and the only protection against running twice."""

import os
import signal

from lbharness import process, run_cli
from lbharness.process import wait_until
from lbharness.wire import fetch


def test_holds_the_pid_once_ready_and_goes_with_the_process(start_lb, backends):
    lb = start_lb(backends=backends)
    assert lb.pid_path.read_text() == f"{lb.pid}\n"
    assert not [
        p
        for p in lb.directory.iterdir()
        if p.name.startswith("lb.pid.") and p.suffix not in (".lock", ".sock")
    ]
    lb.send_signal(signal.SIGTERM)
    assert lb.child.wait(5) == 0
    assert not lb.pid_path.exists()


def test_pid_does_not_change_with_reloads(start_lb, backends):
    lb = start_lb(backends=backends)
    for _ in range(3):
        assert lb.reload_cli().code == 0
    assert lb.pid_path.read_text() == f"{lb.pid}\n" and lb.status()["pid"] == lb.pid


def test_second_start_is_refused(start_lb, backends, config_for):
    lb = start_lb(backends=backends)
    second = start_lb(backends=backends, spawn_only=True, options={"arguments": []})
    second.stop()
    second.pid_path = lb.pid_path
    second.directory.mkdir(exist_ok=True)
    second.write(config_for(backends=backends))
    second.spawn()
    assert second.child.wait(5) not in (0, None)
    text = "\n".join(second.child.lines())
    assert str(lb.pid) in text and str(lb.pid_path) in text, text
    assert fetch(lb.address).status == 200 and lb.pid_path.read_text() == f"{lb.pid}\n"


def test_stale_file_is_recognised(start_lb, backends, config_for, tmp_path):
    lb = start_lb(backends=backends)
    lb.stop()
    for content in ("999999999\n", f"{os.getpid()}\n"):
        lb.directory.mkdir(exist_ok=True)
        lb.pid_path.write_text(content)
        lb.start(config_for(backends=backends))
        assert lb.pid_path.read_text() == f"{lb.pid}\n"
        lb.stop()


def test_file_that_is_no_pid_file_is_left_alone(start_lb, backends, config_for):
    lb = start_lb(backends=backends)
    lb.stop()
    lb.directory.mkdir(exist_ok=True)
    lb.pid_path.write_text("somebody's poem\n")
    lb.write(config_for(backends=backends))
    lb.spawn()
    assert lb.child.wait(5) not in (0, None)
    assert str(lb.pid_path) in lb.child.lines()[-1] and lb.pid_path.read_text() == "somebody's poem\n"


def test_pid_file_of_the_configuration(start_lb, backends, tmp_path):
    path = tmp_path / "of-config.pid"
    lb = start_lb(backends=backends, pid_file=str(path), options={"pid_file": False})
    assert path.read_text() == f"{lb.pid}\n"
    assert run_cli("status", "--pid-file", path).code in (0, 2)


def test_commands_find_the_balancer_by_its_pid_file(start_lb, backends, config_for, tmp_path):
    """Without --control the socket lies beside the pid file."""
    pid_file = tmp_path / "found.pid"
    lb = start_lb(backends=backends)
    lb.stop()
    lb.directory.mkdir(exist_ok=True)
    lb.write(config_for(backends=backends))
    lb.child = process.Child(
        "lb", [lb.binary, "-c", lb.config_path, "--log-format", "json", "--pid-file", pid_file]
    )
    lb.wait_event("ready")
    assert run_cli("status", "--json", "--pid-file", pid_file).json()["pid"] == lb.child.pid
    assert run_cli("reload", "--pid-file", pid_file).code == 0


def test_unwritable_place_is_a_clear_error(start_lb, backends, tmp_path):
    lb = start_lb(
        backends=backends,
        spawn_only=True,
        options={"arguments": ["--pid-file", str(tmp_path / "no" / "such" / "x.pid")], "pid_file": False},
    )
    assert lb.child.wait(5) not in (0, None)
    assert "x.pid" in "\n".join(lb.child.lines())


def test_socket_and_files_are_private_and_cleaned_up(start_lb, backends):
    lb = start_lb(backends=backends)
    assert lb.control_path.stat().st_mode & 0o777 == 0o600
    lb.send_signal(signal.SIGTERM)
    lb.child.wait(5)
    wait_until(lambda: not lb.control_path.exists(), what="the control socket to be removed")
