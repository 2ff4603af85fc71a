"""A running balancer whose reloads must tell what changed: the live check of exercise 10.2. Its backends do
not answer, which a reload warns of and takes."""
import contextlib
import json
import pathlib
import socket
import tempfile

from lbharness import Balancer, HarnessError

from . import diff_judge as judge
from . import diff_model as model
from .check import CheckFailed, CouldNotGrade, NotImplementedYet

LOG_LINES_SHOWN = 30
CANNOT_TELL = "what changed cannot be told: "


class LiveBalancer:
    """Started with a configuration; ends, with all its processes, at the end of the with block."""

    def __init__(self, lab, config):
        self.lab, self.config = lab, config
        self._folder = tempfile.TemporaryDirectory(prefix="lb-diff-")
        self._lb = Balancer(directory=pathlib.Path(self._folder.name), binary=lab.balancer())

    def __enter__(self):
        self.lab.step("lb starts with " + judge.compact(self.config))
        try:
            self._lb.start(self.config)
        except HarnessError as error:
            self.__exit__()
            raise CouldNotGrade(f"the balancer does not start: {error}", "environment") from error
        return self

    def __exit__(self, *_):
        self._lb.stop()
        self._folder.cleanup()

    def _reload(self, config):
        """The answer, and the events that the log has for it."""
        since = self._lb.log_position()
        self._lb.write(config)
        result = self._lb.reload_cli("--json")
        try:
            answer = json.loads(result.out)
        except ValueError:
            raise CheckFailed("an answer of lb reload --json", str(result), self._log()) from None
        # What a reload logs is there before its answer is; the answer's own line ends it.
        self._lb.wait_event("reload.applied", "reload.rejected", since=since)
        if answer.get("applied"):
            self._lb.wait_event("ready", since=since)
        return answer, [
            event.get("message", "") for event in self._lb.events("reload.change", since=since)
        ]

    def applied(self, config):
        """A reload that must be applied, answer with its changes and log them."""
        self.lab.step("lb reload --json with " + judge.compact(config))
        answer, logged = self._reload(config)
        self.lab.expect(
            answer.get("applied") is True,
            expected="a reload that is applied",
            seen=str(answer.get("reason")),
            log=[self._log()],
        )
        warnings = [text for text in answer.get("warnings", []) if text.startswith(CANNOT_TELL)]
        for sentence in (text.removeprefix(CANNOT_TELL) for text in warnings):
            if sentence.startswith("not implemented"):
                raise NotImplementedYet(sentence)
            raise CheckFailed("an answer with what changed", sentence, self._log())
        changes = answer.get("changes")
        self.lab.expect(
            isinstance(changes, list),
            expected='a list "changes" in the answer',
            seen=repr(changes),
            log=[self._log()],
        )
        raw = [
            {
                **change,
                **{
                    member: "" if change[member] is None else json.dumps(change[member])
                    for member in ("before", "after")
                },
            }
            for change in changes
        ]
        judge.judge(self.config, config, raw)
        words = [change.words for change in model.diff(self.config, config)]
        self.lab.expect(
            all(any(each in line for line in logged) for each in words) and len(logged) == len(words),
            expected=f"in the log: {words or 'no change'}",
            seen=f"{logged}",
            log=[self._log()],
        )
        secret = next((line for line in self._lb.log_text().splitlines() if "hush" in line), None)
        self.lab.expect(secret is None, expected="no secret in the log", seen=secret)
        self.config = config

    def rejected(self, config, why):
        """A reload that must be refused and log no change."""
        self.lab.step(f"lb reload --json with a file that cannot be applied: {why}")
        answer, logged = self._reload(config)
        self.lab.expect(
            answer.get("applied") is False,
            expected="a reload that is refused",
            seen="it was applied",
            log=[self._log()],
        )
        self.lab.expect(
            not logged,
            expected="no change in the log, as none was applied",
            seen=f"{logged}",
            log=[self._log()],
        )

    @contextlib.contextmanager
    def taken_address(self):
        """An address that nobody else can listen on."""
        with socket.socket() as other:
            other.bind(("127.0.0.9", 0))
            other.listen(1)
            yield f"127.0.0.9:{other.getsockname()[1]}"

    def _log(self):
        return "\n".join(self._lb.log_text().splitlines()[-LOG_LINES_SHOWN:])
