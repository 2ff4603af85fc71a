"""A file system and its inotify(7), in memory, for the checks of exercise 10.1.

FakeFiles has the operations a test needs (mkdir, write, rename, symlink, ...) and, as `call`, the calls of
lb/watch/file_events.hpp as they come over the wire. What each operation queues was taken from Linux 6;
harness/tests/test_fake_files.py runs the same scripts on this and on the kernel and compares.

Modelled: watches belong to inodes; one number an inode, replaced mask (IN_MASK_ADD, IN_MASK_CREATE,
IN_ONLYDIR, IN_DONT_FOLLOW, IN_ONESHOT, IN_EXCL_UNLINK); only what the mask asks for, and always IN_IGNORED
and IN_Q_OVERFLOW; equal consecutive events are one; the events that reading the file causes by itself; hard
links; open files that are deleted. Not modelled: mounts (IN_UNMOUNT), other users, mmap(2).
"""
import errno

IN_ACCESS, IN_MODIFY, IN_ATTRIB, IN_CLOSE_WRITE, IN_CLOSE_NOWRITE, IN_OPEN = 1, 2, 4, 8, 0x10, 0x20
IN_MOVED_FROM, IN_MOVED_TO, IN_CREATE, IN_DELETE, IN_DELETE_SELF, IN_MOVE_SELF = (
    0x40, 0x80, 0x100, 0x200, 0x400, 0x800)
IN_ALL_EVENTS = 0xFFF
IN_UNMOUNT, IN_Q_OVERFLOW, IN_IGNORED = 0x2000, 0x4000, 0x8000
IN_ONLYDIR, IN_DONT_FOLLOW, IN_EXCL_UNLINK = 0x01000000, 0x02000000, 0x04000000
IN_MASK_CREATE, IN_MASK_ADD, IN_ISDIR, IN_ONESHOT = 0x10000000, 0x20000000, 0x40000000, 0x80000000

LINKS_MAX = 40
NAMES = {value: name for name, value in list(globals().items())
         if name.startswith("IN_") and name != "IN_ALL_EVENTS"}


def mask_words(mask):
    """IN_CREATE|IN_ISDIR of a number."""
    return "|".join(name for bit, name in sorted(NAMES.items()) if mask & bit) or "0"


class Inode:
    """A directory ("dir": `entries`, name -> Dentry), a file ("file": `text`) or a link ("link": `target`).
    Of the mode only the owner's read and search bits count."""

    def __init__(self, kind, text="", mode=0o700):
        self.kind, self.text, self.mode = kind, text, mode
        self.target, self.entries = text, {}
        self.names, self.opened = 1, 0
        self.watch = self.mask = None

    @property
    def isdir(self):
        return self.kind == "dir"


class Dentry:
    """One name of an inode; it moves with a rename. A deleted one is still the way to an open file."""

    def __init__(self, parent, name, inode):
        self.parent, self.name, self.inode, self.deleted = parent or self, name, inode, False


class OpenFile:
    """A file open for writing."""

    def __init__(self, files, dentry):
        self._files, self._dentry, self._at = files, dentry, 0
        dentry.inode.opened += 1

    def write(self, text):
        inode = self._dentry.inode
        inode.text = inode.text[:self._at] + text + inode.text[self._at + len(text):]
        self._at += len(text)
        self._files._on(self._dentry, IN_MODIFY)

    def close(self):
        self._files._on(self._dentry, IN_CLOSE_WRITE)
        self._dentry.inode.opened -= 1
        self._files._forget(self._dentry.inode)


class FakeFiles:
    """`cwd` is made, and is where relative paths begin."""

    def __init__(self, cwd="/", watches_max=8192, queue_max=16384):
        self.root = Dentry(None, "/", Inode("dir"))
        self.watches_max, self.queue_max = watches_max, queue_max
        self.queue = []  # [watch, mask, cookie, name]
        self.inodes = {}  # watch -> inode
        self.added = self.removed = self.live_max = 0
        self._last_watch = self._last_cookie = 0
        self.cwd = self.root
        if cwd != "/":
            self.makedirs(cwd)
            self.cwd = self._must(cwd)

    # -- operations of a test -----------------------------------------------------------------------

    def makedirs(self, path):
        parts = [p for p in path.split("/") if p]
        for i in range(len(parts)):
            part = ("/" if path.startswith("/") else "") + "/".join(parts[:i + 1])
            if not self.exists(part):
                self.mkdir(part)

    def mkdir(self, path):
        self._create(path, Inode("dir"))

    def symlink(self, target, path):
        self._create(path, Inode("link", target))

    def link(self, old, new):
        """A hard link."""
        inode = self._must(old, follow=False).inode
        parent, name = self._free(new)
        inode.names += 1
        self._self(inode, IN_ATTRIB)
        parent.inode.entries[name] = Dentry(parent, name, inode)
        self._entry(parent, IN_CREATE, name, inode)

    def open_write(self, path, truncate=True):
        """open(O_WRONLY | O_CREAT | O_TRUNC)."""
        parent, name, dentry = self._find(path)
        if dentry is None:
            dentry = parent.inode.entries[name] = Dentry(parent, name, Inode("file"))
            self._entry(parent, IN_CREATE, name, dentry.inode)
            self._on(dentry, IN_OPEN)
        else:
            if dentry.inode.isdir:
                raise OSError(errno.EISDIR, path)
            self._on(dentry, IN_OPEN)
            if truncate:
                dentry.inode.text = ""
                self._on(dentry, IN_MODIFY)
        return OpenFile(self, dentry)

    def write(self, path, text):
        file = self.open_write(path)
        if text:
            file.write(text)
        file.close()

    def unlink(self, path):
        dentry = self._must(path, follow=False)
        if dentry.inode.isdir:
            raise OSError(errno.EISDIR, path)
        dentry.inode.names -= 1
        self._self(dentry.inode, IN_ATTRIB)
        self._detach(dentry)
        self._forget(dentry.inode)
        self._entry(dentry.parent, IN_DELETE, dentry.name, dentry.inode)

    def rmdir(self, path):
        dentry = self._must(path, follow=False)
        if not dentry.inode.isdir:
            raise OSError(errno.ENOTDIR, path)
        if dentry.inode.entries:
            raise OSError(errno.ENOTEMPTY, path)
        dentry.inode.names = 0
        self._detach(dentry)
        self._forget(dentry.inode)
        self._entry(dentry.parent, IN_DELETE, dentry.name, dentry.inode)

    def rmtree(self, path):
        """Lists each directory, and so opens it, as rm -r does."""
        folder = self._must(path, follow=False)
        for mask in (IN_OPEN, IN_ACCESS, IN_CLOSE_NOWRITE):
            self._on(folder, mask)
        for name, dentry in list(folder.inode.entries.items()):
            if dentry.inode.isdir:
                self.rmtree(f"{path}/{name}")
            else:
                self.unlink(f"{path}/{name}")
        self.rmdir(path)

    def rename(self, old, new):
        source = self._must(old, follow=False)
        parent, name, target = self._find(new, follow=False)
        if target is not None:
            if target.inode is source.inode:
                return
            if target.inode.isdir != source.inode.isdir:
                raise OSError(errno.EISDIR if target.inode.isdir else errno.ENOTDIR, new)
            if target.inode.entries:
                raise OSError(errno.ENOTEMPTY, new)
        self._last_cookie += 1
        old_parent, old_name = source.parent, source.name
        del old_parent.inode.entries[old_name]
        if target is not None:
            target.deleted = True
            target.inode.names -= 1
        parent.inode.entries[name] = source
        source.parent, source.name = parent, name
        self._entry(old_parent, IN_MOVED_FROM, old_name, source.inode, self._last_cookie)
        self._entry(parent, IN_MOVED_TO, name, source.inode, self._last_cookie)
        if target is not None:
            self._self(target.inode, IN_ATTRIB)
        self._self(source.inode, IN_MOVE_SELF)
        if target is not None:
            self._forget(target.inode)

    def chmod(self, path, mode):
        dentry = self._must(path)
        dentry.inode.mode = mode
        self._on(dentry, IN_ATTRIB)

    def touch(self, path):
        """utime(2) of what is there."""
        self._on(self._must(path), IN_ATTRIB)

    # -- looking, without an event ------------------------------------------------------------------

    def exists(self, path):
        try:
            return self._find(path, follow=False)[2] is not None
        except OSError:
            return False

    def content(self, path):
        """What a reader would get; None when it would get an error."""
        try:
            return self._readable(path).inode.text
        except OSError:
            return None

    def overflow(self):
        """The queue is lost, and the reader is told."""
        self.queue = [[-1, IN_Q_OVERFLOW, 0, ""]]

    # -- the calls of lb/watch/file_events.hpp ------------------------------------------------------

    def call(self, message):
        """One call as the runner sends it: its result. None when it is none."""
        calls = {"add_watch": {"path": str, "mask": int}, "remove_watch": {"watch": int}, "read": {},
                 "read_link": {"path": str}, "read_file": {"path": str}}
        name = message.get("call")
        if not isinstance(name, str) or name not in calls:
            return None
        arguments = [message.get(key) for key in calls[name]]
        if not all(isinstance(one, kind) for one, kind in zip(arguments, calls[name].values())):
            return None
        if name in ("read", "remove_watch"):
            return getattr(self, name)(*arguments)
        try:
            return {"ok": getattr(self, name)(*arguments)}
        except OSError as error:
            return {"errno": error.args[0]}

    def add_watch(self, path, mask):
        if not mask & IN_ALL_EVENTS or (mask & IN_MASK_ADD and mask & IN_MASK_CREATE):
            raise OSError(errno.EINVAL, path)
        dentry = self._must(path, follow=not mask & IN_DONT_FOLLOW)
        inode = dentry.inode
        if mask & IN_ONLYDIR and not inode.isdir:
            raise OSError(errno.ENOTDIR, path)
        if inode.kind != "link" and not inode.mode & 0o400:
            raise OSError(errno.EACCES, path)
        if inode.watch is None:
            if len(self.inodes) >= self.watches_max:
                raise OSError(errno.ENOSPC, path)
            self._last_watch += 1
            self.added += 1
            inode.watch = self._last_watch
            self.inodes[inode.watch] = inode
            self.live_max = max(self.live_max, len(self.inodes))
            inode.mask = mask
        elif mask & IN_MASK_CREATE:
            raise OSError(errno.EEXIST, path)
        else:
            inode.mask = inode.mask | mask if mask & IN_MASK_ADD else mask
        return inode.watch

    def remove_watch(self, watch):
        inode = self.inodes.get(watch)
        if inode is not None:
            self.removed += 1
            self._ignore(inode)

    def read(self):
        events, self.queue = self.queue, []
        return events

    def read_link(self, path):
        dentry = self._must(path, follow=False)
        if dentry.inode.kind != "link":
            raise OSError(errno.EINVAL, path)
        return dentry.inode.target

    def read_file(self, path):
        dentry = self._readable(path)
        self._on(dentry, IN_OPEN)
        if dentry.inode.text:
            self._on(dentry, IN_ACCESS)
        self._on(dentry, IN_CLOSE_NOWRITE)
        return dentry.inode.text

    # -- paths --------------------------------------------------------------------------------------

    def _find(self, path, follow=True):
        """(dentry of the last directory, last name, its dentry or None), as path_resolution(7) has it."""
        if not path:
            raise OSError(errno.ENOENT, path)
        here = self.root if path.startswith("/") else self.cwd
        parent, name, links = here.parent, here.name, 0
        rest = _names(path)
        while rest:
            name = rest.pop(0)
            if not here.inode.isdir:
                raise OSError(errno.ENOTDIR, path)
            if not here.inode.mode & 0o100:
                raise OSError(errno.EACCES, path)
            parent = here
            if name == "..":
                here = here.parent
                continue
            found = here.inode.entries.get(name)
            if found is None:
                if rest or here.deleted:
                    raise OSError(errno.ENOENT, path)
                return parent, name, None
            if found.inode.kind == "link" and (rest or follow):
                links += 1
                if links > LINKS_MAX:
                    raise OSError(errno.ELOOP, path)
                rest = _names(found.inode.target) + rest
                here = self.root if found.inode.target.startswith("/") else here
                parent, name = here.parent, here.name
                continue
            here = found
        return parent, name, here

    def _must(self, path, follow=True):
        dentry = self._find(path, follow)[2]
        if dentry is None:
            raise OSError(errno.ENOENT, path)
        return dentry

    def _readable(self, path):
        dentry = self._must(path)
        if dentry.inode.isdir:
            raise OSError(errno.EISDIR, path)
        if not dentry.inode.mode & 0o400:
            raise OSError(errno.EACCES, path)
        return dentry

    def _free(self, path):
        parent, name, dentry = self._find(path, follow=False)
        if dentry is not None:
            raise OSError(errno.EEXIST, path)
        return parent, name

    def _create(self, path, inode):
        parent, name = self._free(path)
        parent.inode.entries[name] = Dentry(parent, name, inode)
        self._entry(parent, IN_CREATE, name, inode)

    # -- events -------------------------------------------------------------------------------------

    def _entry(self, parent, mask, name, child, cookie=0):
        """Something happened to a name: the directory hears of it."""
        self._deliver(parent.inode, mask, name, child.isdir, cookie)

    def _on(self, dentry, mask):
        """Something happened to an object through one of its names: its directory hears of it too."""
        parent = dentry.parent.inode
        if dentry.parent is not dentry and not (dentry.deleted and (parent.mask or 0) & IN_EXCL_UNLINK):
            self._deliver(parent, mask, dentry.name, dentry.inode.isdir)
        self._deliver(dentry.inode, mask, "", dentry.inode.isdir)

    def _self(self, inode, mask):
        """Something happened to an object, by no name."""
        self._deliver(inode, mask, "", inode.isdir and not mask & (IN_DELETE_SELF | IN_MOVE_SELF))

    def _deliver(self, inode, mask, name, isdir, cookie=0):
        if inode.watch is None or not inode.mask & mask:
            return
        self._append([inode.watch, mask | (IN_ISDIR if isdir else 0), cookie, name])
        if inode.mask & IN_ONESHOT:
            self._ignore(inode)

    def _append(self, event):
        if len(self.queue) >= self.queue_max:
            if self.queue[-1][1] != IN_Q_OVERFLOW:
                self.queue.append([-1, IN_Q_OVERFLOW, 0, ""])
            return
        last = self.queue[-1] if self.queue else None
        if last and (last[0], last[1], last[3]) == (event[0], event[1], event[3]):
            return
        self.queue.append(event)

    def _ignore(self, inode):
        """The watch ends."""
        self._append([inode.watch, IN_IGNORED, 0, ""])
        del self.inodes[inode.watch]
        inode.watch = inode.mask = None

    def _detach(self, dentry):
        del dentry.parent.inode.entries[dentry.name]
        dentry.deleted = True

    def _forget(self, inode):
        """Its last name and the last open file gone, an inode goes."""
        if inode.names == 0 and inode.opened == 0:
            self._self(inode, IN_DELETE_SELF)
            if inode.watch is not None:
                self._ignore(inode)


def _names(path):
    return [name for name in path.split("/") if name not in ("", ".")]
