"""The ledger of a reload and `lb plan`: what they say, held against what really happened."""

import json
import os
import pty
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from lbharness import process, run_cli, wire
from lbharness.process import wait_until
from lbharness.wire import Connection, format_request

UPGRADE = format_request(headers=[("Connection", "upgrade"), ("Upgrade", "lb-echo")])


@pytest.fixture
def start(start_lb, backends):
    """start(key=value...): a balancer over b1, b2, b3 without probation, which says "g0"."""

    def make(**keys):
        keys = {"response_headers": {"X-Config": "g0"}, "reload": {"probation": 0}, **keys}
        return start_lb(**{"backends": backends, **keys})

    return make


def reloads(lb, *more):
    result = lb.cli("status", "--control", lb.control_path, "--reloads", "--json", *more)
    assert result.code == 0, result
    return result.json()["reloads"]


def whole(lb, config):
    """Reloads and waits for the whole ledger of it."""
    lb.write(config)
    result = lb.reload_cli("--wait", "--json")
    assert result.code == 0, result
    return result.json()


def test_a_ledger_adds_up(start, config_for, backends):
    """Every connection of the old generation is in it exactly once."""
    lb = start(drain_timeout=2)
    idle = [Connection(lb.address) for _ in range(20)]
    for client in idle:
        assert client.request(target="/?size=1").status == 200
    with Connection(lb.address) as cut, Connection(lb.address) as leaves, Connection(lb.address) as served:
        for client in (cut, leaves):
            client.send(format_request(target="/?size=1000000&rate=1000"))
            client.read_head()
        served.send(format_request("POST", "/?size=1", body=b"half and half")[:-5])
        wait_until(lambda: lb.status()["counters"]["requests_in_flight"] == 3, what="three requests")
        since = lb.log_position()
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(
                whole,
                lb,
                config_for(backends=backends, response_headers={"X-Config": "g1"}, reload={"probation": 0}),
            )
            lb.wait_event("reload.applied", since=since)
            leaves.close()
            served.send(b" half")
            assert served.read_response().status == 200
            record = answer.result()
        with pytest.raises(wire.WireError):
            cut.read_exactly(1_000_000)
        assert served.request().label == "g1"
    drain = record["drain"]
    assert record["applied"] and record["whole"] and record["cause"] == "control"
    assert drain["at_switch"] == {"connections": 23, "tunnels": 0, "requests": 3}, drain
    assert drain["connections"] + drain["came"] == (
        drain["moved"]
        + drain["ended"]
        + drain["closed_idle"]
        + drain["closed_removed"]
        + drain["force_closed"]
    ), drain
    assert drain["accepted"] == 23 and drain["moved"] == 21, drain
    assert drain["ended"] == 1 and drain["requests_completed"] == 1, drain
    assert drain["closed_idle"] == 0 and drain["force_closed"] == 1, drain
    (forced,) = drain["forced"]
    assert (forced["client"], forced["listener"], forced["kind"]) == ("127.0.0.1", "127.0.0.1:0", "request")
    assert forced["backend"] in ("b1", "b2", "b3") and 1900 <= forced["age_ms"] < 60_000, forced
    times = record["times_ms"]
    steps = ["asked", "spawned", "loaded", "ready", "switched", "drained"]
    assert [times[step] for step in steps] == sorted(times[step] for step in steps), times
    assert times["drained"] - times["switched"] >= 1900, "it had drain_timeout"
    assert record["kernel"]["grown"]["listen_overflows"] >= 0
    paths = [change["path"] for change in record["changes"]]
    assert paths == ["/drain_timeout", "/response_headers/X-Config"]
    for client in idle:
        client.close()


def test_the_last_32_are_remembered(start, config_for, backends):
    lb = start()
    for number in range(1, 35):
        lb.reload_config(
            config_for(
                backends=backends, response_headers={"X-Config": f"g{number}"}, reload={"probation": 0}
            )
        )
    lb.write({"nonsense": 1})
    assert lb.reload_cli().code == 1
    known = reloads(lb)
    assert [record["number"] for record in known] == list(range(35, 3, -1))
    assert not known[0]["applied"] and "nonsense" in known[0]["reason"] and known[0]["drain"] is None
    for record in known[1:]:
        assert record["generation"] == record["from"] + 1 and record["config"]
    one = lb.cli("status", "--control", lb.control_path, "--reload", "35")
    assert one.code == 0 and one.out.startswith("reload 35  rejected, asked by control"), one
    assert lb.cli("status", "--control", lb.control_path, "--reload", "1").code == 2
    table = lb.cli("status", "--control", lb.control_path, "--reloads")
    assert len(table.out.splitlines()) == 33 and "\x1b" not in table.out, table


def test_the_ledger_survives_a_killed_supervisor(start, config_for, backends):
    lb = start()
    for number in (1, 2):
        lb.reload_config(
            config_for(
                backends=backends, response_headers={"X-Config": f"g{number}"}, reload={"probation": 0}
            )
        )
    wait_until(lambda: all(record["whole"] for record in reloads(lb)), what="both drains to be over")
    known = reloads(lb)
    os.kill(lb.pid, signal.SIGKILL)
    wait_until(lambda: process.process_state(lb.pid) in (None, "Z"), what="the supervisor to be dead")
    lb.start(config_for(backends=backends, response_headers={"X-Config": "g3"}, reload={"probation": 0}))
    assert reloads(lb) == known
    lb.reload_config(
        config_for(backends=backends, response_headers={"X-Config": "g4"}, reload={"probation": 0})
    )
    assert [record["number"] for record in reloads(lb)] == [3, 2, 1]


def test_who_asked_is_told(start, config_for, backends):
    lb = start()
    lb.write(config_for(backends=backends, reload={"probation": 0, "watch": True, "debounce": 0.01}))
    since = lb.log_position()
    lb.send_signal(1)
    lb.wait_event("reload.applied", since=since)
    since = lb.log_position()
    lb.write(config_for(backends=backends, reload={"probation": 0}))
    lb.wait_event("reload.applied", since=since)
    assert [record["cause"] for record in reloads(lb)] == ["watch", "signal"]


def test_waiting_ends_in_time(start, config_for, backends):
    lb = start(drain_timeout=20)
    with Connection(lb.address) as busy:
        busy.send(format_request(target="/?size=1000000&rate=1000"))
        busy.read_head()
        lb.write(config_for(backends=backends, reload={"probation": 0}, algorithm="random"))
        result = lb.reload_cli("--wait", timeout=1.5)
        assert result.code == 2 and "no answer within 1500 ms" in result.err, result
        assert not reloads(lb)[0]["whole"]
        text = lb.cli("status", "--control", lb.control_path, "--reload", "1")
        assert "generation 1 had 1 connection, 1 request under way\n" in text.out, text
        assert "still drains" in text.out, text


def test_waiting_is_for_the_drain_and_not_for_the_probation(start, config_for, backends):
    lb = start(reload={"probation": 0})  # good at once, and parked while the next one is on probation
    with Connection(lb.address) as idle:
        assert idle.request(target="/?size=1").status == 200
        lb.write(config_for(backends=backends, algorithm="random", reload={"probation": 600}))
        result = lb.reload_cli("--wait", "--json", timeout=60)
        assert result.code == 0, result
        drain = result.json()["drain"]
        assert drain["state"] == "drained" and drain["moved"] == 1, drain
        states = [generation["state"] for generation in lb.status()["generations"]]
        assert sorted(states) == ["parked", "serving"], states
        assert idle.request(target="/?size=1").status == 200


def test_text_is_plain_but_on_a_terminal(start, config_for, backends):
    lb = start()
    lb.write(config_for(backends=backends, algorithm="random", reload={"probation": 0}))
    argv = [str(lb.binary), "reload", "--wait", "--pid-file", str(lb.pid_path)]  # the other way to name it
    for no_colour in ("", "1"):
        master, slave = pty.openpty()
        env = {**os.environ, "TERM": "xterm", "NO_COLOR": no_colour}
        subprocess.run(argv, stdout=slave, check=True, env=env, timeout=30)
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:
                break
            if not part:
                break
            shown += part
        os.close(master)
        assert b"applied" in shown and (b"\x1b[" in shown) == (no_colour == ""), shown
    piped = subprocess.run(argv, capture_output=True, check=True, text=True, timeout=30).stdout
    assert piped.startswith("reload 3  applied, asked by control, generation 3 -> 4") and "\x1b" not in piped


# ---- lb plan ---------------------------------------------------------------------------------------


def plan(lb, directory, config, *more):
    path = directory / "next.json"
    path.write_text(json.dumps(config))
    result = lb.cli("plan", path, "--control", lb.control_path, *more)
    return result


def test_a_plan_of_the_same_changes_nothing(start, tmp_path):
    lb = start()
    result = lb.cli("plan", lb.config_path, "--control", lb.control_path)
    assert result.code == 0 and "nothing: it is the configuration that serves" in result.out, result
    pretty = tmp_path / "pretty.json"
    pretty.write_text(json.dumps(json.loads(lb.config_path.read_text()), indent=4))
    result = lb.cli("plan", pretty, "--control", lb.control_path)
    assert result.code == 0 and "the text is another, what it says is the same" in result.out, result


def test_a_plan_is_what_the_reload_then_does(start, config_for, backends, tmp_path):
    """It touches nothing; and the reload with that file changes, moves and closes what was foretold."""
    lb = start(listen=["127.0.0.1:0", "127.0.1.1:0"], drain_timeout=0.5, algorithm="ip_hash")
    first, second = (dict(lb.listeners())[at] for at in ("127.0.0.1:0", "127.0.1.1:0"))
    clients = [Connection(first) for _ in range(12)] + [Connection(second) for _ in range(3)]
    for client in clients:
        assert client.request(target="/?size=1").status == 200
    next_config = config_for(
        backends=[backends.config("b1"), {**backends.config("b2"), "weight": 3}],
        listen=["127.0.0.1:0", "127.0.2.1:0"],
        algorithm="ip_hash",
        drain_timeout=0.5,
        response_headers={"X-Config": "g0"},
        reload={"probation": 0},
    )
    before = lb.status()
    result = plan(lb, tmp_path, next_config, "--json")
    assert result.code == 3, result
    told = result.json()
    after = lb.status()
    assert [g["pid"] for g in after["generations"]] == [g["pid"] for g in before["generations"]]
    assert after["listeners"] == before["listeners"], "nothing was bound"
    assert told["verdict"] == "disruptive" and told["generation"] == 1
    fates = {entry["endpoint"]: (entry["fate"], entry["connections"]) for entry in told["listeners"]}
    assert fates == {
        "127.0.0.1:0": ("stays", 12),
        "127.0.2.1:0": ("opened", 0),
        "127.0.1.1:0": ("closed", 3),
    }
    assert {b["name"]: b["fate"] for b in told["backends"]} == {"b3": "removed", "b2": "reweighted"}
    assert told["backends_kept"] == 1 and 0 < told["keys"]["moved"] < 1
    assert sum(b["requests_5m"] for b in told["backends"]) <= told["requests_5m"] == 15
    assert told["connections"] == {
        "move": 15,
        "drain_tls": 0,
        "tunnels_kept": 0,
        "tunnels_drained": 0,
        "tunnels_closed": 0,
    }
    record = whole(lb, next_config)
    assert record["changes"] == told["changes"]
    assert record["drain"]["moved"] == told["connections"]["move"] and record["drain"]["force_closed"] == 0
    assert set(dict(lb.listeners())) == {"127.0.0.1:0", "127.0.2.1:0"}
    assert plan(lb, tmp_path, next_config).code == 0, "done"
    for client in clients:
        client.close()


@pytest.mark.parametrize("policy", ["keep", "drain", "close"])
def test_a_plan_knows_tunnels(start, config_for, backends, tmp_path, policy):
    """What becomes of the tunnel of a removed backend is foretold, and then happens."""
    lb = start(backends=[{**backends.config("b1"), "on_removal": policy}])
    with Connection(lb.address) as tunnel:
        tunnel.send(UPGRADE)
        assert tunnel.read_head().status == 101
        config = config_for(
            backends=[backends.config("b2")],
            response_headers={"X-Config": "g0"},
            reload={"probation": 0},
        )
        told = plan(lb, tmp_path, config, "--json").json()
        (removed,) = (b for b in told["backends"] if b["fate"] == "removed")
        assert removed["tunnels"] == 1 and removed["share_5m"] == 1
        assert told["listeners"][0]["tunnels"] == 1 and told["connections"]["move"] == 0
        assert any("backends leave that answered 100.0 %" in reason for reason in told["reasons"])
        fate = {"keep": "tunnels_kept", "drain": "tunnels_drained", "close": "tunnels_closed"}[policy]
        assert {k: n for k, n in told["connections"].items() if n} == {fate: 1}
        drain = whole(lb, config)["drain"]
        assert drain["closed_removed"] == (policy == "close") and drain["ended"] == 0, drain
        assert drain["moved_by_kind"]["upgrade_tunnels"] == (policy != "close"), drain


def test_traffic_is_counted_over_reloads(start, config_for, backends):
    lb = start()
    for number in range(3):
        for _ in range(10):
            assert wire.fetch(lb.address, "/?size=1").status == 200
        lb.reload_config(
            config_for(
                backends=backends, response_headers={"X-Config": f"h{number}"}, reload={"probation": 0}
            )
        )
    wait_until(lambda: lb.status()["traffic"]["requests_5m"] == 30, what="thirty requests to be counted")
    assert sum(b["requests_1m"] for b in lb.status()["backends"]) == 30


def test_what_goes_wrong_with_a_plan(start, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text('{\n  "listen_port": 70000, "backends": []}')
    lb = start()
    result = lb.cli("plan", bad, "--control", lb.control_path)
    assert result.code == 2 and result.out == "" and f"{bad}:2:" in result.err, result
    result = lb.cli("plan", tmp_path / "nothing.json", "--control", lb.control_path)
    assert result.code == 2 and "No such file" in result.err, result
    result = run_cli("plan", lb.config_path, "--control", tmp_path / "nothing.sock")
    assert result.code == 2 and "cannot reach the balancer" in result.err, result
    result = run_cli("plan", lb.config_path)
    assert result.code == 2 and "which balancer?" in result.err, result


def test_a_plan_against_yaml(start_lb, config_for, backends, tmp_path):
    """The text that serves is read as what it is."""
    lb = start_lb(config_for(backends=backends))
    path = tmp_path / "next.yaml"
    path.write_text(json.dumps(config_for(backends=backends, algorithm="random")))  # JSON is YAML
    result = lb.cli("plan", path, "--control", lb.control_path, "--json")
    assert result.code == 1, result
    assert [change["path"] for change in result.json()["changes"]] == ["/algorithm"]
