"""Child processes that cannot be left behind, and what the kernel says about a process.

A Child runs in a session of its own; its output is read by threads, so that it never blocks on a full pipe
and its log can be shown when something fails. Whoever waits for a line of a child that dies is told so at
once. The harness makes itself the reaper of orphans: generations of a balancer whose supervisor was killed
become our children and are found by kill_leftovers().
"""

import atexit
import collections
import contextlib
import ctypes
import json
import os
import shutil
import signal
import subprocess
import threading
import time
import weakref
from pathlib import Path

from .errors import ChildDied, NotReady

LOG_LINES_MAX = 50_000
LOG_LINES_SHOWN = 60
_PR_SET_CHILD_SUBREAPER = 36

_live = weakref.WeakSet()


def now_ns():
    """CLOCK_MONOTONIC, the clock of every ledger."""
    return time.monotonic_ns()


class Child:
    """One process. `name` is for people. Output of both streams is kept, at most LOG_LINES_MAX lines each."""

    def __init__(self, name, argv, *, stdin=False, env=None, cwd=None, die_with_parent=True):
        become_subreaper()
        self.name = name
        self.argv = [str(a) for a in argv]
        command = self.argv
        if die_with_parent and shutil.which("setpriv"):
            # Should the harness be killed outright, the kernel takes its children along.
            command = ["setpriv", "--pdeathsig", "TERM", "--", *self.argv]
        full_env = dict(os.environ)
        full_env.pop("LISTEN_FDS", None)
        full_env.update(env or {})
        self._changed = threading.Condition()
        self._lines = {
            "stdout": collections.deque(maxlen=LOG_LINES_MAX),
            "stderr": collections.deque(maxlen=LOG_LINES_MAX),
        }
        self._seen = {"stdout": 0, "stderr": 0}  # lines ever read, so that positions survive the bound
        self._open_streams = 2
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env=full_env,
            cwd=cwd,
        )
        self.pid = self._process.pid
        self.returncode = None
        for stream in ("stdout", "stderr"):
            threading.Thread(target=self._read, args=(stream,), daemon=True).start()
        threading.Thread(target=self._wait, daemon=True).start()
        _live.add(self)

    # -- output -------------------------------------------------------------------------------------

    def _read(self, stream):
        pipe = getattr(self._process, stream)
        for raw in pipe:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            with self._changed:
                self._lines[stream].append((now_ns(), line))
                self._seen[stream] += 1
                self._changed.notify_all()
        with self._changed:
            self._open_streams -= 1
            self._changed.notify_all()

    def _wait(self):
        code = self._process.wait()
        with self._changed:
            self.returncode = code
            self._changed.notify_all()

    def position(self, stream="stderr"):
        """A mark in the output; hand it to wait_line() to look only at what comes after."""
        with self._changed:
            return self._seen[stream]

    def lines(self, stream="stderr", since=0):
        with self._changed:
            return [line for _, line in self._since(stream, since)]

    def _since(self, stream, since):
        kept = self._lines[stream]
        first = self._seen[stream] - len(kept)
        skip = max(0, since - first)
        return list(kept)[skip:] if skip else list(kept)

    def wait_line(self, wanted, *, stream="stderr", since=0, timeout=10.0, what="a line of its output"):
        """The first line for which `wanted(line)` gives something true: (that, time it was read).
        ChildDied when the process ends before, NotReady when the time is over."""
        deadline = time.monotonic() + timeout
        position = since
        with self._changed:
            while True:
                fresh = self._since(stream, position)
                position = self._seen[stream]
                for at, line in fresh:
                    found = wanted(line)
                    if found:
                        return found, at
                if self.returncode is not None and self._open_streams == 0:
                    break
                left = deadline - time.monotonic()
                if left <= 0:
                    break
                self._changed.wait(min(left, 0.25 if self.returncode is not None else left))
        if self.returncode is not None:
            raise ChildDied(
                f"{self.name} ended ({exit_text(self.returncode)}) before {what}\n{self.log_text()}"
            )
        raise NotReady(f"{self.name}: waited {timeout:g} s for {what}\n{self.log_text()}")

    def log_text(self, lines=LOG_LINES_SHOWN):
        """The end of both streams, for a failure message."""
        out = [f"--- {self.name}: {' '.join(self.argv)}  (pid {self.pid}, {exit_text(self.returncode)})"]
        for stream in ("stdout", "stderr"):
            kept = [line for line in self.lines(stream) if '"event":"progress"' not in line]
            if len(kept) > lines:
                out.append(f"    ... {len(kept) - lines} earlier lines of {stream}")
            out += [f"    {stream}: {line}" for line in kept[-lines:]]
        return "\n".join(out)

    # -- input --------------------------------------------------------------------------------------

    def send_line(self, text):
        try:
            self._process.stdin.write(text.encode() + b"\n")
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError, OSError) as error:
            raise ChildDied(f"{self.name} does not read its input: {error}\n{self.log_text()}") from error

    def close_input(self):
        if self._process.stdin and not self._process.stdin.closed:
            try:
                self._process.stdin.close()
            except OSError:
                pass

    # -- life ---------------------------------------------------------------------------------------

    def alive(self):
        return self.returncode is None

    def check_alive(self):
        if self.returncode is not None:
            raise ChildDied(f"{self.name} died ({exit_text(self.returncode)})\n{self.log_text()}")

    def send_signal(self, number):
        if self.returncode is None:
            os.kill(self.pid, number)

    def wait(self, timeout=10.0):
        """Its exit status; negative for a signal. NotReady when it does not end in time."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self.returncode is None:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise NotReady(f"{self.name} did not end within {timeout:g} s\n{self.log_text()}")
                self._changed.wait(left)
            while self._open_streams and time.monotonic() < deadline:
                # What it wrote last is read before anyone looks; a grandchild may hold the pipe longer.
                if not self._changed.wait(0.2):
                    break
        return self.returncode

    def stop(self, gentle=signal.SIGTERM, timeout=5.0):
        """Ends it: asks, then kills its whole session. Never raises."""
        self.close_input()
        try:
            self.send_signal(gentle)
            self.wait(timeout)
        except (NotReady, ProcessLookupError):
            pass
        kill_session(self.pid)
        try:
            self.wait(5.0)
        except NotReady:
            pass
        _live.discard(self)


class JsonChild(Child):
    """A tool that talks JSON lines: commands on standard input, answers and events on standard output."""

    def __init__(self, name, argv, **options):
        super().__init__(name, argv, stdin=True, **options)

    def command(self, command, timeout=10.0, is_answer=None):
        """Sends a command and returns the line that answers it."""
        since = self.position("stdout")
        self.send_line(json.dumps(command, separators=(",", ":")))
        wanted = is_answer or (lambda message: "ok" in message)
        answer = self.wait_message(
            wanted, since=since, timeout=timeout, what=f"the answer to {command.get('cmd')}"
        )
        return answer

    def wait_message(self, wanted, *, since=0, timeout=10.0, what="a message"):
        def check(line):
            message = parse_json_object(line)
            return message if message is not None and wanted(message) else None

        found, _ = self.wait_line(check, stream="stdout", since=since, timeout=timeout, what=what)
        return found

    def messages(self, since=0):
        parsed = (parse_json_object(line) for line in self.lines("stdout", since))
        return [m for m in parsed if m is not None]

    def latest(self, wanted):
        """The newest message for which `wanted` holds, or None. Looks at the last few lines only."""
        with self._changed:
            kept = list(self._lines["stdout"])[-50:]
        for _, line in reversed(kept):
            message = parse_json_object(line)
            if message is not None and wanted(message):
                return message
        return None


def parse_json_object(line):
    if not line.startswith("{"):
        return None
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def exit_text(code):
    if code is None:
        return "running"
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"exit status {code}"


# -- nothing stays behind ----------------------------------------------------------------------------


def become_subreaper():
    """Orphans of our children become our children, so that they can be found and ended."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_session(leader, timeout=5.0):
    """Kills every process of the session that `leader` led, if it is one of our descendants, and waits until
    they are gone."""
    deadline = time.monotonic() + timeout
    while True:
        found = [pid for pid in descendants(os.getpid()) if _session_of(pid) == leader]
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        reap_orphans()
        if not found or time.monotonic() > deadline:
            return
        time.sleep(0.001)


def _session_of(pid):
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None


def reap_orphans():
    """Collects ended processes that were adopted; those a Child waits for are left to it."""
    waited_for = {child.pid for child in list(_live)}
    for pid in children_of(os.getpid()):
        if pid in waited_for:
            continue
        try:
            os.waitpid(pid, os.WNOHANG)
        except (ChildProcessError, ProcessLookupError):
            pass


def kill_process(pid):
    """Kills a descendant and collects it, should it be a child of ours."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    reap_orphans()


def kill_leftovers():
    """Ends every descendant of this process. Returns what was found, for a test to complain about."""
    found = []
    for pid in descendants(os.getpid()):
        try:
            found.append((pid, command_line(pid)))
            os.kill(pid, signal.SIGKILL)
        except (ProcessLookupError, FileNotFoundError):
            pass
    deadline = time.monotonic() + 5
    while descendants(os.getpid()) and time.monotonic() < deadline:
        reap_orphans()
        time.sleep(0.005)
    return found


@atexit.register
def _stop_all():
    for child in list(_live):
        kill_session(child.pid)


# -- looking at processes ----------------------------------------------------------------------------


def _stat_fields(pid):
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def process_state(pid):
    """R, S, T (stopped), Z (ended, not collected) ...; None when there is no such process."""
    try:
        return _stat_fields(pid)[0]
    except (FileNotFoundError, ProcessLookupError):
        return None


def catches_signal(pid, number):
    """Whether a handler for the signal is installed now."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def children_of(pid):
    return [child for child, parent in _parents().items() if parent == pid]


def descendants(pid):
    """All processes below `pid`, ended ones that wait to be collected left out."""
    parents = _parents()
    found, frontier = [], {pid}
    while frontier:
        below = {child for child, parent in parents.items() if parent in frontier}
        found += sorted(below)
        frontier = below
    return [p for p in found if process_state(p) not in (None, "Z")]


def _parents():
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parents[int(entry)] = int(_stat_fields(entry)[1])
            except (FileNotFoundError, ProcessLookupError, ValueError):
                continue
    return parents


def command_line(pid):
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()


def fd_count(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def thread_count(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def rss_kib(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    return 0


def wait_until(condition, timeout=10.0, what="a condition", every=0.005):
    """Polls `condition` until it gives something true and returns that. For state that can only be probed."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= deadline:
            raise NotReady(f"waited {timeout:g} s for {what}")
        time.sleep(every)
