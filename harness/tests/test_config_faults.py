"""Every bad file of fixtures/config/bad as a reload of a running balancer under light traffic: the old
generation goes on serving, and the reload answers exactly what `lb check` would."""

import pytest
from lbharness import Backends, Balancer, Traffic, paths, run_cli
from lbharness.wire import fetch, format_address

BAD = paths.ROOT / "fixtures" / "config" / "bad"
NAMES = sorted(path.stem for path in BAD.glob("*.json"))
LIGHT = {
    "streams": [
        {"kind": "keepalive", "clients": 4, "think_ms": [1, 5]},
        {"kind": "new", "clients": 2, "rate": 50},
    ]
}


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    where = tmp_path_factory.mktemp("faults")
    with Backends(["b1", "b2"]) as backends:
        lb = Balancer(directory=where / "lb")
        lb.directory.mkdir()
        lb.start(
            {
                "listen": "127.0.0.1:0",
                "workers": 1,
                "response_headers": {"X-Config": "good"},
                "backends": [backends.config(n) for n in backends.names],
            }
        )
        traffic = Traffic(format_address(lb.address), LIGHT, where / "traffic.ledger", time_limit_s=300)
        traffic.wait_ready()
        traffic.start()
        yield lb, traffic
        traffic.kill()
        lb.stop()


@pytest.fixture(scope="module", autouse=True)
def started_before(running):
    """Before nothing_left_behind takes its first look."""


def test_there_are_enough():
    assert len(NAMES) >= 60


@pytest.mark.parametrize("name", NAMES)
def test_bad_file_is_refused_with_its_message(running, name):
    lb, _ = running
    pid = lb.current()["pid"]
    lb.write((BAD / f"{name}.json").read_bytes())
    result = lb.reload_cli()
    assert result.code == 1, result
    expected = (BAD / f"{name}.expected").read_text()
    wanted = [line.replace(f"{name}.json", "lb.json", 1) for line in expected.splitlines()]
    said = [line[line.index("lb.json") :] for line in result.err.splitlines() if "lb.json" in line]
    assert [w for w in wanted if not any(w in s for s in said)] == [], result.err
    assert lb.current()["pid"] == pid and fetch(lb.address).label == "good"


@pytest.mark.parametrize("name", NAMES[::10])
def test_check_says_the_same(name):
    result = run_cli("check", f"{name}.json", cwd=BAD)
    assert result.code == 1 and result.out == ""
    assert result.err == (BAD / f"{name}.expected").read_text()


def test_unreadable_file(running):
    lb, _ = running
    lb.config_path.unlink()
    result = lb.reload_cli()
    assert result.code == 1 and "lb.json" in result.err
    lb.config_path.mkdir()
    result = lb.reload_cli()
    assert result.code == 1 and "lb.json" in result.err
    lb.config_path.rmdir()
    assert fetch(lb.address).label == "good"


def test_nobody_has_noticed(running):
    """Last in this file: all those rejected reloads cost no request."""
    _, traffic = running
    summary = traffic.stop()
    assert summary["drops"] == 0 and summary["ok"] > 100, summary
