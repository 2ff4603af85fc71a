"""The benchmark's own tests: its arithmetic, its reports, and a run of a second against the real programs."""

import json
import re
from types import SimpleNamespace

import pytest
from lbbench import arithmetic, cli, document, goals, report, syscalls, table, workloads
from lbbench.measure import LoadRun, turned
from lbharness import RawBackend
from lbharness.errors import HarnessError

# ---------------------------------------------------------------------------------------------- arithmetic


def test_two_workers_are_judged_by_throughput_where_they_fit_and_else_by_what_a_request_costs():
    def rounds(us, rate):
        return [{"us": us + i / 10, "rate": rate + i} for i in range(4)]

    results = {"workers": {"lb": rounds(20, 1000), "lb-2-workers": rounds(25, 1500)}}
    throughput, cost = (goals.judge(results, two_workers_fit=fit)[0] for fit in (True, False))
    assert round(throughput["value"], 2) == 1.5 and throughput["reached"] is False
    assert round(cost["value"], 2) == 1.6 and cost["reached"] is False
    cheap = {"workers": {"lb": rounds(20, 1000), "lb-2-workers": rounds(21, 1100)}}
    assert goals.judge(cheap, two_workers_fit=False)[0]["reached"] is True


def test_quartiles_interpolate():
    assert arithmetic.quartiles([4, 1, 3, 2, 5]) == (2, 4)
    assert arithmetic.quartiles([1, 2]) == (1.25, 1.75)
    assert arithmetic.quartiles([7]) == (7, 7)
    assert arithmetic.quartiles([]) is None


def test_spread_is_a_share_of_the_median():
    assert arithmetic.spread([10, 10, 10]) == 0
    assert arithmetic.spread([8, 10, 12]) == pytest.approx(0.2)
    assert arithmetic.spread([None, None]) is None


def test_ratios_are_taken_within_rounds():
    """Every round is twice as slow as the one before; the ratio is the same in each."""
    slow, fast = [2, 4, 8, 16], [1, 2, 4, 8]
    assert arithmetic.ratio(slow, fast) == {"median": 2, "low": 2, "high": 2, "rounds": 4}
    # The ratio of the medians of these would be 1; in two rounds of three it is one half.
    assert arithmetic.ratio([1, 2, 3], [2, 4, 2])["median"] == 0.5


def test_a_round_without_a_figure_is_left_out_of_the_ratio():
    assert arithmetic.ratio([1, None, 3], [1, 1, 0])["rounds"] == 1
    assert arithmetic.ratio([None], [1]) is None


def rounds_of(**figures):
    """us=[1, 2] -> [{"us": 1}, {"us": 2}]"""
    length = len(next(iter(figures.values())))
    return [{key: values[i] for key, values in figures.items()} for i in range(length)]


def test_the_better_peer_has_the_better_median():
    results = {
        "haproxy": rounds_of(us=[10, 30, 11], rate=[5, 5, 5]),
        "nginx": rounds_of(us=[12] * 3, rate=[7] * 3),
    }
    assert arithmetic.better_peer(results, ("haproxy", "nginx"), "us") == "haproxy"
    assert arithmetic.better_peer(results, ("haproxy", "nginx"), "rate", larger_is_better=True) == "nginx"
    assert arithmetic.better_peer({}, ("haproxy",), "us") is None


# --------------------------------------------------------------------------------------------------- goals


def keepalive_rounds(lb_us, lb_rate=100):
    flat = {"relay": (10, 120), "lb": (lb_us, lb_rate), "haproxy": (15, 90), "nginx": (16, 95)}
    return {name: rounds_of(us=[us] * 3, rate=[rate] * 3) for name, (us, rate) in flat.items()}


@pytest.mark.parametrize(("us", "reached"), [(10.9, True), (11.0, True), (11.1, False)])
def test_the_keepalive_goal_is_relative_to_the_relay(us, reached):
    goal = goals.judge({"keepalive": keepalive_rounds(us)})[0]
    assert goal["reached"] is reached and goal["value"] == pytest.approx(us / 10)


def test_throughput_is_compared_with_the_faster_peer():
    text = {g["text"]: g["reached"] for g in goals.judge({"keepalive": keepalive_rounds(11, lb_rate=94)})}
    assert text["requests a second of one worker x nginx"] is False


def test_a_goal_without_figures_is_neither_reached_nor_missed():
    results = {"tls-resume": {"haproxy": rounds_of(us=[1]), "nginx": rounds_of(us=[2])}}
    assert [goal["reached"] for goal in goals.judge(results)] == [None]


# --------------------------------------------------------------------------------------------- small parts

STRACE = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ------------------
 60.00    0.001200           1      8000           sendto
 40.00    0.000800           0      8010        10 recvfrom
------ ----------- ----------- --------- --------- ------------------
100.00    0.002000           0     16010        10 total
"""


def test_the_table_of_strace_is_read():
    assert syscalls.parse(STRACE) == {"sendto": 8000, "recvfrom": 8010}


def test_workloads_by_name_and_by_beginning():
    assert [w.name for w in workloads.choose(["new", "tls-*", "new"])][:2] == ["new", "tls-handshake"]
    assert len(workloads.choose([])) == len(workloads.WORKLOADS)
    with pytest.raises(ValueError, match="no workload nix; there are keepalive"):
        workloads.choose(["nix"])


@pytest.mark.parametrize(
    "wrong", [["--rounds", "0"], ["--seconds", "61"], ["--rate", "0"], ["--idle", "1"], ["nix"]]
)
def test_what_is_out_of_bounds_is_refused(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.parse_arguments(wrong)
    assert ended.value.code == 2
    assert "error: argument" in capsys.readouterr().err or wrong == ["nix"]


def test_each_round_begins_with_another_proxy():
    assert [turned("abc", i)[0] for i in range(4)] == ["a", "b", "c", "a"]
    assert turned([], 3) == []


# ------------------------------------------------------------------------------------------------- reports


def made_document():
    flat = keepalive_rounds(11)
    for name, rounds in flat.items():
        for i, figures in enumerate(rounds):
            figures.update(user_us=1.0, system_us=9.0, us=figures["us"] + i)
    load = document.workload_entry(
        workloads.choose(["keepalive"])[0],
        {"rounds": flat, "syscalls": {"lb": {"sendto": 2.0, "recvfrom": 2.01}}},
    )
    points = {
        "p50": 100.0,
        "p90": 200.0,
        "p99": 900.0,
        "p99.9": 5000.0,
        "max": 9000.0,
        "us": 20.0,
        "unsent": 0,
    }
    latency = document.workload_entry(
        workloads.choose(["latency"])[0], {"rounds": {"lb": [points], "nginx": [points]}, "syscalls": {}}
    )
    idle = document.workload_entry(
        workloads.choose(["idle"])[0],
        {
            "rounds": {
                "lb": [{"bytes": 196.0, "before_bytes": 1}],
                "nginx": [{"bytes": 530.0, "before_bytes": 1}],
            },
            "syscalls": {},
        },
    )
    empty = document.workload_entry(workloads.choose(["tls-resume"])[0], {"rounds": {}, "syscalls": {}})
    options = {"rounds": 3, "seconds": 1.0, "rate": 4000}
    return document.make({"cpu": "<two>"}, options, [load, latency, idle, empty], ["a <note>"])


def test_the_page_stands_alone_and_escapes():
    page = report.render(made_document())
    assert not re.search(r"(?:src|href)=|url\(|@import|<script", page)
    assert "&lt;two&gt;" in page and "a &lt;note&gt;" in page and "<note>" not in page
    assert page.count("<svg") == 4  # CPU, latency, memory, throughput
    assert "nan" not in page.lower().replace("finance", "")


def test_the_table_shows_every_proxy_and_the_ratios():
    made = made_document()
    lines = table.entry_lines(made["workloads"][0])
    row = next(line for line in lines if line.startswith("  relay"))
    assert re.search(r"1\.09 \[1\.09 1\.09\]|1\.0[89] \[", row)
    assert "4.01" in next(line for line in lines if line.startswith("  lb"))
    assert table.entry_lines(made["workloads"][3])[1] == "  nobody was measured"
    assert any(
        line.startswith("  reached") and "196 (<= 300)" in line for line in table.goal_lines(made["goals"])
    )


def test_the_document_survives_json():
    made = made_document()
    assert json.loads(json.dumps(made))["goals"] == made["goals"]


# ---------------------------------------------------------------------------------------------- a real run


def test_a_short_run_measures_the_real_programs(tmp_path, capsys):
    out = tmp_path / "out" / "result.json"
    argv = ["keepalive", "new", "latency", "body-1m", "--rounds", "1", "--seconds", "0.1", "--no-syscalls"]
    argv += [
        "--proxies",
        "relay,relay-splice,lb",
        "--rate",
        "500",
        "--json",
        str(out),
        "--html",
        str(tmp_path / "r.html"),
    ]
    assert cli.main(argv) == 0, capsys.readouterr()
    entries = {entry["name"]: entry for entry in json.loads(out.read_text())["workloads"]}
    for name in ("keepalive", "new", "body-1m"):
        assert entries[name]["rounds"]["lb"][0]["us"] > 0
        assert entries[name]["rounds"]["lb"][0]["requests"] > 0
        assert entries[name]["lb_to"]["relay"]["us"]["rounds"] == 1
    assert entries["latency"]["rounds"]["lb"][0]["requests"] == 50
    assert "lb beside" in (tmp_path / "r.html").read_text()


def test_a_proxy_that_fails_requests_is_not_measured():
    """A control: errors must end a run rather than become fast answers."""
    with pytest.raises(HarnessError, match="keepalive through wrong: .* an unexpected response"):
        backend = RawBackend(lambda exchange: exchange.reply(status=503))
        try:
            proxy = SimpleNamespace(name="wrong", port=backend.port, tls_port=0)
            with LoadRun(proxy, workloads.choose(["keepalive"])[0], 0.1, connections=2) as load:
                load.run()
        finally:
            backend.stop()
