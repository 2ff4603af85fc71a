"""The hidden checks of exercise 10.1; see exercises/ch10/1_watch/checks.py for the public ones."""
from lbgrader.check import check
from lbgrader.fake_files import LINKS_MAX, FakeFiles
from lbgrader.watch_world import PATH, RETURN_SECONDS_MAX, World

WATCHES_MAX = 12
WATCH_FIRST = "look first and watch then, and what happens between is never seen: watch first, then look"


def started(lab, files, student=None, **options):
    world = World(lab, student or lab.student(), files, **options)
    error = world.start()
    if error is not None:
        world.fail("start() succeeds", f"the error {error!r}")
    return world


def plain(content="one"):
    files = FakeFiles()
    files.makedirs("/etc/lb")
    files.write(PATH, content)
    return files


def releases(cwd="/"):
    """/srv/app/current -> ../releases/1 -> /disk/1: a link to a link to a directory."""
    files = FakeFiles(cwd)
    for path in ("/srv/app", "/srv/releases", "/disk/1/conf"):
        files.makedirs(path)
    files.write("/disk/1/conf/lb.json", "one")
    files.symlink("/disk/1", "/srv/releases/1")
    files.symlink("../releases/1", "/srv/app/current")
    return files


@check(20, "relative paths, and links on the way to the file", points=2,
       usually="a link's text is relative to the directory of the link; each link's directory is watched")
def on_the_way(lab):
    student = lab.student()
    for cwd, path in (("/", "/srv/app/current/conf/lb.json"), ("/srv", "app/current/conf/lb.json"),
                      ("/srv/app", "./current//conf/lb.json"), ("/disk/1/conf", "lb.json"),
                      ("/disk/1", "../../srv/app/current/conf/lb.json"),
                      ("/srv/app", "/disk/../srv/app/current/conf/lb.json")):
        lab.step(f"-- standing in {cwd}, the path is {path} --")
        world = started(lab, releases(cwd), student, path=path)
        world.do(("write", "/disk/1/conf/lb.json", "in place"))
        world.expect_reload()
        world.do(("write", "/disk/1/conf/tmp", "renamed"),
                 ("rename", "/disk/1/conf/tmp", "/disk/1/conf/lb.json"))
        world.expect_reload(usually="the watch follows the old inode, not the name")
        if path == "lb.json":
            continue
        world.do(("makedirs", "/disk/2/conf"), ("write", "/disk/2/conf/lb.json", "the second disk"),
                 ("symlink", "/disk/2", "/srv/releases/tmp"),
                 ("rename", "/srv/releases/tmp", "/srv/releases/1"))
        world.expect_reload(usually="the link in the middle was replaced")
        world.do(("write", "/disk/1/conf/lb.json", "nobody looks here now"))
        world.expect_quiet(1, "the path leads to the second disk")
        world.do(("makedirs", "/srv/releases/2/conf"), ("write", "/srv/releases/2/conf/lb.json", "release 2"),
                 ("symlink", "../releases/2", "/srv/app/tmp"), ("rename", "/srv/app/tmp", "/srv/app/current"))
        world.expect_reload()
        world.do(("write", "/srv/releases/2/conf/lb.json", "release 2 in place"))
        world.expect_reload()


@check(21, "no watch is left behind, and running out of them is told", points=1,
       usually="watches of what is no longer on the way are to be removed")
def leaks(lab):
    world = started(lab, plain())
    told, world.tell = world.tell, False
    for i in range(40):
        world.files.write("/etc/lb/next", f"content {i}")
        world.do(("rename", "/etc/lb/next", PATH) if i % 2 else ("rename", PATH, f"/etc/lb/kept{i}"))
        world.run(0.3)
        if i % 8 == 7:
            world.files.makedirs("/etc/new")
            world.files.write("/etc/new/lb.json", f"exchanged {i}")
            world.do(("rename", "/etc/lb", f"/etc/old{i}"), ("rename", "/etc/new", "/etc/lb"))
            world.run(RETURN_SECONDS_MAX)
    world.tell = told
    world.say("rename files over lb.json, keep the old ones; rename the directory away: 45 times in all")
    live = len(world.files.inodes)
    if live > WATCHES_MAX:
        world.fail(f"at most {WATCHES_MAX} watches", f"{live} watches are left")
    world.expect_up_to_date()
    lab.step("-- another balancer, where no watch is to be had --")
    files = plain()
    files.watches_max = 0
    world = World(lab, world.student, files)
    world.lab.expect(world.start() is not None, expected="start() returns an error: no watches are left",
                     seen="success", usually="ENOSPC of add_watch is not told")


@check(22, "links in a circle, and forty in a row", points=1,
       usually="the kernel follows 40 links and then gives up; so does a watcher")
def circles(lab):
    world = started(lab, plain())
    world.do(("symlink", "b", "/etc/lb/a"), ("symlink", "a", "/etc/lb/b"), ("symlink", "a", "/etc/lb/tmp"),
             ("rename", "/etc/lb/tmp", PATH))
    world.expect_quiet(3, "the path leads nowhere")
    world.do(("write", "/etc/lb/c", "out of the circle"), ("symlink", "c", "/etc/lb/tmp"),
             ("rename", "/etc/lb/tmp", "/etc/lb/b"))
    world.expect_reload(RETURN_SECONDS_MAX)
    world.do(("rename", PATH, "/etc/lb/away"), ("symlink", "lb.json/lb.json", PATH))
    world.expect_quiet(3, "the link leads to itself")
    lab.step("-- another balancer, started in the circle --")
    world = started(lab, world.files, world.student)
    world.expect_quiet(3, "the path leads nowhere")
    world.do(("write", "/etc/lb/tmp", "a file"), ("rename", "/etc/lb/tmp", PATH))
    world.expect_reload(RETURN_SECONDS_MAX)
    lab.step(f"-- another balancer: lb.json is a link to a link to ..., {LINKS_MAX} of them --")
    files = plain()
    files.rename(PATH, f"/etc/lb/{LINKS_MAX}")
    for i in range(1, LINKS_MAX):
        files.symlink(f"{i + 1}", f"/etc/lb/{i}")
    files.symlink("1", PATH)
    world = started(lab, files, world.student)
    world.do(("write", "/etc/lb/tmp", "another end"), ("rename", "/etc/lb/tmp", f"/etc/lb/{LINKS_MAX}"))
    world.expect_reload()


def _replace(files):
    files.write("/etc/lb/late", "late")
    files.rename("/etc/lb/late", PATH)


def _new_link(files):
    files.makedirs("/etc/lb/..9")
    files.write("/etc/lb/..9/lb.json", "late")
    files.symlink("..9/lb.json", "/etc/lb/late")
    files.rename("/etc/lb/late", PATH)


def _new_folder(files):
    files.makedirs("/etc/late")
    files.write("/etc/late/lb.json", "late")
    files.rename("/etc/lb", "/etc/gone")
    files.rename("/etc/late", "/etc/lb")


CALLS_TRIED_MAX = 40


@check(23, "a change at the worst moment, between any two calls", points=1, seconds_max=20)
def worst_moment(lab):
    student = lab.student()
    for during_start in (True, False):
        for change in (_replace, _new_link, _new_folder, lambda files: files.write(PATH, "late")):
            for number in range(1, CALLS_TRIED_MAX):
                if not _interrupted(lab, student, during_start, change, number):
                    break


def _interrupted(lab, student, during_start, change, number):
    """One run with `change` just before call `number`; False when there are not so many calls."""
    del lab.story[:]
    world = World(lab, student, plain(), strict=False, tell=False)
    done = []

    def act():
        done.append(True)
        change(world.files)

    if during_start:
        world.interrupt(number, act)
        world.start()
        lab.step(f"start(); before its call {number} of FileEvents the file, or its directory, is replaced")
    else:
        world.start()
        world.interrupt(number, act)
        world.do(("write", PATH, "early"))
        world.run(0.5)  # the look is in it
        lab.step(f"write lb.json; before call {number} of FileEvents it, or its directory, is replaced too")
    if not done:
        return False
    world.run(RETURN_SECONDS_MAX + 1)
    known = "late" in world.read_at_start
    if during_start and not known and world.generation == 1:
        world.fail("generation 2: start() has not read what the file says now", "still generation 1",
                   WATCH_FIRST)
    if during_start and set(world.read_at_start) == {"late"} and world.generation > 1:
        world.fail("still generation 1: start() has read what the file says now", "generation 2")
    if not during_start:
        world.expect_up_to_date(WATCH_FIRST)
    if world.repeated > 1:
        world.fail("at most one reload of what is serving already", f"{world.repeated}")
    return True
