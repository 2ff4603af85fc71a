"""The public checks of exercise 10.1. Disk, kernel and clock are simulated: see lbgrader/watch_world.py."""
import itertools
import json
import pathlib
import shutil
import tempfile

from lbgrader.check import CheckFailed, CouldNotGrade, NotImplementedYet, check
from lbgrader.fake_files import FakeFiles
from lbgrader.shrink import shrink
from lbgrader.watch_world import PATH, RETURN_SECONDS_MAX, SECOND, World

NAME_NOT_INODE = "the watch follows the old inode, not the name"
RETRY = "where a watch cannot be set, look again each kWatchRetryInterval"
ANCESTOR = "from a directory that is gone nothing comes: watch the nearest one above it, or try again"


def folder(content="one", path=PATH):
    """A disk with the file on it."""
    files = FakeFiles()
    files.makedirs(path.rsplit("/", 1)[0])
    files.write(path, content)
    return files


def started(lab, files=None, student=None, **options):
    world = World(lab, student or lab.student(), files or folder(), **options)
    error = world.start()
    if error is not None:
        world.fail("start() succeeds", f"the error {error!r}")
    return world


def configuration_map():
    """/etc/lb as it is mounted into a container: lb.json -> ..data/lb.json, ..data -> ..1, ..1/lb.json."""
    files = FakeFiles()
    files.makedirs("/etc/lb/..1")
    files.write("/etc/lb/..1/lb.json", "one")
    files.symlink("..1", "/etc/lb/..data")
    files.symlink("..data/lb.json", PATH)
    return files


def swap(number, content):
    """The operations that give a mounted configuration map its next content."""
    new, old = f"/etc/lb/..{number}", f"/etc/lb/..{number - 1}"
    return [("mkdir", new), ("write", f"{new}/lb.json", content),
            ("symlink", f"..{number}", "/etc/lb/..data_tmp"),
            ("rename", "/etc/lb/..data_tmp", "/etc/lb/..data"), ("rmtree", old)]


@check(1, "a plain write is reported, once", points=1, usually="the mask lacks IN_MODIFY or IN_CLOSE_WRITE")
def plain_write(lab):
    world = started(lab)
    world.expect_quiet(5, "nothing has happened", "what start() found is known already")
    if world.polls > 6:
        world.fail("a watcher that sleeps while nothing happens", f"{world.polls} calls of poll() in 5 s",
                   "next_deadline() is for a look that is due or a watch that is missing; and reading the "
                   "file is an event too, where IN_OPEN or IN_ACCESS are asked for")
    for content in ("two", "three"):
        world.do(("write", PATH, content))
        world.expect_reload()
        world.say("poll without a reason")
        world.poll()
        world.expect_quiet(3, "this content was reported already")


@check(2, "halves, bursts and touches: quiet for the debounce time, then one reload", points=2,
       usually="each event starts the time of quiet anew; when it is over, the content decides")
def debounce(lab):
    world = started(lab)
    world.say("open lb.json for writing, write one half")
    file = world.files.open_write(PATH)
    file.write("two, first half, ")
    world.changed()
    world.wait(0.06)
    world.say("write the other half, close")
    file.write("second half")
    file.close()
    world.changed()
    world.expect_reload()
    world.expect_quiet(1, "both halves are one change")
    for i in range(12):
        world.do(("write", PATH, f"burst {i}"))
        world.wait(0.03)
    world.expect_reload()
    world.expect_quiet(1, "a burst is one change")
    world.do(("touch", PATH))
    world.expect_quiet(1, "touch changes no content", "an event is taken for a change: compare the content")
    world.do(("write", PATH, "burst 11"))
    world.expect_quiet(1, "the same bytes were written",
                       "an event is taken for a change: compare the content")
    world.do(("write", PATH, "other"))
    world.wait(0.05)
    world.do(("write", PATH, "burst 11"))
    world.expect_quiet(1, "changed, and changed back",
                       "compared with the last look, not with what was reported")


@check(3, "other files of the directory neither report nor delay", points=1,
       usually="events are not filtered by their name, the whole name")
def neighbours(lab):
    world = started(lab)
    for i in range(5):
        world.do(("write", "/etc/lb/other.json", f"{i}"), ("touch", "/etc/lb/other.json"))
    world.expect_quiet(1, "another file was written")
    world.do(("write", PATH, "two"))
    began = world.now
    world.say("write log.txt and lb.json.log each 20 ms")
    while world.generation == 1 and world.now < began + SECOND:
        world.files.write("/etc/lb/log.txt", f"{world.now}")
        world.files.write("/etc/lb/lb.json.log", f"{world.now}")
        world.changed(about_us=False)
        world.run(0.02, until=lambda: world.generation == 2)
    if world.generation != 2 or world.reload_at > began + SECOND // 2:
        world.fail("generation 2 within 500 ms", "still generation 1: somebody else's writes delay the look")
    world.do(("write", "/etc/lb/lb.json~", "two"), ("write", "/etc/lb/lb.json.bak", "two"),
             ("mkdir", "/etc/lb/lb"))
    world.expect_quiet(1, "lb.json~ is not lb.json", "names are compared by their beginning")


@check(4, "a file that is written for ever is reported all the same", points=1,
       usually="debounce_max: look that long after the first event, even if there is no quiet")
def for_ever(lab):
    world = started(lab)
    for want in (2, 3):
        began = world.now
        world.say("write lb.json each 50 ms, for 2.5 s")
        while world.now < began + 2.5 * SECOND and world.generation < want:
            world.files.write(PATH, f"at {world.now}")
            world.changed()
            world.run(0.05, until=lambda: world.generation == want)  # noqa: B023
        world.lab.expect(world.generation == want, expected=f"generation {want} within 2.2 s",
                         seen=f"still generation {want - 1} after 2.5 s of writes")
    world.wait(3)
    world.expect_up_to_date("the last write comes after the last look")
    world.say("open lb.json, write each 50 ms, and do not close it")
    file, began, want = world.files.open_write(PATH), world.now, world.generation + 1
    while world.now < began + 2.5 * SECOND and world.generation < want:
        file.write("more ")
        world.changed()
        world.run(0.05, until=lambda: world.generation == want)
    world.lab.expect(world.generation == want, expected=f"generation {want} within 2.2 s",
                     seen=f"still generation {want - 1} after 2.5 s of writes",
                     usually="a write is IN_MODIFY; IN_CLOSE_WRITE comes when the writer is through, if ever")


@check(5, "an editor saves by renaming", points=7, usually=NAME_NOT_INODE)
def rename_over(lab):
    world = started(lab)
    for content in ("two", "three"):
        world.do(("write", f"{PATH}.tmp", content))
        world.do(("rename", f"{PATH}.tmp", PATH))
        world.expect_reload()
    world.do(("write", PATH, "written in place"))
    world.expect_reload()
    world.do(("rename", PATH, f"{PATH}~"))
    world.wait(1)
    world.do(("write", PATH, "an editor that keeps the old one as lb.json~"))
    world.expect_reload()
    world.do(("unlink", PATH))
    world.expect_quiet(1, "a file that is not there changes nothing")
    world.do(("write", f"{PATH}.tmp", "back"), ("rename", f"{PATH}.tmp", PATH))
    world.expect_reload()
    world.do(("unlink", PATH))
    world.wait(1)
    world.do(("write", PATH, "back"))
    world.expect_quiet(1, "it came back as it was")
    world.do(("write", PATH, "changed"))
    world.expect_reload()


@check(6, "a mounted configuration map is swapped", points=2,
       usually="the name that changes is the link's, ..data: its directory is to be watched for it")
def configuration_maps(lab):
    world = started(lab, configuration_map())
    for number, content in ((2, "two"), (3, "three")):
        world.do(*swap(number, content))
        world.expect_reload()
        world.expect_quiet(1, "one swap is one change")
    world.do(*swap(4, "three"))
    world.expect_quiet(1, "a swap to the same content")
    world.do(("write", "/etc/lb/..4/lb.json", "in place"))
    world.expect_reload(usually="after a swap the new directory has to be watched")


@check(7, "a directory is deleted and restored, or comes late", points=2, usually=ANCESTOR)
def restored(lab):
    world = started(lab)
    for content in ("two", "three"):
        world.do(("rmtree", "/etc/lb"))
        world.expect_quiet(3.3, "there is no file")
        world.do(("mkdir", "/etc/lb"))
        world.do(("write", PATH, content))
        world.expect_reload(RETURN_SECONDS_MAX)
        world.do(("write", PATH, f"{content} in place"))
        world.expect_reload()
    world.do(("makedirs", "/etc/new"), ("write", "/etc/new/lb.json", "swapped"),
             ("rename", "/etc/lb", "/etc/old"), ("rename", "/etc/new", "/etc/lb"))
    world.expect_reload(RETURN_SECONDS_MAX, usually="a directory that is renamed away takes its watch along")
    lab.step("-- another balancer, started before its directory is there --")
    world = started(lab, FakeFiles(), student=world.student)
    world.expect_quiet(3.3, "there is no file")
    world.do(("makedirs", "/etc/lb"), ("write", PATH, "first"))
    world.expect_reload(RETURN_SECONDS_MAX)


@check(8, "events lost, a file not readable for a moment, a directory that cannot be watched", points=1)
def lost(lab):
    world = started(lab)
    world.do(("write", PATH, "two"), ("overflow",))
    world.expect_reload(usually="IN_Q_OVERFLOW: anything may have happened, so look")
    world.do(("write", f"{PATH}.tmp", "three"), ("rename", f"{PATH}.tmp", PATH), ("overflow",))
    world.expect_reload(usually="IN_Q_OVERFLOW: anything may have happened, so look")
    world.do(("write", PATH, "four"))
    world.expect_reload(usually="after lost events the watches may be of what is gone: set them anew")
    world.do(("rmtree", "/etc/lb"), ("mkdir", "/etc/lb"), ("write", PATH, "five"), ("overflow",))
    world.expect_reload(RETURN_SECONDS_MAX,
                        usually="after lost events the watches may be gone: set them anew")
    world.do(("overflow",))
    world.expect_quiet(1, "nothing had happened but the overflow")
    world.do(("chmod", PATH, 0), ("write", PATH, "six"))
    world.expect_quiet(2.5, "the file cannot be read")
    world.do(("chmod", PATH, 0o600))
    world.expect_reload(RETURN_SECONDS_MAX,
                        usually="a chmod is IN_ATTRIB; or try again while it cannot be read")
    lab.step("-- another balancer, which may search /etc/lb and not read it --")
    files = folder()
    files.chmod("/etc/lb", 0o300)
    world = started(lab, files, student=world.student)
    for content in ("two", "three"):
        world.do(("write", f"{PATH}.tmp", content), ("rename", f"{PATH}.tmp", PATH))
        world.expect_reload(RETURN_SECONDS_MAX, usually=RETRY)
    world.do(("unlink", PATH))
    world.expect_quiet(1.5, "there is no file")
    world.do(("write", PATH, "four"))
    world.expect_reload(RETURN_SECONDS_MAX, usually=RETRY)


# What may happen to the file /w/lb.json, for the runs below. Each takes the disk and a content.

def _write(files, text):
    files.write("/w/lb.json", text)


def _replace(files, text):
    files.write("/w/lb.tmp", text)
    files.rename("/w/lb.tmp", "/w/lb.json")


def _delete(files, _):
    files.unlink("/w/lb.json")


def _link(files, text):
    files.write("/w/other", text)
    files.symlink("other", "/w/lb.lnk")
    files.rename("/w/lb.lnk", "/w/lb.json")


def _remove(files, _):
    files.rmtree("/w")


def _restore(files, text):
    if not files.exists("/w"):
        files.mkdir("/w")
        files.write("/w/lb.json", text)


def _exchange(files, text):
    files.mkdir("/v")
    files.write("/v/lb.json", text)
    if files.exists("/w"):
        files.rename("/w", "/u")
        files.rmtree("/u")
    files.rename("/v", "/w")


def _overflow(files, text):
    files.write("/w/lb.json", text)
    files.overflow()


OPERATIONS = {"write": _write, "replace by rename": _replace, "delete": _delete, "replace by a link": _link,
              "delete the directory": _remove, "restore the directory": _restore,
              "rename another directory over": _exchange, "write, and the queue overflows": _overflow,
              "touch": lambda files, _: files.touch("/w/lb.json"),
              "write the first content": lambda files, _: files.write("/w/lb.json", "at first"),
              "make unreadable": lambda files, _: files.chmod("/w/lb.json", 0),
              "make readable": lambda files, _: files.chmod("/w/lb.json", 0o600),
              "write another file": lambda files, text: files.write("/w/another", text)}
PAIRS = list(OPERATIONS)[:7]
TRIPLES = list(OPERATIONS)[2:6]


def perform(lab, student, items, tell=False):
    """One run; items are (operation, content, pause after it in seconds). Ends with what must hold then."""
    world = started(lab, folder("at first", "/w/lb.json"), student, path="/w/lb.json", tell=tell)
    for name, content, pause in items:
        world.say(f"{name}, wait {pause * 1000:.0f} ms" if pause else name)
        try:
            OPERATIONS[name](world.files, content)
        except OSError:
            pass  # this cannot be done to what is there: nothing has happened
        world.changed()
        if pause:
            told, world.tell = world.tell, False
            world.wait(pause)
            world.tell = told
    world.run(RETURN_SECONDS_MAX + 0.2)
    world.expect_up_to_date()
    if len(world.files.inodes) > 12:
        world.fail("at most a watch for each directory on the way, and one of the file",
                   f"{len(world.files.inodes)} watches are left", "watches of what is gone are never removed")


def tell_shortest(lab, items):
    """Shrinks a failing run and fails with the story of the shortest."""
    def fails(some):
        try:
            perform(lab, lab.student(), some)
        except CheckFailed:
            return True
        return False

    shortest = shrink(items, fails, trials_max=60)
    lab.step(f"the shortest failing run, {len(shortest)} of {len(items)} operations")
    perform(lab, lab.student(), shortest, tell=True)
    raise CheckFailed("the same behaviour each time", "a run that failed passes when it is repeated")


@check(9, "every short history: up to three operations, with a look between them or without", points=1,
       seconds_max=20, usually="after what happened first, the watches are not where they should be")
def small_scope(lab):
    student = lab.student()
    for length in (1, 2, 3):
        for pause in (0.15, 0.0) if length < 3 else (0.15,):
            for names in itertools.product(TRIPLES if length == 3 else PAIRS, repeat=length):
                items = [(name, f"content {i}", pause) for i, name in enumerate(names)]
                try:
                    perform(lab, student, items)
                except CheckFailed:
                    perform(lab, lab.student(), items, tell=True)
                    raise


@check(10, "long histories at random", points=1, seconds_max=20)
def at_random(lab):
    student = lab.student()
    for run in range(8):
        items = [(lab.rng.choice(list(OPERATIONS)), f"content {i}", lab.rng.choice((0.0, 0.03, 0.15, 1.2)))
                 for i in range(14)]
        try:
            perform(lab, student, items)
        except CheckFailed:
            tell_shortest(lab, items)


SLACK_SECONDS = 3.0  # of a machine that is busy with other things


@check(11, "the real balancer reloads by itself", points=1, stage="live", seconds_max=60,
       usually="see the failing checks before this one; with the real kernel only the timing is new")
def live(lab):
    from lbharness import HarnessError, RawBackend
    from lbharness.balancer import Balancer
    with tempfile.TemporaryDirectory(prefix="lb-watch-") as where:
        backend = RawBackend(lambda exchange: exchange.reply())
        balancer = Balancer(directory=pathlib.Path(where), binary=lab.balancer())
        conf = pathlib.Path(where) / "conf"
        conf.mkdir()
        balancer.config_path = conf / "lb.json"

        def config(label):
            return {"listen": "127.0.0.1:0", "workers": 1, "backends": [backend.config()],
                    "reload": {"watch": True, "debounce": 0.1}, "response_headers": {"X-Config": label}}

        def expect_generation(number):
            try:
                balancer.wait_event("reload.applied", since=since, timeout=2.0 + SLACK_SECONDS)
            except HarnessError:
                told = [f"{event.get('event')}: {event.get('message')}" for event in balancer.events()]
                current = balancer.status()["current"]
                lab.expect(False, expected=f"generation {number} within 2 s",
                           seen=f"still generation {current}", log=told[-8:])
            seen = balancer.status()["current"]
            lab.expect(seen == number, expected=f"generation {number}", seen=f"generation {seen}")

        try:
            lab.step("start lb with reload.watch    generation 1 is serving")
            try:
                balancer.start(config("one"))
                watching = balancer.wait_event("watch.on", "watch.off")
            except HarnessError as error:
                raise CouldNotGrade(f"the balancer does not start: {error}", "environment") from error
            if watching["message"].startswith("not implemented: "):
                raise NotImplementedYet(watching["message"])
            lab.expect(watching["event"] == "watch.on", expected="watching begins", seen=watching["message"])
            since = balancer.log_position()
            lab.step("write lb.json.new, rename lb.json.new -> lb.json")
            balancer.write(config("two"))
            expect_generation(2)
            since = balancer.log_position()
            lab.step("touch lb.json, then write it in place")
            balancer.config_path.touch()
            balancer.config_path.write_text(json.dumps(config("three")))
            expect_generation(3)
            since = balancer.log_position()
            lab.step("delete the directory, make it anew, write lb.json")
            shutil.rmtree(conf)
            conf.mkdir()
            balancer.config_path.write_text(json.dumps(config("four")))
            expect_generation(4)
        finally:
            balancer.stop()
            backend.stop()
