"""The harness's own parts, without a balancer: processes, plans, the strict client, table and report."""

import html.parser
import os
import random
import re
import socket
import sys
import threading

import pytest
import synthetic
from lbharness import ChildDied, NotReady, report, table, wire
from lbharness.plan import BAD_KINDS, LB_CHANGES, initial_state, make_plan
from lbharness.process import Child, JsonChild, descendants, wait_until

POOL = tuple(f"b{i}" for i in range(1, 7))
PYTHON = sys.executable
PARENT = (
    "import subprocess, time; subprocess.Popen(['sleep', '60']);"
    "print('up', flush=True); time.sleep(60)"
)


# ---- processes -------------------------------------------------------------------------------------


def test_child_that_dies_fails_the_waiting_at_once():
    child = Child("dying", [PYTHON, "-c", "import sys; print('last words', file=sys.stderr); sys.exit(3)"])
    with pytest.raises(ChildDied, match="exit status 3(.|\n)*last words"):
        child.wait_line(lambda line: "never" in line, timeout=30)


def test_child_that_is_silent_is_not_ready():
    child = Child("silent", [PYTHON, "-c", "import time; time.sleep(60)"])
    with pytest.raises(NotReady, match="waited 0.2 s"):
        child.wait_line(lambda line: True, timeout=0.2)
    child.stop(timeout=2)


def test_whole_session_is_gone_after_stop():
    child = Child("parent", [PYTHON, "-c", PARENT])
    child.wait_line(lambda line: line == "up", stream="stdout")
    pids = {child.pid, *descendants(child.pid)}
    assert len(pids) == 2
    child.stop(timeout=2)
    assert not pids & set(descendants(os.getpid()))


def test_orphans_are_found_and_ended():
    """A grandchild in the same session whose parent was killed outright."""
    child = Child("parent", [PYTHON, "-c", PARENT])
    child.wait_line(lambda line: line == "up", stream="stdout")
    orphan = descendants(child.pid)[0]
    os.kill(child.pid, 9)
    wait_until(lambda: not child.alive(), what="the parent to die")
    assert orphan in descendants(os.getpid())
    child.stop()
    assert orphan not in descendants(os.getpid())


def test_json_child_that_does_not_answer():
    child = JsonChild(
        "mute", [PYTHON, "-c", "import sys; sys.stdin.readline(); print('{\"other\":1}', flush=True)"]
    )
    with pytest.raises(ChildDied):
        child.command({"cmd": "x"}, timeout=10)


# ---- plans -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_every_reload_of_a_plan_changes_something_real(seed):
    first = initial_state(POOL)
    state = first
    for planned in make_plan(first, POOL, 60, seed, bad_every=7):
        if planned.bad:
            assert planned.number % 7 == 0 and planned.bad in BAD_KINDS and planned.state == state
            continue
        was = (state.backends, state.algorithm, state.workers, state.extra_listeners)
        now = planned.state
        assert was != (now.backends, now.algorithm, now.workers, now.extra_listeners), planned.text
        assert now.label == planned.number and len(now.names) == len(now.backends) >= 2
        state = now


def test_plans_are_repeatable_and_varied():
    first = initial_state(POOL)
    plans = [make_plan(first, POOL, 40, seed) for seed in (1, 1, 2)]
    assert plans[0] == plans[1] != plans[2]
    words = " ".join(p.text for p in plans[0])
    assert all(
        word in words
        for word in ("add", "remove", "weight of", "listen on", "stop listening", "workers", "algorithm")
    ), LB_CHANGES
    assert any(p.by_signal for p in plans[0]) and not all(p.by_signal for p in plans[0])


# ---- the client ------------------------------------------------------------------------------------


def serve_once(data, close=True):
    """A server that answers the first connection with these bytes."""
    listener = socket.create_server(("127.0.0.1", 0))

    def run():
        connection, _ = listener.accept()
        connection.recv(65536)
        connection.sendall(data)
        if not close:
            connection.recv(1)
        connection.close()
        listener.close()

    threading.Thread(target=run, daemon=True).start()
    return listener.getsockname()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 0\n\n",
    ],
)
def test_client_repairs_nothing(data):
    with pytest.raises((wire.WireError, ValueError)):
        wire.fetch(serve_once(data))


def test_client_reads_what_is_right():
    response = wire.fetch(
        serve_once(
            b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;x=y\r\nabc\r\n0\r\nX-T: 1\r\n\r\n"
        )
    )
    assert (response.status, response.body, response.trailers) == (200, b"abc", [("X-T", "1")])
    assert [r.status for r in response.interim] == [103]


# ---- table and report ------------------------------------------------------------------------------


class Page(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.scripts, self.fetched = [], 0, []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "link", "br", "img", "input", "hr"):
            self.open.append(tag)
        self.scripts += tag == "script"
        self.fetched += [v for k, v in attributes if k in ("src", "href")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("drops", [0, 9])
def test_report_is_one_safe_file(drops):
    text = report.render(synthetic.result(reloads=12, drops=drops))
    page = Page()
    page.feed(text)
    assert page.open == [] and page.fetched == [], "complete, and nothing is fetched"
    assert page.scripts == 2, "text of the run cannot open an element"
    assert (
        "{{"
        not in re.sub(r'<script type="application/json".*?</script>', "", text, flags=re.S).split(
            "<script>"
        )[0]
    )


def test_table_shows_what_was_dropped():
    text = table.render(synthetic.result(drops=9))
    assert "9 dropped of" in text and "closed under a request" in text and "Clopper-Pearson" in text
    text = table.render(synthetic.result(drops=0))
    assert "0 dropped of" in text and "[3/n]" in text and "closed under" not in text and "\x1b" not in text


def test_seeds_of_this_suite_are_used(rng):
    assert isinstance(rng, random.Random)
