"""Plays histories to a rollback policy, compares it with the model after every event, and tells the story of
what differed like an operations log. For the checks of exercise 10.3."""
import itertools
import weakref

from .check import CheckFailed, NotImplementedYet
from .rollback_model import Limits, expected, expected_all, name, places
from .shrink import TRIALS_MAX, shrink

CRASH_TRIALS_MAX = 40  # each costs a new process
HANGS = "it hangs"
REPEATED = "something is kept in a global or static variable, or was never given a value"

# The likely cause when a history that nobody wrote fails: by the event whose answer is wrong.
USUALLY = {
    "serving": "ConfigServing begins a full probation each time, for all but the last proven configuration",
    "sample": "a sample counts only in the probation of its own configuration, with something to go back "
              "to, and while no roll back is under way",
    "died": "a death fails what serves, and only in its probation; what is decided depends on a proven one "
            "and on a roll back under way; then nothing serves",
    "rejected": "a rejection is remembered, but not against the last proven one; it touches nothing else",
    "ended": "RollbackEnded lets the probation of what serves go on, and decides nothing",
    "tick": "a tick proves what is in its probation, at or after its deadline, with no roll back under way",
}

_students = weakref.WeakKeyDictionary()  # Lab -> its process, as long as it lives


def clock(ms):
    return f"{ms / 1000:5.1f} s"


def at(seconds, event):
    return event.at(round(seconds * 1000))


def history(lab, *events, limits=Limits(), usually=""):
    """Plays a written history; only one that fails is told. Returns the decisions' reasons."""
    return Player(lab, limits, events, usually).play(list(events))


def random_history(lab, events, limits):
    """Plays a long history; of a failing one the shortest part that fails is told."""
    player = Player(lab, limits, events, generated=True)
    try:
        return player.play(events, tell=False)
    except NotImplementedYet:
        raise
    except CheckFailed as failure:
        if HANGS in str(failure.seen):
            raise
        crashed = player.wrong_at is None
        short = events if crashed else events[:player.wrong_at + 1]
        player.play(shrink(short, player.fails, CRASH_TRIALS_MAX if crashed else TRIALS_MAX))
        raise CheckFailed("the same decisions when the same history is played again",
                          "now they are as expected", "", REPEATED) from failure


def all_histories(lab, alphabet, length_max, limits=Limits(), prefix=(), step_ms=4000):
    """Every sequence of up to `length_max` letters after the prefix; the first that differs is a shortest."""
    prefix = list(prefix)
    player = Player(lab, limits, [*prefix, *alphabet], generated=True)
    request = {"limits": player.limits_json, "ask": player.configs, "step_ms": step_ms,
               "prefix": [event.json() for event in prefix], "begin_ms": prefix[-1].at_ms if prefix else 0,
               "alphabet": [letter.json() for letter in alphabet]}
    for length in range(1, length_max + 1):
        said = _strings(player.ask("all", length=length, **request), "seen")[0].splitlines()
        wanted = expected_all(limits, prefix, alphabet, step_ms, length, player.configs)
        if said == wanted:
            continue
        wrong = next((i for i, pair in enumerate(zip(said, wanted)) if pair[0] != pair[1]), None)
        if wrong is None:
            raise CheckFailed(f"{len(wanted)} answers", f"{len(said)}")
        words = itertools.product(*places(prefix, alphabet, step_ms, length))
        player.play([*prefix, *next(itertools.islice(words, wrong, None))])
        raise CheckFailed("the same decisions for the same events, whatever other policies have seen",
                          f"alone {wanted[wrong]}, after {wrong} other histories {said[wrong]}", "",
                          REPEATED)


class Player:
    """One submission, one set of limits. Configurations that the events name are asked about with may_try."""

    def __init__(self, lab, limits, events, usually="", generated=False):
        self.lab, self.limits, self.usually, self.generated = lab, limits, usually, generated
        self.limits_json = limits._asdict()
        self.configs = sorted({e.config for e in events if e.kind not in ("ended", "tick")})
        self.wrong_at = None

    def ask(self, do, **arguments):
        """Of the one process of this check, for each script makes its own policy. A new one after a crash."""
        student = _students.get(self.lab)
        if student is None:
            student = _students[self.lab] = self.lab.student()
        try:
            return student.ask(do, **arguments)
        except CheckFailed:
            _students.pop(self.lab)
            raise

    def said(self, events):
        answer = self.ask("script", limits=self.limits_json, ask=self.configs,
                          events=[e.json() for e in events])
        if any(len(_strings(answer, key)) != len(events) for key in ("seen", "reasons")):
            raise CheckFailed("one answer an event", "something else on the grader's own channel")
        return answer

    def fails(self, events):
        """Whether a submission differs from the model somewhere, or does not survive; for shrink()."""
        if not events:
            return False
        try:
            return self.said(events)["seen"] != expected(self.limits, events, self.configs)
        except CheckFailed:
            return True

    def play(self, events, tell=True):
        """Raises at the first difference, and then tells the story up to there. Else the reasons."""
        self.wrong_at = None
        wanted = expected(self.limits, events, self.configs)
        try:
            answer = self.said(events)
        except CheckFailed as failure:
            failure.usually = failure.usually or self.usually
            if tell:
                self._tell(events, wanted)
            raise
        for i, (line, said) in enumerate(zip(wanted, answer["seen"])):
            if said != line:
                self.wrong_at = i
                if tell:
                    self._tell(events[:i + 1], [*wanted[:i], "none"])
                raise CheckFailed(*self._difference(line, said), answer["reasons"][i],
                                  self.usually or (USUALLY[events[i].kind] if self.generated else ""))
        return answer["reasons"]

    def _tell(self, events, wanted):
        """An operations log; with the decisions that were expected, and made, so far."""
        limits = self.limits
        self.lab.step(f"probation {limits.probation_ms / 1000:g} s, at least {limits.requests_min} requests, "
                      f"{100 * limits.failure_increase:g} % more failures allowed, "
                      f"{limits.failed_max} remembered")
        for event, line in zip(events, wanted):
            action = line.split()[0]
            decided = "" if action == "none" else f"   -> {_action_words(action)}"
            self.lab.step(f"{clock(event.at_ms)}  {event.text()}{decided}")

    def _difference(self, wanted, said):
        """Both in words, as far as they differ."""
        ours, theirs = wanted.split(" "), (said.split(" ") + ["?"] * 4)[:4]
        pairs = []
        if ours[0] != theirs[0]:
            pairs.append((_action_words(ours[0]), _action_words(theirs[0])))
        if ours[1] != theirs[1]:
            pairs.append(tuple(f"next_deadline() is {_deadline_words(w)}" for w in (ours[1], theirs[1])))
        if ours[2] != theirs[2]:
            pairs.append(tuple(f"proven() is {_proven_words(w)}" for w in (ours[2], theirs[2])))
        for config, w, s in zip(self.configs, ours[3], theirs[3].ljust(len(ours[3]), "?")):
            if w != s:
                pairs.append(tuple(f"may_try({name(config)}) is {'true' if bit == '1' else 'false'}"
                                   for bit in (w, s)))
        return "; ".join(p[0] for p in pairs), "; ".join(p[1] for p in pairs)


def _strings(answer, key):
    """The list of strings in an answer: a submission could have written to the channel itself."""
    value = answer.get(key) if isinstance(answer, dict) else None
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise CheckFailed("an answer", "something else on the grader's own channel")
    return value


def _action_words(word):
    kind, _, config = word.partition(":")
    if kind == "none":
        return "no decision"
    if kind == "prove":
        return f"{_proven_words(config)} has proved good"
    if kind == "roll_back":
        without = ", without a reason" if "!" in config else ""
        return f"roll back to {_proven_words(config.rstrip('!'))}{without}"
    return f"an action that does not exist ({word})"


def _deadline_words(word):
    try:
        return "kNever" if word == "never" else f"{int(word) / 1000:.1f} s"
    except ValueError:
        return word


def _proven_words(word):
    try:
        return "empty" if word == "-" else name(int(word))
    except ValueError:
        return word
