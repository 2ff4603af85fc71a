"""The process that holds a submission's code, seen from the grader: see harness/labs/wire.hpp for the
protocol.

The judge is here, the code is there. What the process prints and how it exits is evidence for the story,
never a verdict.
"""
import json
import os
import select
import signal
import socket
import subprocess
import tempfile
import time

from . import contain, explain
from .check import CheckFailed, CouldNotGrade, NotImplementedYet

LINE_BYTES_MAX = 16 << 20
LOG_BYTES_SHOWN, REPORT_BYTES_MAX = 4000, 256 << 10
_FORGED = "it is written to that channel: only what the code does is judged, nothing that it says"
PATIENCE = 10
SANITIZERS = {
    "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=8:strict_string_checks=1:"
                    "detect_stack_use_after_return=1",
    "UBSAN_OPTIONS": "print_stacktrace=0",
}


def environment():
    """What a submission's process finds in its environment: nothing of the grader's."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LANG": "C.UTF-8", "HOME": os.getcwd(),
            "TMPDIR": os.getcwd(), **SANITIZERS}


class _Patience:
    """How long one answer may take. On a machine that is busy with other things a process that computes is
    given the processor time that it would have had, up to PATIENCE times as long; one that sleeps is not."""

    def __init__(self, pid, seconds_max):
        self._pid, self._seconds_max = pid, seconds_max
        self._began, self._used = time.monotonic(), self._processor_seconds()[0]

    def wait(self, channel):
        """Until there is something to read; False: it hangs."""
        while True:
            over = time.monotonic() - self._began
            left = self._seconds_max - over
            if left <= 0:
                used, computes = self._processor_seconds()
                enough = used - self._used >= self._seconds_max or over > PATIENCE * self._seconds_max
                if enough or not computes:
                    return bool(select.select([channel], [], [], 0)[0])
                left = 0.05
            if select.select([channel], [], [], left)[0]:
                return True

    def _processor_seconds(self):
        """(used so far, whether it wants more)"""
        try:
            with open(f"/proc/{self._pid}/stat") as file:
                fields = file.read().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), fields[0] in "RD"
        except (OSError, ValueError, IndexError):
            return 0.0, False


class Student:
    """One runner process. ask() sends a request and returns the answer; calls that the submission makes while
    it answers go to `on_call`, a function from the message to its result."""

    def __init__(self, program, seconds_max=2.0, on_call=None, prefix=(), env=None, limits=None):
        limits = limits or contain.Limits()
        self.program, self.seconds_max, self.on_call = str(program), seconds_max, on_call
        ours, theirs = socket.socketpair()
        self._socket, self._input = ours, b""
        self._output = tempfile.TemporaryFile()
        fd = theirs.fileno()
        try:
            self._child = subprocess.Popen(
                [*prefix, self.program, str(fd)], stdin=subprocess.DEVNULL, stdout=self._output,
                stderr=self._output, start_new_session=True, env=environment() if env is None else env,
                pass_fds=(fd,), preexec_fn=lambda: contain.confine(limits))
        except (OSError, subprocess.SubprocessError) as error:
            raise CouldNotGrade(f"{self.program}: {error}", "environment") from error
        finally:
            theirs.close()

    def ask(self, do, **arguments):
        """The answer of one request. Raises CheckFailed when the submission throws, hangs, crashes or
        leaves."""
        self._send({"do": do, **arguments})
        patience = _Patience(self._child.pid, self.seconds_max)
        while True:
            message = self._receive(patience)
            if "return" in message:
                return message["return"]
            if "not_implemented" in message:
                raise NotImplementedYet(str(message["not_implemented"]))
            if "threw" in message:
                raise CheckFailed("the call returns", f"an exception: {message['threw']}", self.output())
            if self.on_call is None or "call" not in message:
                raise CheckFailed("the call returns", "something else on the grader's own channel",
                                  self.output(), _FORGED)
            self._send({"result": self.on_call(message)})

    def output(self, bytes_max=LOG_BYTES_SHOWN):
        """The end of what the process printed; after close(), too."""
        if self._output.closed:
            return self._last_output
        size = self._output.seek(0, os.SEEK_END)
        self._output.seek(max(0, size - bytes_max))
        return self._output.read().decode(errors="replace").strip()

    def close(self):
        if self._output.closed:
            return
        self._socket.close()
        try:
            os.killpg(self._child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self._child.wait()
        self._last_output = self.output()
        self._output.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _send(self, message):
        try:
            self._socket.settimeout(self.seconds_max)
            self._socket.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            pass  # it is gone or stuck: the next receive says which

    def _receive(self, patience):
        while b"\n" not in self._input:
            if not patience.wait(self._socket):
                raise CheckFailed(f"the call returns within {self.seconds_max:g} s", "none: it hangs",
                                  self.output(),
                                  "a loop without end, or a call that waits for something")
            try:
                part = self._socket.recv(1 << 16)
            except OSError:
                part = b""
            if not part:
                raise self._ended_failure()
            self._input += part
            if len(self._input) > LINE_BYTES_MAX:
                raise CheckFailed("the call returns", "an answer of more than 16 MiB", self.output())
        line, self._input = self._input.split(b"\n", 1)
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise CheckFailed("the call returns", "garbage on the grader's own channel", self.output(),
                              _FORGED)
        return message

    def _ended_failure(self):
        """The process closed its end: how, and why if its output says so."""
        try:
            status = self._child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            return CheckFailed("the call returns", "the end of the grader's channel; the program goes on",
                               self.output(), "descriptors are closed that the code did not open")
        seen, usually, log = explain.ended(status, self.output(REPORT_BYTES_MAX))
        return CheckFailed("the call returns", seen, log, usually)
