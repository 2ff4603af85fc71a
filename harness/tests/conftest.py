"""Fixtures: a balancer, fake backends, and the promise that no test leaves a process behind.

LB_BIN or LB_BUILD_DIR choose what is tested, LB_SEED repeats a run.
"""

import os
import random
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lbharness import Backends, Balancer, RawBackend  # noqa: E402
from lbharness import process  # noqa: E402

ENDING_S = 2.0  # a process may be on its way out when the test ends
SEED = int(os.environ.get("LB_SEED") or int.from_bytes(os.urandom(4), "big"))


def pytest_report_header():
    return f"seed: LB_SEED={SEED}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """A failed test shows what every process it started has written."""
    outcome = yield
    report = outcome.get_result()
    if report.failed and call.when != "teardown":
        for child in list(process._live):
            report.sections.append((f"log of {child.name}", child.log_text(lines=40)))
        report.sections.append(("seed", f"LB_SEED={SEED}"))


@pytest.fixture(autouse=True)
def nothing_left_behind(request):
    """Whatever a test starts is gone when it ends."""
    before = set(process.descendants(os.getpid()))
    yield
    deadline = time.monotonic() + ENDING_S
    while left := [pid for pid in process.descendants(os.getpid()) if pid not in before]:
        process.reap_orphans()
        if time.monotonic() > deadline:
            break
        time.sleep(0.002)
    lines = [f"{pid}: {process.command_line(pid)}" for pid in left if process.process_state(pid)]
    for pid in left:
        process.kill_process(pid)
    assert not lines, f"processes left behind by {request.node.name}: {lines}"


@pytest.fixture
def rng(request):
    """Random numbers that depend on the seed and the test alone."""
    return random.Random(f"{SEED} {request.node.nodeid}")


@pytest.fixture
def backends():
    """Three fake backends, b1 b2 b3."""
    with Backends(["b1", "b2", "b3"]) as three:
        yield three


@pytest.fixture
def start_lb(tmp_path):
    """start_lb(config) or start_lb(backends=[...], key=value...): a balancer that serves."""
    started = []

    def start(config=None, *, spawn_only=False, options=None, **keys):
        where = tmp_path / f"lb{len(started)}"
        where.mkdir()
        lb = Balancer(directory=where, seed=SEED % 2**31, **(options or {}))
        started.append(lb)
        if config is None:
            config = basic_config(**keys)
        if spawn_only:
            lb.write(config)
            return lb.spawn()
        return lb.start(config)

    yield start
    for lb in started:
        lb.stop()


def basic_config(backends, **keys):
    """A configuration on a port of the kernel's choice. `backends`: Backends, RawBackend, or entries."""
    if isinstance(backends, Backends):
        entries = [backends.config(name) for name in backends.names]
    elif isinstance(backends, RawBackend):
        entries = [backends.config()]
    else:
        entries = [b.config() if isinstance(b, RawBackend) else b for b in backends]
    return {"listen": "127.0.0.1:0", "workers": 2, "backends": entries, **keys}


@pytest.fixture
def config_for():
    return basic_config


@pytest.fixture
def raw_backend():
    """raw_backend(handler): a backend in Python whose every byte the test decides."""
    made = []

    def make(handler=lambda exchange: exchange.reply(), **options):
        made.append(RawBackend(handler, **options))
        return made[-1]

    yield make
    for backend in made:
        backend.stop()


@pytest.fixture
def proxy(start_lb, raw_backend):
    """proxy(handler, key=value...): (balancer, raw backend behind it)."""

    def make(handler=lambda exchange: exchange.reply(), **keys):
        backend = raw_backend(handler)
        return start_lb(backends=backend, **keys), backend

    return make


@pytest.fixture(scope="module")
def shared_rig(tmp_path_factory):
    from rfc_rig import Rig

    made = Rig(tmp_path_factory.mktemp("rfc"))
    yield made
    made.stop()


@pytest.fixture
def rig(shared_rig):
    """One balancer a module, and its backend, which answers 200 until told otherwise (rfc_rig.py)."""
    shared_rig.answers_ok()
    return shared_rig
