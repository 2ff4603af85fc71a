"""Grades again whenever an exercise is saved: make watch-ch10. With inotify where it works, by looking where
it is deaf (network and shared folders tell nothing)."""
import argparse
import ctypes
import os
import pathlib
import select
import subprocess
import sys
import time

from .check import ROOT, SEAMS, TOGETHER, source_name

LOOK_S = 0.3
QUIET_S = 0.1  # an editor writes, renames and sets times: one save
_PROBE_S = 0.3
_IN_EVENTS = 0x008 | 0x080 | 0x100 | 0x200  # close after writing, moved to, created, deleted


class Inotify:
    """Wakes up when something happens in one of the folders; says nothing about what."""

    def __init__(self, folders):
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        for folder in folders:
            if libc.inotify_add_watch(self.fd, str(folder).encode(), _IN_EVENTS) < 0:
                raise OSError(ctypes.get_errno(), f"inotify_add_watch {folder}")

    def wait(self, seconds):
        """Whether something happened."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        with_events = os.read(self.fd, 1 << 16)
        return bool(with_events)


def working_inotify(folders):
    """None where it is missing or hears nothing: proven by an event of our own."""
    try:
        inotify = Inotify(folders)
        probe = pathlib.Path(folders[0]) / ".watch-probe"
        probe.write_text("")
        heard = inotify.wait(_PROBE_S)
        probe.unlink()
        while inotify.wait(0.05):
            pass
        return inotify if heard else None
    except (OSError, AttributeError):
        return None


def snapshot(folder):
    """exercise -> what tells one content of its file from another."""
    state = {}
    for number in SEAMS:
        if number != TOGETHER:
            try:
                facts = (folder / source_name(number)).stat()
                state[number] = (facts.st_mtime_ns, facts.st_size, facts.st_ino)
            except OSError:
                state[number] = None
    return state


def changed(before, now):
    return [number for number in now if now[number] != before.get(number)]


def wait_for_change(folder, before, inotify):
    """The exercises that were saved, once the editor has come to rest, and the new snapshot."""
    while True:
        if inotify:
            inotify.wait(5.0)
        else:
            time.sleep(LOOK_S)
        now = snapshot(folder)
        if changed(before, now):
            break
    while True:  # until nothing more happens
        time.sleep(QUIET_S)
        after = snapshot(folder)
        if after == now:
            return changed(before, now), now
        now = after


def grade(numbers, extra):
    command = [sys.executable, str(ROOT / "harness" / "grade.py"), *extra]
    if numbers is not None:
        for number in numbers:
            command += ["--exercise", str(number)]
    if sys.stdout.isatty():
        print("\033[2J\033[H", end="", flush=True)
    subprocess.run(command, check=False)


def main():
    parser = argparse.ArgumentParser(prog="watching", description=__doc__.splitlines()[0])
    parser.add_argument("--submission", default=str(ROOT / "exercises" / "ch10"))
    parser.add_argument("--poll", action="store_true", help="look at the files instead of using inotify")
    parser.add_argument("--rounds", type=int, default=0, help="end after so many (default: never)")
    parser.add_argument("grade_arguments", nargs="*", help="after --: for grade.py")
    options = parser.parse_args()
    folder = pathlib.Path(options.submission)
    folders = [(folder / source_name(n)).parent for n in SEAMS if n != TOGETHER]
    folders = [one for one in folders if one.is_dir()] or [folder]
    inotify = None if options.poll else working_inotify(folders)
    before, numbers, rounds = snapshot(folder), None, 0
    extra = ["--submission", str(folder), *options.grade_arguments]
    while True:
        grade(numbers, extra)
        rounds += 1
        if options.rounds and rounds >= options.rounds:
            return 0
        print(f"\nwaiting for a save in {os.path.relpath(folder)} "
              f"({'inotify' if inotify else 'looking every 0.3 s'}; Ctrl-C ends)", flush=True)
        numbers, before = wait_for_change(folder, before, inotify)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
