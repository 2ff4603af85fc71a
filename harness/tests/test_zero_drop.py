"""The zero-drop command itself: it says 0 for the balancer of this tree, and trips on every control."""

import concurrent.futures
import json
import os
import subprocess
import sys

import pytest
from lbharness import paths
from lbharness.faulty import CONTROLS

SCRIPT = paths.ROOT / "harness" / "reload_zero_drop.py"
QUICK = ["--profile", "quick", "--reloads", "4", "--interval", "0.5", "--frozen", "0", "--rate", "1500"]
AT_ONCE = 3


def run(*arguments, timeout=120, environment=None):
    """(exit status, result as written by --json or None, everything printed)"""
    argv = [sys.executable, str(SCRIPT), *[str(a) for a in arguments]]
    done = subprocess.run(
        argv, capture_output=True, text=True, timeout=timeout, env={**os.environ, **(environment or {})}
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def controls(tmp_path_factory):
    """All controls, a few at a time: {name: (exit status, result, output)}."""
    where = tmp_path_factory.mktemp("controls")

    def one(name):
        path = where / f"{name}.json"
        code, output = run("--control", name, *QUICK, "--seed", 7, "--json", path)
        return code, json.loads(path.read_text()) if path.exists() else None, output

    with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
        return dict(zip(CONTROLS, pool.map(one, CONTROLS)))


@pytest.mark.parametrize("name", [name for name in CONTROLS if name != "none"])
def test_control_trips_with_its_kind(controls, name):
    code, result, output = controls[name]
    assert code == 1, output
    expected = CONTROLS[name][1]
    assert any(result["ledger"]["outcomes"].get(kind) for kind in expected), output
    assert result["ledger"]["drops"], "each drop has a story"


def test_cut_tunnels_are_found_in_each_kind(controls):
    kinds = controls["kill_tunnel"][1]["ledger"]["long_lived"]
    assert all(kinds[kind]["cut"] for kind in ("websocket", "tcp_tunnel", "events")), kinds


def test_closed_idle_connections_are_found_over_tls_and_counted(controls):
    result = controls["close_idle"][1]
    assert result["ledger"]["long_lived"]["idle"]["closed_idle"]
    assert any(s["name"].startswith("tls_") and s["drops"] for s in result["streams"]), result["streams"]


def test_control_without_a_fault_does_not_trip(controls):
    code, result, output = controls["none"]
    assert code == 0, output
    assert result["ledger"]["totals"]["attempts"] > 1000 and result["verdict"] == "zero_drops"


def test_balancer_drops_nothing(tmp_path):
    html, js = tmp_path / "report.html", tmp_path / "result.json"
    code, output = run(
        "--profile",
        "quick",
        "--rate",
        1000,
        "--reloads",
        8,
        "--interval",
        0.6,
        "--frozen",
        1,
        "--bad-every",
        4,
        "--html",
        html,
        "--json",
        js,
    )
    assert code == 0, output
    assert "0 dropped of" in output and "\x1b" not in output, "no colours where there is no terminal"
    result = json.loads(js.read_text())
    assert sum(r["applied"] for r in result["reloads"]) == 7 and result["problems"] == []
    kinds = result["ledger"]["kinds"]
    assert {
        "new",
        "keepalive",
        "pipelined",
        "race",
        "slow_download",
        "slow_upload",
        "chunked",
        "upgrade",
        "halfopen",
        "idle",
        "websocket",
        "tcp_tunnel",
        "events",
        "long_upload",
    } == set(kinds) and all(k["ok"] for k in kinds.values())
    tls = {s["name"]: s for s in result["streams"] if s["name"].startswith("tls_")}
    assert all(s["ok"] for s in tls.values()) and tls["tls_new"]["tls_resumed"] == 0
    again = tls["tls_resumed"]
    assert again["tls_resumed"] > 0.7 * again["tls_handshakes"], "tickets outlive reloads"
    page = html.read_text()
    assert (
        "<canvas" in page and "http://" not in page.replace("http://www.w3.org/", "").split('id="data"')[0]
    )


@pytest.mark.parametrize("target", ["haproxy", "nginx"])
def test_same_load_on_a_peer(target):
    code, output = run(
        "--target", target, "--profile", "moderate", "--rate", 800, "--reloads", 2, "--interval", 0.5
    )
    if code == 2 and "is not installed" in output:
        pytest.skip(f"{target} is not installed and cannot be")
    assert code in (0, 1), output
    assert target in output and "dropped of" in output


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--lb", "/nonexistent"], "not there"),
        (["--reloads", "0"], "--reloads"),
        (["--config", "/nonexistent"], "nonexistent"),
        (["--target", "nginx", "--bad-every", "3"], "--bad-every"),
        (["--json", "/nonexistent/x.json"], "cannot write"),
        (["--reloads", "1000", "--duration", "3"], "between reloads"),
        (["--build-dir", "/nonexistent"], "build it"),
    ],
)
def test_cannot_be_measured_is_exit_2(arguments, words):
    code, output = run(*arguments)
    assert code == 2 and words in output and "Traceback" not in output, output


def test_operator_configuration(tmp_path):
    config = json.loads((paths.ROOT / "fixtures" / "config" / "good" / "chapter.json").read_text())
    config["listen"] = "127.0.0.1:0"
    del config["listen_port"]
    path = tmp_path / "operator.json"
    path.write_text(json.dumps(config))
    code, output = run("--config", path, *QUICK)
    assert code == 0 and "rate_limit left out" in output, output


def test_odd_python_first_on_path(tmp_path):
    """The `python3` on PATH is too old or incomplete: the command goes on in Debian's."""
    odd = tmp_path / "python3"
    odd.write_text(
        "#!/bin/sh\nexec /usr/bin/python3 -c 'import sys; sys.version_info = (3, 6, 0); "
        "sys.executable = \"/opt/odd/python3\"; "
        "sys.argv = sys.argv[1:]; exec(compile(open(sys.argv[0]).read(), sys.argv[0], \"exec\"))' \"$@\"\n"
    )
    odd.chmod(0o755)
    done = subprocess.run(
        [str(SCRIPT), "--help"],
        capture_output=True,
        text=True,
        timeout=30,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )
    assert done.returncode == 0 and "--target" in done.stdout, done.stderr
