"""Cells: whatever happens in one, it ends, and says how."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from lbgrader import contain
from lbgrader.contain import Cell, Limits

SPACES = [pytest.param(None, id="all that is permitted"), pytest.param(frozenset(), id="none")]


@pytest.fixture(params=SPACES)
def cell(request):
    """cell(function, **limits): how a cell ended in which `function(emit, scratch)` ran."""

    def run(function, **limits):
        return Cell(Limits(**limits), request.param).run(function)

    return run


def test_messages_and_result(cell):
    def function(emit, _scratch):
        emit({"a": 1})
        return {"b": 2}

    ended = cell(function)
    assert ended.messages == [{"a": 1}, {"b": 2}]
    assert (ended.status, ended.exceeded, ended.leftovers) == (0, "", [])


def test_time_is_up(cell):
    began = time.monotonic()
    ended = cell(lambda emit, _: emit({"a": 1}) or time.sleep(60), seconds=0.3)
    assert ended.exceeded == "time" and ended.messages == [{"a": 1}]
    assert time.monotonic() - began < 10


def test_a_process_in_a_session_of_its_own_is_found_and_ended(cell):
    def function(_emit, _scratch):
        subprocess.Popen(["setsid", "sleep", "4711"])
        while b"sleep" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, check=False).stdout:
            pass
        return {}

    ended = cell(function)
    assert any("sleep 4711" in line for line in ended.leftovers)
    assert b"sleep 4711" not in subprocess.run(["ps", "-eo", "args"], capture_output=True, check=False).stdout


def test_too_many_processes(cell):
    def function(_emit, _scratch):
        for _ in range(10):
            subprocess.Popen(["sleep", "60"])
        time.sleep(60)

    assert cell(function, processes=5).exceeded == "more than 5 processes"


def test_too_much_memory(cell):
    def function(_emit, _scratch):
        code = "import time; b = b'x' * (200 << 20); time.sleep(60)"
        child = subprocess.Popen([sys.executable, "-c", code])
        child.wait()
        return {"ended": child.returncode}

    ended = cell(function, memory_bytes=100 << 20)
    assert ended.exceeded == "more than 100 MiB of memory"
    assert ended.messages == [{"ended": -signal.SIGKILL}]


def test_a_judge_that_is_killed(cell):
    ended = cell(lambda _emit, _scratch: os.kill(os.getpid(), signal.SIGKILL))
    assert os.WIFSIGNALED(ended.status) and os.WTERMSIG(ended.status) == signal.SIGKILL
    assert ended.messages == []


def test_a_judge_that_raises(cell):
    ended = cell(lambda _emit, _scratch: 1 / 0)
    assert ended.messages == [] and os.waitstatus_to_exitcode(ended.status) == 70


def test_scratch_is_the_working_directory_and_gone_afterwards(cell):
    def function(_emit, scratch):
        (scratch / "file").write_text("x")
        return {"cwd": os.getcwd(), "listed": os.listdir(".")}

    message = cell(function).messages[0]
    assert message["listed"] == ["file"] and not os.path.exists(message["cwd"])


@pytest.mark.skipif("files" not in contain.spaces(), reason="namespaces are not permitted here")
def test_everything_else_is_read_only(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("still here")

    def function(_emit, _scratch):
        try:
            victim.unlink()
        except OSError as error:
            return {"errno": error.errno}
        return {"errno": 0}

    assert Cell(Limits()).run(function).messages == [{"errno": 30}]
    assert victim.read_text() == "still here"


@pytest.mark.skipif("net" not in contain.spaces(), reason="namespaces are not permitted here")
def test_ports_in_a_cell_are_not_ours():
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen(1)
        port = ours.getsockname()[1]

        def function(_emit, _scratch):
            with socket.socket() as theirs:
                theirs.bind(("127.0.0.1", port))
            return {"bound": True}

        assert Cell(Limits()).run(function).messages == [{"bound": True}]
