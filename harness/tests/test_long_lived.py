"""Long-lived connections across reloads, faults of backends meanwhile, and the soak's judgement of curves."""

import json
import resource
import subprocess
import sys

import pytest
from lbharness import paths, soak
from lbharness.faults import FAULTS, FAULTY_NAMES, FaultStorm
from lbharness.plan import initial_state, make_plan
from lbharness.profiles import long_lived, profile

from test_zero_drop import run

FEW = ["--idle", 100, "--websockets", 10, "--tcp-tunnels", 10, "--events", 4, "--uploads", 2]


def measured(tmp_path, *arguments, timeout=120):
    path = tmp_path / "result.json"
    code, output = run(*arguments, "--json", path, timeout=timeout)
    if code == 2 and "is not installed" in output:
        pytest.skip("not installed, and cannot be")
    assert path.exists(), output
    return code, json.loads(path.read_text()), output


def test_all_long_lived_kinds_cross_reloads(tmp_path):
    code, result, output = measured(
        tmp_path, "--profile", "long-lived", *FEW, "--reloads", 3, "--interval", 0.5,
        "--html", tmp_path / "r.html",
    )  # fmt: skip
    assert code == 0, output
    kinds = result["ledger"]["long_lived"]
    assert set(kinds) == {"idle", "websocket", "tcp_tunnel", "events", "long_upload"}
    for kind, count in (("websocket", 10), ("tcp_tunnel", 10)):
        assert kinds[kind]["cut"] == 0 and kinds[kind]["connections"] == count, output
        assert [m["long_lived"][kind]["crossed"] for m in result["ledger"]["marks"]] == [count] * 3, output
    talk = {s["kind"]: (s["messages_sent"], s["messages_received"]) for s in result["streams"]}
    assert all(n > 10 for n in (*talk["websocket"], *talk["tcp_tunnel"], talk["events"][1])), talk
    assert all(r["lingered_s"] >= 0 for r in result["reloads"]), "the old processes were watched"
    assert "long-lived" in output and "old processes" in output
    lines = result["ledger"]["timeline"]["connections"]
    websocket = next(line for line in lines if line["kind"] == "websocket")
    assert [s["crossed"] for s in websocket["segments"]] == [0, 1, 2, 3]


def test_haproxy_cuts_what_it_cannot_move(tmp_path):
    """The usual choice: an old process that lingers, and cuts what is left when its time is over."""
    code, result, output = measured(
        tmp_path, "--target", "haproxy", "--profile", "long-lived", "--idle", 20, "--websockets", 4,
        "--tcp-tunnels", 4, "--events", 0, "--uploads", 0, "--linger-max", 1, "--reloads", 3, "--interval", 1,
    )  # fmt: skip
    assert code == 1, output
    kinds = result["ledger"]["long_lived"]
    assert kinds["websocket"]["cut"] >= 4 and kinds["tcp_tunnel"]["cut"] >= 4, output
    drop = next(d for d in result["ledger"]["drops"] if d["kind"] == "websocket")
    assert drop["outcome"] == "truncated" and drop["mark"]["name"].startswith("reload "), drop
    assert max(r["lingered_s"] for r in result["reloads"]) > 0.5, output


def test_faults_of_backends_while_reloads_go_on(tmp_path):
    code, result, output = measured(
        tmp_path, "--faults", "--profile", "quick", "--rate", 600, "--reloads", 8, "--interval", 0.7,
    )  # fmt: skip
    assert code == 0, output
    assert "faults of backends: " in output
    assert result["ledger"]["outcomes"]["excused"] < 0.1 * result["ledger"]["totals"]["attempts"]


def test_plan_of_faults_keeps_the_healthy_ones():
    pool = [f"b{i}" for i in range(1, 7)]
    healthy = set(pool) - set(FAULTY_NAMES)
    plan = make_plan(initial_state(pool), pool, 300, 5, keep=healthy)
    assert all(healthy <= planned.state.names for planned in plan)


def test_storm_commits_every_fault_and_ends():
    class Recorder:
        def __init__(self):
            self.now = {}

        def script(self, name, **script):
            self.now[name] = script

    recorder = Recorder()
    storm = FaultStorm(recorder, 3)
    for _ in range(40):
        storm._next = 0.0
        storm.step()
        assert sum(bool(s) for s in recorder.now.values()) <= 2
    storm.calm()
    assert all(storm.counts[name] for name in [*FAULTS, "flapping"])
    assert not any(recorder.now.values()), "all backends are well again"


def test_counts_of_a_profile_can_be_replaced():
    counts = long_lived("long-lived", {"idle": 5, "websockets": 0, "tcp_tunnels": None})
    streams = {s["kind"]: s["clients"] for s in profile("long-lived", counts=counts)["streams"]}
    assert streams["idle"] == 5 and "websocket" not in streams and streams["tcp_tunnel"] == 100
    assert long_lived("blast", {}).descriptors() == 0


def test_too_few_descriptors_are_told():
    spec = json.dumps({"streams": [{"kind": "idle", "clients": 500}]})
    done = subprocess.run(
        [paths.tool("lb_traffic"), "--target", "127.0.0.1:9", "--spec", "-", "--no-ledger"],
        input=spec + "\n", capture_output=True, text=True, timeout=20,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200)),
    )  # fmt: skip
    assert done.returncode == 2
    assert "needs about 564 descriptors, and the limit is 200" in done.stderr


def samples(value_at, count=40, every=5.0):
    """Samples whose serving process has value_at(seconds) KiB; everything else stands still."""
    steady = {name: 10 for name in soak.BOUNDS}
    return [
        soak.Sample(
            i * every, {**steady, "serving_rss_kib": value_at(i * every), "answered": i, "reloads": i}
        )
        for i in range(count)
    ]


@pytest.mark.parametrize(
    "value_at, flat",
    [
        (lambda t: 50_000, True),
        (lambda t: 50_000 + (t * 7919) % 900, True),  # noise
        (lambda t: 50_000 + min(t, 30) * 300, True),  # fills up at the beginning, then stands
        (lambda t: 50_000 + t * 60, False),  # 60 KiB a second
    ],
)
def test_soak_tells_a_leak_from_noise(value_at, flat):
    rows, verdict = soak.judge(samples(value_at))
    assert verdict is flat, soak.text(rows, verdict, samples(value_at))
    assert {row["name"] for row in rows if not row["flat"]} == (set() if flat else {"serving_rss_kib"})


def test_soak_with_too_few_samples_judges_nothing():
    assert soak.judge(samples(lambda t: 1, count=7))[1] is None


def test_soak_sees_a_counter_that_falls():
    data = samples(lambda t: 1)
    data[20].values["answered"] = 3
    rows, verdict = soak.judge(data)
    assert verdict is False and [r["name"] for r in rows if not r["flat"]] == ["answered (never falls)"]


def test_short_soak(tmp_path):
    argv = [sys.executable, str(paths.ROOT / "harness" / "soak.py"), "--duration", "5", "--interval", "0.5"]
    argv += ["--sample", "0.4", "--profile", "quick", "--rate", "400", "--quiet"]
    argv += ["--out", str(tmp_path / "soak")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120)
    # Whether some seconds are flat says nothing (2: too few samples on a busy machine); that it was watched
    # and nothing was dropped does.
    output = done.stdout + done.stderr
    assert "0 dropped of" in output and done.returncode in (0, 1, 2), output
    data = json.loads((tmp_path / "soak" / "soak.json").read_text())
    assert len(data["samples"]) >= 2 and data["samples"][-1]["serving_rss_kib"] > 1000
    assert (tmp_path / "soak" / "soak.csv").read_text().count("\n") == len(data["samples"]) + 1
    page = (tmp_path / "soak" / "soak.html").read_text()
    assert "<svg" in page and "http://" not in page
