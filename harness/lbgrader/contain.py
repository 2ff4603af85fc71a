"""Cells: where a check runs together with the code that it judges.

    grader ── outer ── warden ── judge ── the submission's processes
              │        │         └ runs the check; tells what happens over a pipe, line by line
              │        └ process 1 of its own process namespace where that is permitted, reaper of orphans
              anywhere: │          watches time, memory and number of processes, and ends everything below it
              at the end └ enters new namespaces: processes, network, files (all of it read-only but a scratch
              folder)

What of this is permitted on a machine is found out once (spaces()); what is not is left out, and the grade
says so. The code of a submission is never in the grader's process, and no descriptor but its socket is
inherited by it. One cell at a time in one process; the caller has no threads.
"""
import contextlib
import ctypes
import dataclasses
import fcntl
import functools
import json
import os
import pathlib
import resource
import select
import shutil
import signal
import socket
import struct
import tempfile
import time

MIB = 1 << 20
POLL_S = 0.02
LINE_BYTES_MAX = 32 * MIB

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWUSER = 0x00020000, 0x08000000, 0x10000000
_CLONE_NEWPID, _CLONE_NEWNET = 0x20000000, 0x40000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 32, 4096, 16384, 1 << 18
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_NOATIME, _MS_NODIRATIME, _MS_RELATIME = 2, 4, 8, 1024, 2048, 1 << 21
_MOUNT_FLAGS = {"nosuid": _MS_NOSUID, "nodev": _MS_NODEV, "noexec": _MS_NOEXEC, "noatime": _MS_NOATIME,
                "nodiratime": _MS_NODIRATIME, "relatime": _MS_RELATIME}
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECUREBITS = 1, 4, 28
_PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 36, 38
_SECBIT_NOROOT_LOCKED = 3
_CAP_VERSION_3 = 0x20080522
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1

_libc = ctypes.CDLL(None, use_errno=True)


@dataclasses.dataclass(frozen=True)
class Limits:
    """Of one cell as a whole, and (cpu, file, files) of each process of the submission in it."""

    seconds: float = 10.0
    processes: int = 40
    memory_bytes: int = 512 * MIB  # resident, of all: AddressSanitizer reserves terabytes of addresses
    cpu_seconds: int = 20
    file_bytes: int = 16 * MIB  # the log is a file, too
    open_files: int = 256
    user_tasks: int = 0  # of the whole user; 0: no limit, which is all that root can have


@dataclasses.dataclass
class Ended:
    """How a cell ended. `exceeded`: the limit that was, in words, or empty. `leftovers`: command lines of
    processes that were still there when the judge had finished, all ended by now."""

    messages: list
    status: int = 0  # of the judge, as waitpid tells it; -1: unknown
    exceeded: str = ""
    leftovers: list = dataclasses.field(default_factory=list)


# ---- what is permitted here ------------------------------------------------------------------------


@functools.lru_cache(maxsize=None)
def spaces():
    """The names of what a cell gets on this machine: some of "pid", "net", "files"; LB_GRADE_NO_NAMESPACES=1:
    none."""
    if os.environ.get("LB_GRADE_NO_NAMESPACES") or not hasattr(_libc, "unshare"):
        return frozenset()
    for wanted in (frozenset({"pid", "net", "files"}), frozenset({"net"})):
        ended = Cell(Limits(seconds=10), wanted).run(_probe)
        if ended.messages and ended.messages[-1].get("works"):
            return wanted
    return frozenset()


def _probe(_emit, scratch):
    """In a cell: whether it is what it should be."""
    (scratch / "file").write_text("x")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(1)
    return {"works": pathlib.Path(f"/proc/{os.getpid()}/stat").exists()}


# ---- a cell, seen from the grader ------------------------------------------------------------------


class Cell:
    def __init__(self, limits, wanted=None):
        self.limits = limits
        self.spaces = spaces() if wanted is None else wanted

    def run(self, function, on_message=None):
        """Calls function(emit, scratch) in the judge; what it emits and returns are dicts, in this order in
        `messages`. `scratch` is the judge's working directory, empty at first and gone afterwards."""
        become_reaper()
        scratch = pathlib.Path(tempfile.mkdtemp(prefix="lb-cell-"))
        events, reports = os.pipe(), os.pipe()
        before = set(children_of(os.getpid()))
        outer = os.fork()
        if outer == 0:
            os.close(events[0])
            os.close(reports[0])
            _outer(self, function, events[1], reports[1], scratch)
        os.close(events[1])
        os.close(reports[1])
        try:
            ended = self._follow(outer, events[0], reports[0], on_message)
        finally:
            _kill(outer)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(outer, 0)
            end_below(os.getpid(), before)
            os.close(events[0])
            os.close(reports[0])
            shutil.rmtree(scratch, ignore_errors=True)
        return ended

    def _follow(self, outer, events, reports, on_message):
        deadline = time.monotonic() + self.limits.seconds + 5  # the warden's comes first
        buffers = {events: b"", reports: b""}
        messages, report, open_ends = [], None, {events, reports}
        while open_ends and report is None:
            ready = select.select(list(open_ends), [], [], max(0.0, deadline - time.monotonic()))[0]
            if not ready:
                return Ended(messages, -1, "the warden of the check did not end in time")
            for end in sorted(ready):  # events were opened first: read first
                part = os.read(end, 1 << 16)
                if not part:
                    open_ends.discard(end)
                buffers[end] += part
                *lines, buffers[end] = buffers[end].split(b"\n")
                for message in _parsed(lines):
                    if end == reports:
                        report = message
                    else:
                        messages.append(message)
                        if on_message:
                            on_message(message)
        for message in _rest(events, buffers[events]) if report is not None else ():
            messages.append(message)
            if on_message:
                on_message(message)
        if report is None:
            return Ended(messages, -1, "")
        return Ended(messages, report["status"], report["exceeded"], report["leftovers"])


def _parsed(lines):
    for line in lines:
        with contextlib.suppress(ValueError):
            message = json.loads(line)
            if isinstance(message, dict):
                yield message


def _rest(end, text):
    """What the judge wrote before it ended and nobody has read yet."""
    os.set_blocking(end, False)
    with contextlib.suppress(BlockingIOError):
        while part := os.read(end, 1 << 16):
            text += part
    return _parsed(text.split(b"\n"))


# ---- outer, warden, judge --------------------------------------------------------------------------


def _outer(cell, function, events, reports, scratch):
    """Never returns."""
    status = 1
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        flags = 0
        if "pid" in cell.spaces:
            flags |= _CLONE_NEWPID | _CLONE_NEWNS | _CLONE_NEWIPC
        if "net" in cell.spaces:
            flags |= _CLONE_NEWNET
        if flags:
            _unshare(flags)
        warden = os.fork()
        if warden == 0:
            _warden(cell, function, events, reports, scratch)
        os.close(events)
        os.close(reports)
        os.waitpid(warden, 0)
        status = 0
    except BaseException as error:  # noqa: B036: a process of its own: nothing may pass this line
        os.write(2, f"grader: outer: {error!r}\n".encode())
    finally:
        os._exit(status)


def _warden(cell, function, events, reports, scratch):
    """Never returns."""
    report = {"status": -1, "exceeded": "", "leftovers": []}
    try:
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        become_reaper()
        if "pid" in cell.spaces:
            _own_files(scratch)
        if "net" in cell.spaces:
            _loopback_up()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        judge = os.fork()
        if judge == 0:
            os.close(reports)
            _judge(cell, function, events, scratch)
        os.close(events)
        report = _watch(cell.limits, judge)
    except BaseException as error:  # noqa: B036
        report["exceeded"] = f"the warden of the check failed: {error!r}"
    with contextlib.suppress(OSError):
        os.write(reports, json.dumps(report).encode() + b"\n")
    os._exit(0)


def _watch(limits, judge):
    """Until the judge has ended, or a limit is exceeded: then all that it has started ends, and it has a
    moment to tell the story. Afterwards whatever is left ends."""
    deadline = time.monotonic() + limits.seconds
    me, status, exceeded = os.getpid(), None, ""
    while status is None:
        signal.sigtimedwait({signal.SIGCHLD}, POLL_S)
        status = _collect(judge)
        if status is not None:
            break
        below = [pid for pid in descendants(me) if pid != judge]
        if not exceeded:
            exceeded = _exceeded(limits, below)
            if "processes" in exceeded and me == 1:
                # With this process its namespace ends at once, however fast it forks.
                return {"status": -1, "exceeded": exceeded, "leftovers": []}
        for number in (signal.SIGSTOP, signal.SIGKILL) if exceeded else ():
            for pid in below:
                _kill(pid, number)
        if time.monotonic() > deadline:
            exceeded = exceeded or "time"
            _kill(judge)
    leftovers = [command_line(pid) for pid in descendants(me)][:20]
    end_below(me)
    return {"status": status, "exceeded": exceeded, "leftovers": leftovers}


def _exceeded(limits, pids):
    if len(pids) > limits.processes:
        return f"more than {limits.processes} processes"
    pages = 0
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            pages += int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    if pages * resource.getpagesize() > limits.memory_bytes:
        return f"more than {limits.memory_bytes // MIB} MiB of memory"
    return ""


def _collect(judge):
    """Takes the ended children; the status of the judge if it is among them."""
    status = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, how = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == judge:
                status = how
    return status


def _judge(cell, function, events, scratch):
    """Never returns."""
    status = 70
    try:
        os.setsid()
        _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getuid() == 0:
            _prctl(_PR_SET_DUMPABLE,
                   0)  # and the submission has no privileges: it cannot look into this process
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        os.environ["TMPDIR"] = str(scratch)
        tempfile.tempdir = None
        os.chdir(scratch)

        def emit(message):
            text = json.dumps(message).encode() + b"\n"
            while text:
                text = text[os.write(events, text):]

        emit(function(emit, scratch))
        status = 0
    finally:
        os._exit(status)


# ---- namespaces ------------------------------------------------------------------------------------


def _check(result, what):
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _prctl(option, value):
    return _libc.prctl(option, int(value), 0, 0, 0)


def _unshare(flags):
    """As root directly, else within a new user namespace that knows only this user."""
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        _check(_libc.unshare(flags), "unshare")
        return
    _check(_libc.unshare(flags | _CLONE_NEWUSER), "unshare")
    pathlib.Path("/proc/self/setgroups").write_text("deny")
    pathlib.Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    pathlib.Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _mount(source, target, kind, flags, data=None):
    encoded = [None if text is None else str(text).encode() for text in (source, target, kind)]
    _check(_libc.mount(*encoded, ctypes.c_ulong(flags), None if data is None else data.encode()),
           f"mount {target}")


def _own_files(scratch):
    """All that is mounted becomes read-only, but `scratch`, which is memory; /proc shows this cell alone."""
    _mount(None, "/", None, _MS_REC | _MS_PRIVATE)
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split()
        where, options = fields[4].encode().decode("unicode_escape"), fields[5].split(",")
        kind = fields[fields.index("-") + 1]
        if kind in ("proc", "devpts", "mqueue"):
            continue
        flags = sum(flag for name, flag in _MOUNT_FLAGS.items() if name in options)
        try:
            _mount(None, where, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | flags)
        except OSError:
            if where == "/":
                raise
    _mount("lb-cell", scratch, "tmpfs", _MS_NOSUID | _MS_NODEV, "size=512m,mode=0755")
    _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)


def _loopback_up():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", 0)
        flags = struct.unpack("16sH22x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | _IFF_UP))


# ---- a process of the submission -------------------------------------------------------------------


def confine(limits):
    """Called in the child between fork and exec: limits of the process, and no privileges for it ever."""
    for what, value in ((resource.RLIMIT_CPU, limits.cpu_seconds), (resource.RLIMIT_FSIZE, limits.file_bytes),
                        (resource.RLIMIT_NOFILE, limits.open_files), (resource.RLIMIT_CORE, 0),
                        *((resource.RLIMIT_NPROC, limits.user_tasks) for _ in range(limits.user_tasks > 0))):
        hard = resource.getrlimit(what)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        # Of processor time: SIGXCPU at first, which says why; then SIGKILL.
        above = 2 if what == resource.RLIMIT_CPU and hard == resource.RLIM_INFINITY else 0
        resource.setrlimit(what, (value, value + above))
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _prctl(_PR_SET_SECUREBITS, _SECBIT_NOROOT_LOCKED)
    header = (ctypes.c_uint32 * 2)(_CAP_VERSION_3, 0)
    _libc.capset(header, (ctypes.c_uint32 * 6)())


def unprivileged(program, scratch):
    """A path that runs `program` without privileges, for programs that others start; the same process, the
    same arguments. Only root has any to lose."""
    if os.getuid() != 0 or not shutil.which("setpriv"):
        return program
    wrapper = scratch / f"{pathlib.Path(program).name}-unprivileged"
    wrapper.write_text("#!/bin/sh\nexec setpriv --no-new-privs --inh-caps=-all --bounding-set=-all "
                       f'"{program}" "$@"\n')
    wrapper.chmod(0o755)
    return wrapper


# ---- processes -------------------------------------------------------------------------------------


def die_with_parent(number=signal.SIGKILL):
    _prctl(_PR_SET_PDEATHSIG, number)


def tasks_of_user():
    """Threads of all processes of this user; 0 for root."""
    uid, count = os.getuid(), 0
    for entry in os.listdir("/proc") if uid != 0 else ():
        with contextlib.suppress(OSError):
            if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid == uid:
                count += len(os.listdir(f"/proc/{entry}/task"))
    return count


def become_reaper():
    """Orphans among our descendants become our children, so that they are found."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _parents():
    """{pid: (its parent, its state)}. Read by the byte: this is done several times in every cell."""
    parents = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                fd = os.open(f"/proc/{entry}/stat", os.O_RDONLY)
                try:
                    text = os.read(fd, 1024)
                finally:
                    os.close(fd)
                state, parent = text[text.rindex(b")") + 2:].split(None, 2)[:2]
                parents[int(entry)] = (int(parent), state.decode())
    return parents


def children_of(pid, parents=None):
    return [child for child, (parent, _) in (parents or _parents()).items() if parent == pid]


def descendants(pid, parents=None):
    """Living processes below `pid`."""
    parents, found, frontier = parents or _parents(), [], {pid}
    while frontier:
        frontier = {child for child, (parent, _) in parents.items() if parent in frontier}
        found += sorted(frontier)
    return [one for one in found if parents[one][1] != "Z"]


def end_below(pid, spared=(), seconds_max=10.0):
    """Kills every descendant of `pid`, this process, until there is none; `spared` children stay."""
    deadline = time.monotonic() + seconds_max
    while time.monotonic() < deadline:
        parents = _parents()
        spared_below = {below for child in spared for below in (child, *descendants(child, parents))}
        found = [one for one in descendants(pid, parents) if one not in spared_below]
        for one in found:
            _kill(one)
        for child in children_of(pid, parents):
            if child not in spared:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(child, os.WNOHANG)
        if not found:
            return
        time.sleep(0.001)


def command_line(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "?"
    return text.replace(b"\0", b" ").decode(errors="replace").strip()[:200] or "?"


def _kill(pid, number=signal.SIGKILL):
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
