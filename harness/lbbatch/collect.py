"""Reads what students handed in: folders, .zip, .tar.gz. Nothing is unpacked onto the disk: names are
only compared, and of the contents no more is read than the four exercise files, and what tells whether
files of the tree were changed. Links are never followed. Whatever is wrong with a submission becomes a
sentence; nothing here raises for it.
"""
import contextlib
import dataclasses
import functools
import gzip
import os
import pathlib
import re
import stat
import subprocess
import tarfile
import zipfile
import zlib

from lbgrader.building import SOURCE_BYTES_MAX
from lbgrader.check import ROOT, SEAMS, TOGETHER, label, source_name

ARCHIVE_BYTES_MAX = 100 << 20
UNPACKED_BYTES_MAX = 1 << 30
READ_BYTES_MAX = 64 << 20  # of all files whose content is looked at
HEADER_BYTES_MAX = 1 << 20  # of one header of a .tar
ENTRIES_MAX = 50_000
DEPTH_MAX = 20
CODE = (".cpp", ".cc", ".cxx", ".c++", ".cpp.txt")
ARCHIVES = (".zip", ".tar.gz", ".tgz", ".tar")
OTHER_ARCHIVES = (".rar", ".7z", ".tar.xz", ".tar.bz2", ".txz", ".tbz2", ".tar.zst", ".gz", ".xz", ".bz2")
_SKIPPED_FOLDERS = {
    "__macosx",
    ".git",
    "build",
    "absent",
    "solutions",
    "__pycache__",
    "node_modules",
    ".vscode",
    ".idea",
}
_NO_ANSWERS = {"test", "tests", "runner", "fuzz", "bench", "live", "other"}
EXERCISES = tuple(n for n in SEAMS if n != TOGETHER)


@dataclasses.dataclass
class Submission:
    name: str
    origin: pathlib.Path
    files: dict = dataclasses.field(default_factory=dict)  # exercise -> bytes
    remarks: list = dataclasses.field(default_factory=list)  # sentences


class Unreadable(Exception):
    """The whole of a submission; the text is the sentence."""


# ---- the folder of submissions ---------------------------------------------------------------------


def entries(folder):
    """(name, path) of each submission, and sentences about what is none."""
    found, ignored, taken = [], [], set()
    for path in sorted(folder.iterdir()):
        lower = path.name.lower()
        if path.name.startswith("."):
            continue
        if path.is_symlink():
            ignored.append(f"{path.name}: links are not followed")
        elif path.is_dir():
            found.append((unique(safe_name(path.name), taken), path))
        elif lower.endswith(ARCHIVES):
            suffix = next(s for s in ARCHIVES if lower.endswith(s))
            found.append((unique(safe_name(path.name[: -len(suffix)]), taken), path))
        elif lower.endswith(OTHER_ARCHIVES):
            found.append((unique(safe_name(path.name), taken), path))
        else:
            ignored.append(f"{path.name}: neither a folder nor an archive (.zip, .tar.gz)")
    return found, ignored


def safe_name(text):
    """A name for files and pages."""
    name = re.sub(r"[^\w.,+@ -]", "_", text).strip(" .")[:100]
    return "_" + name if name in ("", "index", "statistics", "grades", "feedback", "submissions") else name


def unique(name, taken):
    number, wanted = 1, name
    while name.lower() in taken:
        number += 1
        name = f"{wanted}-{number}"
    taken.add(name.lower())
    return name


def read(name, path):
    """The submission; whatever went wrong is among its remarks."""
    made = Submission(name, path)
    try:
        if path.is_dir():
            files, remarks = _read_folder(path)
        elif path.name.lower().endswith(OTHER_ARCHIVES) and not path.name.lower().endswith(ARCHIVES):
            raise Unreadable(f"{path.name}: only .zip and .tar.gz are read")
        elif os.path.getsize(path) > ARCHIVE_BYTES_MAX:
            raise Unreadable(f"{path.name} is larger than {ARCHIVE_BYTES_MAX >> 20} MiB")
        else:
            files, remarks = (_read_zip if path.name.lower().endswith(".zip") else _read_tar)(path)
        made.remarks += remarks
        made.files, remarks = choose(files)
        made.remarks += remarks
    except Unreadable as error:
        made.remarks.append(str(error))
    except RecursionError:
        made.remarks.append(f"{path.name} could not be read: nested too deeply")
    except Exception as error:  # a reader's own fault, or an archive of a kind nobody thought of
        made.remarks.append(f"{path.name} could not be read: {type(error).__name__}: {error}")
    made.remarks = [re.sub(r"[^\x20-\x7e\u00a0-\ud7ff]", "?", remark)[:400] for remark in made.remarks]
    return made


# ---- containers: {path within: bytes, or None when its content does not matter} --------------------


class _Take:
    """What is taken of a container, and its limits."""

    def __init__(self):
        self.files, self.remarks, self._budget, self._links = {}, [], READ_BYTES_MAX, []

    def wants(self, name):
        """Registers a name; whether its content is wanted, too."""
        clean = name.replace("\\", "/")
        parts = [p for p in clean.split("/") if p not in ("", ".")]
        if clean.startswith("/") or re.match(r"^[A-Za-z]:", clean) or ".." in parts:
            self.remark(f"ignored: {clean[:80]} points outside of the submission")
            return None
        if len(parts) > DEPTH_MAX or any(p.lower() in _SKIPPED_FOLDERS for p in parts[:-1]) or not parts:
            return None
        if parts[-1].startswith("."):  # ._watch.cpp of macOS, editors' files
            return None
        if len(self.files) >= ENTRIES_MAX:
            raise Unreadable(f"more than {ENTRIES_MAX} files")
        path = "/".join(parts)
        self.files.setdefault(path, None)
        return path if path.lower().endswith(CODE) or path in twins_of_names(path) else None

    def put(self, path, data):
        self._budget -= len(data)
        if self._budget < 0:
            raise Unreadable(f"its files hold more than {READ_BYTES_MAX >> 20} MiB")
        self.files[path] = data

    def link(self, name):
        self._links.append(name)

    def remark(self, text):
        if len(self.remarks) < 5:
            self.remarks.append(text)

    def done(self):
        if self._links:
            self.remark(f"links are not followed: {', '.join(self._links[:3])}" + _more(self._links, 3))
        return self.files, self.remarks


def _read_folder(root):
    take = _Take()

    def unreadable(error):
        take.remark(f"could not be read: {error.filename}")

    for folder, folders, names in os.walk(root, onerror=unreadable):
        inside = pathlib.Path(folder).relative_to(root)
        links = [f for f in folders if os.path.islink(os.path.join(folder, f))]
        for one in links:
            take.link((inside / one).as_posix())
        folders[:] = sorted(f for f in folders if f not in links and f.lower() not in _SKIPPED_FOLDERS)
        if len(inside.parts) > DEPTH_MAX:
            folders[:] = []
        for name in sorted(names):
            path = (inside / name).as_posix()
            mode = os.lstat(os.path.join(folder, name)).st_mode
            if stat.S_ISLNK(mode):
                take.link(path)
            elif not stat.S_ISREG(mode):
                take.remark(f"ignored: {path} is no plain file")
            elif wanted := take.wants(path):
                with contextlib.suppress(OSError):
                    fd = os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                    with open(fd, "rb") as file:
                        take.put(wanted, file.read(SOURCE_BYTES_MAX + 1))
    return take.done()


def _read_zip(path):
    take = _Take()
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > ENTRIES_MAX:
                raise Unreadable(f"more than {ENTRIES_MAX} files")
            for member in members:
                if member.is_dir():
                    continue
                if stat.S_ISLNK(member.external_attr >> 16):
                    take.link(member.filename)
                    continue
                wanted = take.wants(member.filename)
                if wanted is None:
                    continue
                if member.flag_bits & 1:
                    raise Unreadable(f"{path.name} is encrypted")
                with archive.open(member) as file:
                    take.put(wanted, file.read(SOURCE_BYTES_MAX + 1))
    except (
        zipfile.BadZipFile,
        zipfile.LargeZipFile,
        zlib.error,
        EOFError,
        OSError,
        NotImplementedError,
        ValueError,
        UnicodeError,
    ) as error:
        raise Unreadable(f"{path.name} is damaged: {error}") from None
    return take.done()


class _Entry(tarfile.TarInfo):
    """Extended headers, which are read into memory whole, have a limit."""

    def _proc_pax(self, archive):
        return self._if_small(super()._proc_pax, archive)

    def _proc_gnulong(self, archive):
        return self._if_small(super()._proc_gnulong, archive)

    def _if_small(self, process, archive):
        if self.size > HEADER_BYTES_MAX:
            raise Unreadable("a header of the archive is larger than it may be")
        return process(archive)


class _Bounded:
    """A stream that ends in an error instead of filling the memory."""

    def __init__(self, file):
        self._file, self._left = file, UNPACKED_BYTES_MAX

    def read(self, size):
        data = self._file.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise Unreadable(f"it holds more than {UNPACKED_BYTES_MAX >> 20} MiB")
        return data


def _read_tar(path):
    take = _Take()
    try:
        with contextlib.ExitStack() as stack:
            file = stack.enter_context(open(path, "rb"))
            if file.read(2) == b"\x1f\x8b":
                file.seek(0)
                file = stack.enter_context(gzip.GzipFile(fileobj=file))
            else:
                file.seek(0)
            archive = stack.enter_context(tarfile.open(fileobj=_Bounded(file), mode="r|", tarinfo=_Entry))
            for number, member in enumerate(archive):
                if number >= ENTRIES_MAX:
                    raise Unreadable(f"more than {ENTRIES_MAX} files")
                archive.members = []  # it would keep them all
                if member.issym() or member.islnk():
                    take.link(member.name)
                    continue
                if member.isdir():
                    continue
                if not member.isreg():
                    take.remark(f"ignored: {member.name[:80]} is no plain file")
                    continue
                if member.size > UNPACKED_BYTES_MAX:
                    raise Unreadable(f"{member.name[:80]} is larger than {UNPACKED_BYTES_MAX >> 20} MiB")
                wanted = take.wants(member.name)
                if wanted is not None:
                    take.put(wanted, archive.extractfile(member).read(SOURCE_BYTES_MAX + 1))
    except (tarfile.TarError, zlib.error, EOFError, OSError, ValueError, UnicodeError, MemoryError) as error:
        raise Unreadable(f"{path.name} is damaged: {error}") from None
    return take.done()


# ---- which files are the answers -------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def tree_files():
    """Paths of the tree that students have, too, but for the four files they write."""
    answer = subprocess.run(["git", "-C", str(ROOT), "ls-files", "-z"], capture_output=True, check=False)
    names = (
        answer.stdout.decode(errors="replace").split("\0")
        if answer.returncode == 0
        else (
            p.relative_to(ROOT).as_posix()
            for top in ("lb", "harness", "exercises", "cmake", "tools")
            for p in (ROOT / top).rglob("*")
            if p.is_file()
        )
    )
    own = {f"exercises/ch10/{source_name(n)}" for n in EXERCISES}
    return frozenset(n for n in names if n and n not in own and not n.startswith(("solutions/", "fixtures/")))


def twin(path):
    """The file of the tree that `path` is a copy of, by name: x/lb/config/diff.hpp is lb/config/diff.hpp."""
    parts = path.split("/")
    for at in range(len(parts)):
        for name in ("/".join(parts[at:]), "exercises/ch10/" + "/".join(parts[at:])):
            if "/" in name and name in tree_files():
                return name
    return None


def twins_of_names(path):
    """{path} when its content is to be compared with the tree's."""
    return {path} if path.endswith((".hpp", ".py")) and twin(path) else ()


def _rank(path, number):
    """How surely `path` is the answer to an exercise: lower is surer; None: it is not."""
    seam, lower = SEAMS[number], path.lower()
    suffix = next((s for s in sorted(CODE, key=len, reverse=True) if lower.endswith(s)), None)
    if suffix is None or twin(path):
        return None
    *folders, name = lower.split("/")
    stem = name[: -len(suffix)]
    words = [w for w in re.split(r"[^a-z]+", stem) if w]
    folder = folders[-1] if folders else ""
    home = folder == f"{number}_{seam}"
    near = (
        home
        or re.fullmatch(rf"(ex(ercise)?)?[ _.-]*(10[._-])?{number}([ _.-]*{seam})?|{seam}", folder)
        is not None
    )
    if path.endswith(f"exercises/ch10/{source_name(number)}"):
        return 0
    if f"/{path}".endswith(f"/{source_name(number)}"):
        return 1
    foreign = any(folder == f"{n}_{s}" for n, s in SEAMS.items() if n != number)
    if foreign or _NO_ANSWERS & set(words):
        return None
    if seam in words:
        exact = stem == seam
        return (2 if exact else 3) if near else (4 if exact else 5)
    return 6 if home else None


def choose(files):
    """({exercise: bytes}, remarks) of the files found."""
    chosen, remarks, used, missing, windows = {}, [], set(), [], []
    for number in EXERCISES:
        ranked = sorted(
            (rank, path.count("/"), path) for path in files if (rank := _rank(path, number)) is not None
        )
        ranked = [r for r in ranked if files[r[2]] is not None]
        if not ranked:
            missing.append(number)
            continue
        rank, depth, path = ranked[0]
        data = files[path]
        if rank >= 6 and sum(r[0] == rank for r in ranked) > 1:
            names = ", ".join(r[2] for r in ranked[:3])
            remarks.append(
                f"{label(number)}: there is no {SEAMS[number]}.cpp, and which of {names} it should be cannot "
                "be told"
            )
            continue
        rivals = [r[2] for r in ranked[1:] if r[0] == rank and files[r[2]] != data]
        if rivals:
            remarks.append(
                f"{label(number)}: {path} is taken; {rivals[0]} is different and could be meant, too"
            )
        elif not f"/{path}".endswith(f"/{source_name(number)}"):
            remarks.append(f"{label(number)}: {path} is taken as {source_name(number)}")
        if b"\r\n" in data:
            windows.append(number)
        chosen[number] = data
        used.add(path)
    if len(missing) == len(EXERCISES):
        remarks.append("there is none of the four exercise files")
    elif missing:
        remarks.append(f"there is no {' and no '.join(f'{SEAMS[n]}.cpp' for n in missing)}")
    if windows:
        remarks.append(f"lines end as on Windows (CRLF): {', '.join(label(n) for n in windows)}")
    remarks += _others(files, used)
    return chosen, remarks


def _others(files, used):
    changed, extra = [], []
    for path in sorted(set(files) - used):
        original = twin(path)
        if original is None:
            if not path.lower().endswith((".md", ".txt", ".pdf")) and not _is_of_tree(path):
                extra.append(path)
        elif files[path] is not None:
            with contextlib.suppress(OSError):
                if _plain(files[path]) != _plain((ROOT / original).read_bytes()):
                    changed.append(original)
    remarks = []
    if changed:
        remarks.append(
            f"changed and ignored: {', '.join(changed[:3])}{_more(changed, 3)} (all but the four exercise "
            "files is the instructor's)"
        )
    if extra:
        remarks.append(f"not used: {', '.join(extra[:3])}{_more(extra, 3)}")
    return remarks


def _is_of_tree(path):
    """Within a whole tree that was handed in: what its folders hold needs no sentence each."""
    name = path.rsplit("/", 1)[-1]
    return (
        re.search(r"(^|/)(lb|harness|fixtures|chapters|cmake|tools)/", path) is not None
        or name == "HANDOUT"
        or name in tree_files()
    )


def _plain(data):
    return data.replace(b"\r\n", b"\n").rstrip()


def _more(items, shown):
    return f" and {len(items) - shown} more" if len(items) > shown else ""


# ---- alike? ----------------------------------------------------------------------------------------


def normal_form(data):
    """A source without comments, blanks and line ends: what two copies with other comments have in common."""
    text = data.decode("utf-8", errors="replace").removeprefix("\ufeff")
    text = re.sub(r'("(?:[^"\\\n]|\\.)*")|/\*.*?\*/|//[^\n]*', lambda m: m.group(1) or " ", text, flags=re.S)
    return re.sub(r"\s+", "", text)
