"""The file system of the labs' watch checks against the kernel's: the same script on both, the same events.

Within one operation the order of events differs between versions of Linux, and with it what coalesces; so
each operation is compared as a set, and coalescing by a script in which order cannot matter.
"""
import ctypes
import errno
import os
import shutil
import struct

import pytest
from lbgrader import fake_files as fake
from lbgrader.fake_files import FakeFiles

ALL = fake.IN_ALL_EVENTS
libc = ctypes.CDLL(None, use_errno=True)


class RealFiles:
    """The operations of FakeFiles on a real directory. Paths begin with "/", which is that directory."""

    def __init__(self, root):
        self.root = str(root)
        self.fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        assert self.fd >= 0

    def _at(self, path):
        return self.root + path

    def close(self):
        os.close(self.fd)

    def mkdir(self, path):
        os.mkdir(self._at(path))

    def symlink(self, target, path):
        os.symlink(target, self._at(path))

    def link(self, old, new):
        os.link(self._at(old), self._at(new))

    def open_write(self, path, truncate=True):
        flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if truncate else 0)
        return RealOpen(os.open(self._at(path), flags, 0o700))

    def write(self, path, text):
        file = self.open_write(path)
        if text:
            file.write(text)
        file.close()

    def unlink(self, path):
        os.unlink(self._at(path))

    def rmdir(self, path):
        os.rmdir(self._at(path))

    def rmtree(self, path):
        shutil.rmtree(self._at(path))

    def rename(self, old, new):
        os.rename(self._at(old), self._at(new))

    def chmod(self, path, mode):
        os.chmod(self._at(path), mode)

    def touch(self, path):
        os.utime(self._at(path))

    def add_watch(self, path, mask):
        watch = libc.inotify_add_watch(self.fd, self._at(path).encode(), ctypes.c_uint32(mask))
        if watch < 0:
            raise OSError(ctypes.get_errno(), path)
        return watch

    def remove_watch(self, watch):
        libc.inotify_rm_watch(self.fd, watch)

    def read_file(self, path):
        with open(self._at(path), "rb", buffering=0) as file:
            return file.read().decode()

    def read_link(self, path):
        return os.readlink(self._at(path))

    def read(self):
        events = []
        while True:
            try:
                data = os.read(self.fd, 1 << 16)
            except BlockingIOError:
                return events
            while data:
                watch, mask, cookie, size = struct.unpack("iIII", data[:16])
                events.append([watch, mask, cookie, data[16:16 + size].rstrip(b"\0").decode()])
                data = data[16 + size:]


class RealOpen:
    def __init__(self, fd):
        self.fd = fd

    def write(self, text):
        os.write(self.fd, text.encode())

    def close(self):
        os.close(self.fd)


def renumbered(events, cookies):
    """Cookies are compared by which events share one."""
    return [[watch, mask, cookie and cookies.setdefault(cookie, len(cookies) + 1), name]
            for watch, mask, cookie, name in events]


def run(files, script):
    """Each operation's outcome and events. An operation is (name, argument...); ("as", name, operation...)
    keeps its result, an open file or a watch, to be used by that name."""
    kept, cookies, story = {}, {}, []

    def perform(name, *arguments):
        if name == "as":
            kept[arguments[0]] = perform(*arguments[1:])
            return kept[arguments[0]]
        if arguments and isinstance(arguments[0], str) and arguments[0] in kept:
            held = kept[arguments[0]]
            if isinstance(held, int):
                return getattr(files, name)(held)
            return getattr(held, name)(*arguments[1:])
        return getattr(files, name)(*arguments)

    for operation in script:
        try:
            result = perform(*operation)
        except OSError as error:
            result = errno.errorcode[error.args[0]]
        events = {f"{fake.mask_words(mask)} wd={watch} cookie={cookie} {name}"
                  for watch, mask, cookie, name in renumbered(files.read(), cookies)}
        story.append((operation, result if isinstance(result, (int, str)) else None, sorted(events)))
    return story


WATCH = [("mkdir", "/d"), ("add_watch", "/d", ALL)]
SCRIPTS = {
    "a plain write": [*WATCH, ("write", "/d/a", "1"), ("add_watch", "/d/a", ALL), ("write", "/d/a", "22"),
                      ("write", "/d/a", ""), ("write", "/d/a", "")],
    "reading": [*WATCH, ("write", "/d/a", "1"), ("add_watch", "/d/a", ALL), ("read_file", "/d/a"),
                ("write", "/d/a", ""), ("read_file", "/d/a"), ("symlink", "a", "/d/l"), ("read_link", "/d/l"),
                ("read_link", "/d/a"), ("read_link", "/d/b"), ("read_file", "/d/b")],
    "rename over": [*WATCH, ("write", "/d/a", "1"), ("add_watch", "/d/a", ALL), ("write", "/d/b", "2"),
                    ("rename", "/d/b", "/d/a"), ("write", "/d/a", "3"), ("add_watch", "/d/a", ALL)],
    "rename of a watched file": [*WATCH, ("write", "/d/a", "1"), ("add_watch", "/d/a", ALL),
                                 ("rename", "/d/a", "/d/b"), ("write", "/d/b", "2"), ("touch", "/d/b")],
    "between directories": [*WATCH, ("mkdir", "/e"), ("add_watch", "/e", ALL), ("write", "/d/a", "1"),
                            ("rename", "/d/a", "/e/b"), ("mkdir", "/d/s"), ("add_watch", "/d/s", ALL),
                            ("rename", "/d/s", "/e/s"), ("rename", "/e/s", "/b")],
    "rename over a directory": [*WATCH, ("mkdir", "/d/a"), ("add_watch", "/d/a", ALL), ("mkdir", "/d/b"),
                                ("rename", "/d/b", "/d/a"), ("write", "/d/a/x", "1"), ("mkdir", "/d/b"),
                                ("rename", "/d/b", "/d/a"), ("rename", "/d/a/x", "/d/b")],
    "deleted": [*WATCH, ("write", "/d/a", "1"), ("add_watch", "/d/a", ALL), ("unlink", "/d/a"),
                ("write", "/d/a", "2"), ("unlink", "/d/a"), ("rmdir", "/d"), ("mkdir", "/d"),
                ("write", "/d/a", "3"), ("add_watch", "/d", ALL)],
    "a tree deleted": [*WATCH, ("mkdir", "/d/s"), ("add_watch", "/d/s", ALL), ("rmdir", "/d"),
                       ("rmdir", "/d/s"), ("mkdir", "/d/s"), ("unlink", "/d/s"), ("rmdir", "/d/s")],
    "deleted while open": [*WATCH, ("as", "f", "open_write", "/d/a"), ("add_watch", "/d/a", ALL),
                           ("unlink", "/d/a"), ("write", "f", "x"), ("close", "f")],
    "deleted while open, IN_EXCL_UNLINK": [("mkdir", "/d"), ("add_watch", "/d", ALL | fake.IN_EXCL_UNLINK),
                                           ("as", "f", "open_write", "/d/a"), ("write", "f", "x"),
                                           ("unlink", "/d/a"), ("write", "f", "y"), ("close", "f")],
    "renamed over while open": [*WATCH, ("as", "f", "open_write", "/d/a"), ("add_watch", "/d/a", ALL),
                                ("write", "/d/b", "2"), ("rename", "/d/b", "/d/a"), ("write", "f", "x"),
                                ("close", "f")],
    "renamed while open": [*WATCH, ("as", "f", "open_write", "/d/a"), ("write", "f", "x"),
                           ("rename", "/d/a", "/d/b"), ("write", "f", "y"), ("close", "f")],
    "hard links": [*WATCH, ("mkdir", "/e"), ("write", "/d/a", "1"), ("add_watch", "/d/a", ALL),
                   ("link", "/d/a", "/e/b"), ("write", "/e/b", "2"), ("rename", "/e/b", "/d/a"),
                   ("unlink", "/d/a"), ("write", "/e/b", "3"), ("unlink", "/e/b")],
    "a mounted configuration map": [*WATCH, ("mkdir", "/d/..1"), ("write", "/d/..1/lb.json", "1"),
                                    ("symlink", "..1", "/d/..data"),
                                    ("symlink", "..data/lb.json", "/d/lb.json"),
                                    ("add_watch", "/d/lb.json", ALL), ("mkdir", "/d/..2"),
                                    ("write", "/d/..2/lb.json", "2"), ("symlink", "..2", "/d/..tmp"),
                                    ("rename", "/d/..tmp", "/d/..data"), ("rmtree", "/d/..1"),
                                    ("write", "/d/lb.json", "3"), ("add_watch", "/d/lb.json", ALL)],
    "a link itself": [*WATCH, ("symlink", "a", "/d/l"), ("add_watch", "/d/l", ALL),
                      ("add_watch", "/d/l", ALL | fake.IN_DONT_FOLLOW), ("rename", "/d/l", "/d/m"),
                      ("unlink", "/d/m"), ("symlink", "loop", "/d/loop"), ("add_watch", "/d/loop", ALL),
                      ("write", "/d/loop", "1")],
    "flags": [*WATCH, ("write", "/d/a", "1"), ("add_watch", "/d/a", ALL | fake.IN_ONLYDIR),
              ("add_watch", "/d/a", fake.IN_MODIFY), ("add_watch", "/d/a", fake.IN_ATTRIB | fake.IN_MASK_ADD),
              ("write", "/d/a", "2"), ("touch", "/d/a"), ("add_watch", "/d/a", fake.IN_ATTRIB),
              ("write", "/d/a", "2"), ("add_watch", "/d/a", ALL | fake.IN_MASK_CREATE),
              ("add_watch", "/d/a", 0),
              ("add_watch", "/d/a", fake.IN_ATTRIB | fake.IN_ONESHOT), ("touch", "/d/a"), ("touch", "/d/a"),
              ("add_watch", "/d/a", ALL), ("add_watch", "/d/none", ALL), ("add_watch", "/d/a/b", ALL)],
    "only what is asked for": [("mkdir", "/d"), ("add_watch", "/d", fake.IN_MOVED_TO), ("write", "/d/a", "1"),
                               ("rename", "/d/a", "/d/b"), ("add_watch", "/d/b", fake.IN_MODIFY),
                               ("unlink", "/d/b"), ("rmdir", "/d")],
    "attributes": [*WATCH, ("write", "/d/a", "1"), ("add_watch", "/d/a", ALL), ("chmod", "/d/a", 0o600),
                   ("touch", "/d/a"), ("chmod", "/d", 0o711), ("mkdir", "/d/s"), ("chmod", "/d/s", 0o711)],
    "removed": [("mkdir", "/d"), ("as", "w", "add_watch", "/d", ALL), ("remove_watch", "w"),
                ("write", "/d/a", "1"), ("remove_watch", "w"), ("add_watch", "/d", ALL)],
}


@pytest.fixture
def real(tmp_path):
    files = RealFiles(tmp_path)
    yield files
    files.close()


@pytest.mark.parametrize("name", SCRIPTS)
def test_same_events_as_the_kernel(real, name):
    script = SCRIPTS[name]
    kernel, ours = run(real, script), run(FakeFiles(), script)
    for i, (one, other) in enumerate(zip(kernel, ours)):
        assert one == other, f"operation {i}, {script[i]}: the kernel (left) and FakeFiles (right) differ"


def test_equal_events_in_a_row_are_one(real):
    """Everything is written before anything is read."""
    def story(files):
        files.mkdir("/d")
        files.add_watch("/d", fake.IN_MODIFY | fake.IN_CLOSE_WRITE)
        f, g = files.open_write("/d/a"), files.open_write("/d/b")
        for file in (f, f, f, g, f, f):
            file.write("x")
        f.close()
        g.close()
        return files.read()

    assert story(real) == story(FakeFiles())
    assert len(story(FakeFiles())) == 5


def test_the_queue_overflows_as_the_kernels_does(real):
    with open("/proc/sys/fs/inotify/max_queued_events") as file:
        queue_max = int(file.read())
    if queue_max > 100_000:
        pytest.skip("the kernel's queue is very long")

    def story(files):
        files.mkdir("/d")
        files.write("/d/a", "1")
        files.write("/d/b", "1")
        watch = files.add_watch("/d", fake.IN_ATTRIB)
        for i in range(queue_max + 10):
            files.touch("/d/a" if i % 2 else "/d/b")
        files.remove_watch(watch)  # its IN_IGNORED is lost too
        return files.read()

    kernel, ours = story(real), story(FakeFiles(queue_max=queue_max))
    assert len(kernel) == len(ours) == queue_max + 1
    assert kernel[-2:] == ours[-2:]
    assert ours[-1] == [-1, fake.IN_Q_OVERFLOW, 0, ""]


def test_what_only_a_fake_can_do():
    files = FakeFiles(watches_max=1)
    files.mkdir("/d")
    files.write("/d/a", "1")
    files.add_watch("/d", ALL)
    with pytest.raises(OSError) as error:
        files.add_watch("/d/a", ALL)
    assert error.value.args[0] == errno.ENOSPC
    files.chmod("/d/a", 0)
    assert files.call({"call": "read_file", "path": "/d/a"}) == {"errno": errno.EACCES}
    files.chmod("/d", 0o400)
    assert files.call({"call": "read_link", "path": "/d/a"}) == {"errno": errno.EACCES}
    assert files.content("/d/a") is None and files.exists("/d")
    files.overflow()
    assert files.call({"call": "read"}) == [[-1, fake.IN_Q_OVERFLOW, 0, ""]]
