"""The supervisor, its clock and its disk around a submission of exercise 10.1.

The world has a virtual clock, calls poll() when the supervisor would (an event is queued, or next_deadline()
has come), reloads when poll() says so, and raises CheckFailed at once when a reload is wrong in itself: too
early, of a content that is serving already, of a file that cannot be read; or when the supervisor would spin.
"""
from .check import CheckFailed
from .fake_files import IN_DELETE_SELF, IN_IGNORED, FakeFiles, mask_words

SECOND = 10**9
PATH = "/etc/lb/lb.json"
RELOAD_SECONDS_MAX = 0.5  # from the last change to the reload, where nothing had to be waited for
RETURN_SECONDS_MAX = 2.0  # from the return of a directory to the reload
CALLS_MAX = 4000  # in one start() or poll()
POLLS_AT_ONCE_MAX = 20
POLLS_A_SECOND_MAX = 1000
LOG_LINES_MAX = 12


def milliseconds(nanoseconds):
    return f"{nanoseconds / 1e6:.0f} ms"


class World:
    """One watcher from start() on. `tell`: each operation is a step of the story. `strict`: a reload is
    judged when it comes; otherwise only by what the balancer has at the end (for changes amid a poll)."""

    def __init__(self, lab, student, files=None, path=PATH, debounce=0.1, debounce_max=2.0, tell=True,
                 strict=True):
        self.lab, self.student, self.path = lab, student, path
        self.files = files or FakeFiles()
        self.debounce, self.debounce_max = int(debounce * SECOND), int(debounce_max * SECOND)
        self.tell, self.strict = tell, strict
        self.now = self.began = 1000 * SECOND
        self.next = None
        self.generation = 1
        self.serving = None  # the content that the current generation was started with
        self.reload_at = None
        self.polls = self.calls = self.repeated = 0
        self.read_at_start = []
        self._starting = False
        self._interrupt = None
        self._changed_at = self._busy_since = self._last_at = self.now
        self._content = None
        student.on_call = self._on_call
        lab.log.clear()

    # -- the submission -----------------------------------------------------------------------------

    def start(self):
        """make_config_watcher() and start(). Returns its error, or None."""
        self.serving = self._content = self.files.content(self.path)
        self._say(f"watch {self._short(self.path):<18} generation 1 is serving")
        self._starting = True
        answer = self._ask("start", path=self.path, debounce=self.debounce, debounce_max=self.debounce_max)
        self._starting = False
        if answer["error"] is None:
            self._settle()
        return answer["error"]

    def poll(self):
        self.polls += 1
        if self._ask("poll")["changed"]:
            self._reload()

    def _ask(self, what, **more):
        self.calls = 0
        answer = self.student.ask(what, now=self.now, **more)
        kinds = {"start": ("error", (str, type(None))), "poll": ("changed", bool)}
        key, kind = kinds[what]
        if not isinstance(answer, dict) or not isinstance(answer.get(key), kind) or not (
                answer.get("next") is None or isinstance(answer["next"], int)):
            self.fail(f"an answer to {what}", "something else on the grader's own channel")
        self.next = answer["next"]
        return answer

    def _on_call(self, message):
        self.calls += 1
        if self.calls > CALLS_MAX:
            raise CheckFailed(f"at most {CALLS_MAX} calls of FileEvents in one call of the watcher",
                              f"more, the last one {message['call']} {message.get('path', '')}",
                              usually="it follows a loop of links for ever: the kernel gives up after 40")
        if self._interrupt:
            self._interrupt(message)
        result = self.files.call(message)
        if result is None and message.get("call") != "remove_watch":
            self.fail("calls of FileEvents", "something else on the grader's own channel")
        if message["call"] == "read":
            self._log(result)
        elif self._starting and message["call"] == "read_file":
            self.read_at_start.append(result.get("ok"))
        return result

    def _log(self, events):
        deleted = None
        for watch, mask, _, name in events:
            if not (mask & IN_IGNORED and watch == deleted):  # it says nothing new
                self.lab.log.append(f"{mask_words(mask)} wd={watch} {name}".strip())
            deleted = watch if mask & IN_DELETE_SELF else None
        del self.lab.log[:-LOG_LINES_MAX]

    def _reload(self):
        content, config = self.files.content(self.path), self.serving
        self.generation += 1
        self.reload_at = self.now
        self.serving = content
        if content == config:
            self.repeated += 1
        if not self.strict:
            return
        seen = f"generation {self.generation}"
        if content is None:
            self.fail("no reload while the file cannot be read", seen,
                      "poll() says true without having read the file")
        if content == config:
            self.fail(f"still generation {self.generation - 1}: the file says what is serving already", seen,
                      "an event is taken for a change: compare the content with what was last reported")
        quiet, busy = self.now - self._changed_at, self.now - self._busy_since
        if quiet < self.debounce and busy < self.debounce_max:
            self.fail(f"a reload when the file was left alone for {milliseconds(self.debounce)}",
                      f"{seen} {milliseconds(quiet)} after a change",
                      "the time of quiet does not begin anew with each event")

    # -- time and the disk --------------------------------------------------------------------------

    def do(self, *operations, poll=True):
        """Operations of FakeFiles, (name, argument...), in a row; then what the supervisor does at once."""
        for name, *arguments in operations:
            self._say(self._words(name, arguments))
            getattr(self.files, name)(*arguments)
            self.changed()
        if poll:
            self._settle()

    def changed(self, about_us=True):
        """Something was done to the disk just now."""
        if about_us:
            if self.now - self._last_at > self.debounce:
                self._busy_since = self.now
            self._last_at = self.now

    def wait(self, seconds):
        self._say(f"wait {seconds * 1000:.0f} ms")
        self.run(seconds)

    def run(self, seconds, until=lambda: False):
        """Lets time pass, or until `until` holds after a poll."""
        end, at_once = self.now + int(seconds * SECOND), 0
        polls_max = self.polls + POLLS_AT_ONCE_MAX + int(POLLS_A_SECOND_MAX * seconds)
        self._settle()
        while not until():
            if self.next is None or self.next > end:
                self.now = end
                return
            if self.next > self.now:
                self.now, at_once = self.next, 0
            at_once += 1
            if at_once > POLLS_AT_ONCE_MAX or self.polls > polls_max:
                self.fail("after poll(), a next_deadline() worth sleeping for", "the supervisor spins",
                          "a deadline that was met is not moved, or it is always now")
            self.poll()
            self._settle()

    def _settle(self):
        # What was changed and changed back at one instant, before anyone could look, counts as no change.
        content = self.files.content(self.path)
        if content != self._content:
            self._content, self._changed_at = content, self.now
        for _ in range(POLLS_AT_ONCE_MAX):
            if not self.files.queue:
                return
            self.poll()
        self.fail("poll() takes every event", f"events are queued after {POLLS_AT_ONCE_MAX} calls of poll()",
                  "FileEvents::read() is not called, or each poll() causes new events")

    def interrupt(self, number, action):
        """`action()` happens just before call `number` (from 1, from now on) of the submission."""
        left = [number]

        def count(_message):
            left[0] -= 1
            if left[0] == 0:
                self._interrupt = None
                action()
                self.changed()

        self._interrupt = count

    def count_calls(self):
        """A list of the calls the submission makes from now on."""
        made = []
        self._interrupt = made.append
        return made

    # -- expectations -------------------------------------------------------------------------------

    def expect_reload(self, within=RELOAD_SECONDS_MAX, since=None, usually=""):
        """The next generation, with the content that the file has now."""
        since = self.now if since is None else since
        want = self.generation + 1
        self.run((since - self.now) / SECOND + within, until=lambda: self.generation >= want)
        if self.generation < want:
            self.fail(f"generation {want} within {within * 1000:.0f} ms", f"still generation {want - 1}",
                      usually)

    def expect_quiet(self, seconds, why, usually=""):
        """No reload in this time."""
        have, began = self.generation, self.now
        self.run(seconds, until=lambda: self.generation != have)
        if self.generation != have:
            self.fail(f"still generation {have}: {why}",
                      f"generation {self.generation} after {milliseconds(self.now - began)}", usually)

    def expect_up_to_date(self, usually=""):
        """The balancer has what the file says; a file that cannot be read changes nothing."""
        content = self.files.content(self.path)
        if content is not None and content != self.serving:
            self.fail(f"the balancer has what the file says, {content!r}", f"it still has {self.serving!r}",
                      usually)

    def fail(self, expected, seen, usually=""):
        raise CheckFailed(expected, seen, "\n".join(self.lab.log), usually)

    # -- words --------------------------------------------------------------------------------------

    def say(self, text):
        self._say(text)

    def _say(self, text):
        if self.tell:
            self.lab.step(text)

    def _short(self, path):
        folder = PATH.rsplit("/", 1)[0] + "/"
        return path[len(folder):] if path.startswith(folder) else path

    def _words(self, name, arguments):
        short = [self._short(str(a)) for a in arguments]
        if name == "rename":
            return f"rename {short[0]} -> {short[1]}"
        if name == "symlink":
            return f"link {short[1]} -> {arguments[0]}"
        if name == "link":
            return f"hard link {short[1]} to {short[0]}"
        if name == "write":
            return f"write {short[0]}"
        if name == "chmod":
            return f"chmod {arguments[1]:03o} {short[0]}"
        words = {"unlink": "delete", "rmdir": "delete directory", "rmtree": "delete tree",
                 "mkdir": "make directory",
                 "makedirs": "make directory", "touch": "touch", "overflow": "the queue of events overflows"}
        return " ".join([words.get(name, name), *short[:1]])
