"""What the balancer does without being asked: reload when its file changes, go back from a bad configuration,
start with the last good one; and what it tells of each change."""

import json
import os
import signal

from lbharness import wire
from lbharness.process import wait_until
from lbharness.wire import fetch

PROBATION = {"probation": 60, "requests_min": 20}


def labelled(config, label):
    return {**config, "response_headers": {"X-Config": label}}


def wait_good(lb, since=0):
    """The configuration that serves has proved good."""
    return lb.wait_event("config.good", since=since)


# -- the file watch -------------------------------------------------------------------------------------


def watched(start_lb, config_for, backends, **reload):
    config = config_for(backends, reload={"watch": True, "debounce": 0.02, **reload})
    lb = start_lb(labelled(config, "one"))
    return lb, config


def test_file_renamed_over_is_reloaded(start_lb, config_for, backends):
    lb, config = watched(start_lb, config_for, backends)
    for label in ("two", "three"):
        lb.write(labelled(config, label))
        wire.wait_answer(lb.address, 5, lambda r, wanted=label: r.label == wanted)


def test_file_written_in_place_is_reloaded(start_lb, config_for, backends):
    lb, config = watched(start_lb, config_for, backends)
    lb.config_path.write_text(json.dumps(labelled(config, "two")))
    wire.wait_answer(lb.address, 5, lambda r: r.label == "two")


def test_swapped_links_of_a_mounted_configuration_map(start_lb, config_for, backends):
    """lb.json -> ..data/lb.json, and ..data is replaced by a rename: the file itself is never touched."""
    config = config_for(backends, reload={"watch": True, "debounce": 0.02})
    lb = start_lb(labelled(config, "one"), spawn_only=True)
    lb.stop()
    folder = lb.config_path.parent
    for version in ("one", "two"):
        (folder / f"..{version}").mkdir()
        (folder / f"..{version}" / "lb.json").write_text(json.dumps(labelled(config, version)))
    (folder / "..data").symlink_to("..one")
    lb.config_path.unlink()
    lb.config_path.symlink_to("..data/lb.json")
    lb.start(None)
    (folder / "..tmp").symlink_to("..two")
    os.rename(folder / "..tmp", folder / "..data")
    wire.wait_answer(lb.address, 5, lambda r: r.label == "two")


def test_same_content_is_no_reload(start_lb, config_for, backends):
    lb, config = watched(start_lb, config_for, backends)
    os.utime(lb.config_path)
    lb.write(labelled(config, "one"))
    # A change that does count shows that the others have been seen by then.
    lb.write(labelled(config, "two"))
    wire.wait_answer(lb.address, 5, lambda r: r.label == "two")
    assert lb.status()["reloads"]["requested"] == 1


def test_bad_file_is_rejected_and_its_correction_is_reloaded(start_lb, config_for, backends):
    lb, config = watched(start_lb, config_for, backends)
    since = lb.log_position()
    lb.write("{ not this")
    lb.wait_event("reload.rejected", since=since)
    assert fetch(lb.address).label == "one"
    lb.write(labelled(config, "two"))
    wire.wait_answer(lb.address, 5, lambda r: r.label == "two")


def test_a_reload_by_hand_is_not_repeated_by_the_watch(start_lb, config_for, backends):
    lb, config = watched(start_lb, config_for, backends, probation=0)
    lb.reload_config(labelled(config, "two"))
    lb.reload_config(labelled(config, "three"))
    lb.write(labelled(config, "four"))
    wire.wait_answer(lb.address, 5, lambda r: r.label == "four")
    by_watch = [e for e in lb.events("reload.requested") if "file watch" in e["message"]]
    assert len(by_watch) == 1


def test_watch_can_be_switched_by_a_reload(start_lb, config_for, backends):
    lb, config = watched(start_lb, config_for, backends)
    lb.write({**config, "reload": {"watch": False}})
    wait_until(lambda: lb.status()["current"] == 2, what="generation 2")
    assert lb.status()["watch"] is False
    lb.reload_config({**config, "reload": {"watch": True, "debounce": 0.02}})
    lb.write(labelled(config, "watched again"))
    wire.wait_answer(lb.address, 5, lambda r: r.label == "watched again")


def test_the_next_supervisor_watches_too(start_lb, config_for, backends):
    """It finds a generation at work, and knows of it and its file only what it reads itself."""
    port = wire.free_port()
    lb, config = watched(start_lb, config_for, backends, probation=0)
    config = {**config, "listen": f"127.0.0.1:{port}"}
    lb.stop()
    lb.start(labelled(config, "one"))
    os.kill(lb.pid, signal.SIGKILL)
    lb.child.wait()
    lb.start(None)
    lb.write(labelled(config, "two"))
    wire.wait_answer(lb.address, 5, lambda r: r.label == "two")
    changes = lb.status()["reloads"]["history"][0]["changes"]
    assert [change["path"] for change in changes] == ["/response_headers/X-Config"], changes


# -- probation ------------------------------------------------------------------------------------------


def on_probation(start_lb, config_for, backends, **keys):
    """A balancer whose first configuration has proved good, and that judges the next one by its traffic."""
    config = config_for([backends.config("b1")], reload={"probation": 0}, **keys)
    lb = start_lb(labelled(config, "good"))
    wait_good(lb)
    for _ in range(30):
        assert fetch(lb.address).status == 200
    return lb, {**config, "reload": PROBATION}


def test_errors_of_a_backend_undo_the_reload(start_lb, config_for, backends):
    lb, config = on_probation(start_lb, config_for, backends)
    backends.script("b2", status=500)
    since = lb.log_position()
    lb.reload_config(labelled({**config, "backends": [backends.config("b2")]}, "bad"))
    for _ in range(30):
        assert fetch(lb.address).status == 500
    undone = lb.wait_event("reload.rolled_back", since=since)
    response = fetch(lb.address)
    assert (response.status, response.label) == (200, "good")
    why = lb.wait_event("reload.rollback", since=since)["message"]
    assert "b2" in why and "30" in why
    record = lb.status()["reloads"]["history"][0]
    assert record["rollback"] and record["applied"] and "b2" in record["reason"]
    assert record["generation"] == undone["generation"]
    assert lb.status()["reloads"]["rolled_back"] == 1


def test_an_outage_that_hits_old_and_new_alike_is_no_reason(start_lb, config_for, backends):
    config = config_for([backends.config("b1")], reload=PROBATION)
    lb = start_lb(labelled({**config, "reload": {"probation": 0}}, "good"))
    wait_good(lb)
    backends.script("b1", status=500)
    for _ in range(40):
        fetch(lb.address)
    wait_until(lambda: lb.status()["backends"][0]["failures"] >= 40, what="the failures to be counted")
    lb.reload_config(labelled({**config, "reload": {**PROBATION, "probation": 3}}, "same backend"))
    for _ in range(60):
        fetch(lb.address)
    wait_until(lambda: not lb.status()["last_good"]["probation"], timeout=15, what="the end of the probation")
    assert lb.status()["current"] == 2 and lb.status()["reloads"]["rolled_back"] == 0


def test_death_on_probation_brings_the_last_good_configuration_back(start_lb, config_for, backends):
    lb, config = on_probation(start_lb, config_for, backends)
    lb.reload_config(labelled(config, "dies"))
    since = lb.log_position()
    os.kill(lb.current()["pid"], signal.SIGKILL)
    lb.wait_event("generation.resumed", since=since)
    assert fetch(lb.address).label == "good"
    assert "last good" in lb.wait_event("reload.rolled_back", since=since)["message"]


def test_death_after_probation_starts_the_same_configuration(start_lb, config_for, backends):
    lb, config = on_probation(start_lb, config_for, backends)
    since = lb.log_position()
    lb.reload_config(labelled({**config, "reload": {"probation": 0.05}}, "proved"))
    wait_good(lb, since)
    os.kill(lb.current()["pid"], signal.SIGKILL)
    lb.wait_event("generation.restarted", since=since)
    assert fetch(lb.address).label == "proved"


def test_a_failed_configuration_is_not_tried_again_by_the_watch(start_lb, config_for, backends):
    lb, config = on_probation(start_lb, config_for, backends)
    watch = {"watch": True, "debounce": 0.02}
    lb.reload_config(labelled({**config, "reload": {"probation": 0, **watch}}, "good"))
    config["reload"] = {**PROBATION, **watch}
    backends.script("b2", status=500)
    bad = labelled({**config, "backends": [backends.config("b2")]}, "bad")
    lb.write(bad)
    wire.wait_answer(lb.address, 5, lambda r: r.status == 500)
    for _ in range(30):
        fetch(lb.address)
    wire.wait_answer(lb.address, 5, lambda r: r.label == "good")
    since = lb.log_position()
    lb.write(labelled(config, "another"))
    wire.wait_answer(lb.address, 5, lambda r: r.label == "another")
    lb.write(bad)
    lb.wait_event("watch.not_tried", since=since)
    assert fetch(lb.address).label == "another"
    assert lb.reload_cli().code == 0, "by hand it can be tried"


# -- the last good configuration over restarts ----------------------------------------------------------


def test_the_last_good_configuration_serves_when_the_file_is_bad(start_lb, config_for, backends, tmp_path):
    kept = tmp_path / "kept.json"
    options = {"arguments": ["--last-good", kept, "--fallback-last-good"]}
    lb = start_lb(labelled(config_for(backends, reload={"probation": 0}), "good"), options=options)
    wait_good(lb)
    assert json.loads(kept.read_text())["response_headers"] == {"X-Config": "good"}
    assert kept.stat().st_mode & 0o077 == 0, "it may hold secrets"
    lb.stop()
    lb.write('{"listen_port": 70000}')
    lb.start(None)
    assert fetch(lb.address).label == "good"
    warning = lb.wait_event("start.fallback")["message"]
    assert "/listen_port" in warning
    assert lb.reload_cli().code == 1, "the file is still bad"


def test_without_the_option_a_bad_file_stops_the_start(start_lb, config_for, backends, tmp_path):
    kept = tmp_path / "kept.json"
    lb = start_lb(
        config_for(backends, reload={"probation": 0}), options={"arguments": ["--last-good", kept]}
    )
    wait_good(lb)
    lb.stop()
    lb.write("{")
    lb.spawn()
    assert lb.child.wait(10) == 1


def test_a_kept_configuration_that_is_bad_itself(start_lb, config_for, backends, tmp_path):
    kept = tmp_path / "kept.json"
    kept.write_text("{")
    options = {"arguments": ["--last-good", kept, "--fallback-last-good"]}
    lb = start_lb("{", spawn_only=True, options=options)
    assert lb.child.wait(10) == 1


def test_nowhere_to_keep_it_is_no_reason_to_stop(start_lb, config_for, backends, tmp_path):
    options = {"arguments": ["--last-good", tmp_path / "missing" / "kept.json"]}
    lb = start_lb(config_for(backends, reload={"probation": 0}), options=options)
    lb.wait_event("last_good.not_kept")
    assert fetch(lb.address).status == 200


# -- what changed ---------------------------------------------------------------------------------------


def test_a_reload_tells_what_it_changed(start_lb, config_for, backends):
    config = config_for(backends)
    lb = start_lb(config)
    since = lb.log_position()
    result = lb.reload_config({**config, "algorithm": "ip_hash", "backends": config["backends"][1:]})
    assert "  ~ algorithm: round_robin -> ip_hash" in result.out
    assert "  - backend b1 removed" in result.out
    record = lb.status()["reloads"]["history"][0]
    assert [c["path"] for c in record["changes"]] == ["/algorithm", "/backends/b1"]
    assert record["changes"][0]["before"] == "round_robin"
    told = [e["message"] for e in lb.events("reload.change", since=since)]
    assert len(told) == 2 and told[0] == "algorithm: round_robin -> ip_hash"


def test_a_rejected_reload_tells_no_change(start_lb, config_for, backends):
    config = config_for(backends)
    lb = start_lb(config)
    lb.write({**config, "algorithm": "ip_hash", "listen": "192.0.2.1:80"})
    answer = lb.reload_cli("--json")
    assert answer.code == 1 and answer.json()["changes"] == []
    assert not lb.events("reload.change")


def test_many_changes_are_counted_not_listed(start_lb, config_for, backends):
    config = config_for([{**backends.config("b1"), "name": f"n{i}"} for i in range(300)])
    lb = start_lb(config)
    lb.write({**config, "backends": [{**b, "weight": 2} for b in config["backends"]]})
    answer = lb.reload_cli("--json").json()
    assert answer["changes_total"] == 300 and len(answer["changes"]) == 200
    assert len(lb.events("reload.change")) == 21


# -- YAML -----------------------------------------------------------------------------------------------


def test_a_balancer_on_yaml(start_lb, config_for, backends):
    lb = start_lb(config_for(backends), spawn_only=True)
    lb.stop()
    lb.config_path = lb.config_path.with_suffix(".yaml")
    text = f"""\
listen: 127.0.0.1:0
backends:
  - host: 127.0.0.1
    port: {backends.port("b1")}
response_headers:
  X-Config: one
"""
    lb.start(text)
    assert fetch(lb.address).label == "one"
    result = lb.reload_config(text.replace("one", "two"))
    assert 'response_headers.X-Config: "one" -> "two"' in result.out
    assert fetch(lb.address).label == "two"
    lb.write(text.replace("port: ", "port: x"))
    refused = lb.reload_cli()
    assert refused.code == 1 and "lb.yaml:4:11: /backends/0/port: " in refused.err
    os.kill(lb.current()["pid"], signal.SIGKILL)
    wire.wait_answer(lb.address, 10, lambda r: r.label == "two")
