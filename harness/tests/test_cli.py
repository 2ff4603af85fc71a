"""The command line: what each command prints, and its exit status."""

import json

import pytest
from lbharness import paths, run_cli, wire

GOOD = paths.ROOT / "fixtures" / "config" / "good"


def test_version_and_help():
    assert run_cli("--version").code == 0
    for arguments in ((), ("check",), ("reload",), ("status",), ("schema",), ("diff",), ("plan",)):
        result = run_cli(*arguments, "--help")
        assert result.code == 0 and "sage" in result.out, result


@pytest.mark.parametrize(
    "arguments", [["--no-such-option"], ["no-such-command"], ["check"], ["diff", "one"], []]
)
def test_wrong_usage(arguments):
    result = run_cli(*arguments)
    assert result.code not in (0,) and result.err, result


# tls.json names files that only its own tests make: test_tls.py.
@pytest.mark.parametrize("path", sorted(set(GOOD.glob("*.json")) - {GOOD / "tls.json"}), ids=lambda p: p.stem)
def test_check_accepts_good_files(path):
    result = run_cli("check", path)
    assert result.code == 0 and result.err == "", result


def test_check_reports_all_errors_with_positions(tmp_path):
    path = tmp_path / "bad.json"
    path.write_text(
        '{\n  "listen_port": 70000,\n  "algoritm": "random",\n'
        '  "backends": [{"host": "a", "port": "80"}]\n}\n'
    )
    result = run_cli("check", path)
    assert result.code == 1 and result.out == ""
    lines = result.err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["/listen_port", "/algoritm", "/backends/0/port"]
    assert all(line.startswith(f"{path}:{n}:") for line, n in zip(lines, (2, 3, 4))), result.err
    assert "algorithm" in lines[1], "the nearest known key is named"


def test_check_exit_status_when_unreadable(tmp_path):
    assert run_cli("check", tmp_path / "nothing.json").code == 2
    assert run_cli("check", tmp_path).code == 2


def test_check_quiet(tmp_path):
    assert run_cli("check", "--quiet", GOOD / "minimal.json").out == ""


def test_check_never_binds(tmp_path):
    """A configuration whose port is taken is still valid: checking must not touch live ports."""
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        path = tmp_path / "c.json"
        path.write_text(
            json.dumps(
                {
                    "listen": f"127.0.0.1:{other.getsockname()[1]}",
                    "backends": [{"host": "127.0.0.1", "port": 1}],
                }
            )
        )
        assert run_cli("check", path).code == 0


def test_check_print_is_the_effective_configuration_and_stable(tmp_path):
    result = run_cli("check", "--print", GOOD / "rich.json")
    assert result.code == 0
    printed = result.json()
    assert printed["algorithm"] == "least_connections" and printed["backends"][2]["weight"] == 0
    again = tmp_path / "printed.json"
    again.write_text(result.out)
    assert run_cli("check", "--print", again).out == result.out
    assert run_cli("diff", GOOD / "rich.json", again).code == 0


def test_schema_is_json():
    schema = run_cli("schema").json()
    assert "2020-12" in schema["$schema"] and "backends" in schema["properties"]


def test_diff(tmp_path):
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    base = {
        "listen_port": 8080,
        "backends": [
            {"name": "a", "host": "127.0.0.1", "port": 1},
            {"name": "b", "host": "127.0.0.1", "port": 2},
        ],
    }
    old.write_text(json.dumps(base))
    new.write_text(json.dumps({**base, "backends": base["backends"][::-1]}))
    new.write_text(json.dumps({**base, "backends": [{**base["backends"][0], "weight": 5}], "workers": 3}))
    result = run_cli("diff", old, new)
    assert result.code == 1 and "b" in result.out and "weight" in result.out and "workers" in result.out
    assert run_cli("diff", old, old).code == 0
    assert run_cli("diff", old, tmp_path / "nothing").code == 2
    new.write_text("{}")
    assert run_cli("diff", old, new).code == 2


def test_start_with_a_bad_file(start_lb, backends):
    lb = start_lb('{"listen_port": 8080}', spawn_only=True)
    assert lb.child.wait(5) not in (0, None)
    assert 'lb.json:1:1: /: missing key "backends"' in lb.child.lines()[-1]
    assert not lb.pid_path.exists()


def test_start_with_an_address_in_use(start_lb, backends, config_for):
    import socket

    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        lb = start_lb(config_for(backends=backends, listen=taken), spawn_only=True)
        assert lb.child.wait(5) not in (0, None)
        assert taken in "\n".join(lb.child.lines()) and "in use" in "\n".join(lb.child.lines())


def test_status_for_people_and_for_programs(start_lb, backends):
    lb = start_lb(backends=backends)
    wire.fetch(lb.address)
    status = lb.status()
    assert status["pid"] == lb.pid and status["version"]
    assert {"pid", "state", "generation", "config"} <= set(status["generations"][0])
    text = lb.cli("status", "--control", lb.control_path)
    assert text.code == 0 and str(lb.pid) in text.out and "b1" in text.out


def test_command_line_overrides_the_configuration(start_lb, backends, tmp_path):
    lb = start_lb(
        backends=backends,
        access_log=str(tmp_path / "of-config.log"),
        options={"arguments": ["--access-log", str(tmp_path / "of-option.log")]},
    )
    wire.fetch(lb.address, "/here")
    from lbharness.process import wait_until

    wait_until(
        lambda: (tmp_path / "of-option.log").exists()
        and "/here" in (tmp_path / "of-option.log").read_text(),
        what="the access log",
    )
    assert not (tmp_path / "of-config.log").exists()
