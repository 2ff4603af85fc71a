"""lbgrader.rollback_lab: what a wrong rollback policy is told. The policies here are the model, spoilt."""
import pytest
from lbgrader import rollback_lab
from lbgrader import rollback_model as model
from lbgrader.check import CheckFailed, Lab
from lbgrader.rollback_model import Event, Limits, died, ended, rejected, sample, serving, tick
from lbgrader.rollback_random import long_history

A, B = 1, 2
BAD = model.backend("b1", after=(100, 40), before=(400, 4))


class FakeStudent:
    """Answers as a runner does. `spoil(events, line)` changes what is seen after the last of `events`."""

    def __init__(self, spoil):
        self.spoil, self.asked = spoil, 0

    def ask(self, do, *, limits, ask, events=(), prefix=(), alphabet=(), begin_ms=0, step_ms=0, length=0):
        limits = Limits(**limits)
        if do == "all":
            lines, scripts = [], [[]]
            for place in range(length):
                now = begin_ms + (place + 1) * step_ms
                scripts = [[*script, {**letter, "at_ms": now}] for script in scripts for letter in alphabet]
            for script in scripts:
                lines.append(self._seen(limits, ask, [*prefix, *script])[-1])
            return {"seen": ["\n".join(lines) + "\n"]}
        seen = self._seen(limits, ask, events)
        return {"seen": seen, "reasons": [""] * len(seen)}

    def _seen(self, limits, ask, events):
        self.asked += 1
        lines = model.expected(limits, [_event(fields) for fields in events], ask)
        return [self.spoil(events[:i + 1], line) for i, line in enumerate(lines)]


def _event(fields):
    backends = tuple(model.backend(b["name"], b["after"], b["before"], b["old"])
                     for b in fields.get("backends", ()))
    return Event(fields["event"], fields.get("config", 0), backends, fields.get("reason", ""),
                 fields.get("applied", False), fields["at_ms"])


def lab_of(spoil, seed=1):
    return Lab(seed, lambda: FakeStudent(spoil))


def forgets_rejected_after_death(events, line):
    """Wrong after a rejection, a death, and nothing but these two."""
    kinds = [e["event"] for e in events]
    wrong = "rejected" in kinds and "died" in kinds[kinds.index("rejected"):]
    return line.replace("never", "77") if wrong else line


def right(_events, line):
    return line


def test_a_right_policy_is_not_told_anything():
    lab = lab_of(right)
    rollback_lab.history(lab, serving(A).at(0), tick().at(10_000))
    rollback_lab.all_histories(lab, [serving(A), tick()], 3)
    assert lab.story == []


def test_the_story_is_an_operations_log():
    def no_rollback(_events, line):
        return line.replace("roll_back:1", "none")

    lab = lab_of(no_rollback)
    with pytest.raises(CheckFailed) as failure:
        rollback_lab.history(lab, serving(A).at(0), tick().at(10_000), serving(B).at(12_000),
                             sample(B, BAD).at(12_500), tick().at(30_000), usually="a cause")
    assert lab.story == [
        "probation 10 s, at least 50 requests, 25 % more failures allowed, 32 remembered",
        "  0.0 s  configuration A serves",
        " 10.0 s  a probation tick   -> configuration A has proved good",
        " 12.0 s  configuration B serves",
        " 12.5 s  sample of configuration B: 100 requests to b1, 40 failed"
        " (before: 400, 4 failed; still on old connections: 0, none failed)",
    ]
    assert failure.value.expected == "roll back to configuration A"
    assert failure.value.seen == "no decision"
    assert failure.value.usually == "a cause"


def test_a_long_history_is_shrunk():
    for seed in range(5):
        lab = lab_of(forgets_rejected_after_death, seed)
        events = long_history(lab.rng, Limits(requests_min=64), [A, B, 3], 80)
        with pytest.raises(CheckFailed) as failure:
            rollback_lab.random_history(lab, events, Limits(requests_min=64))
        assert len(lab.story) == 3 and "never served" in lab.story[1] and "died" in lab.story[2]
        assert failure.value.seen == "next_deadline() is 0.1 s"


def test_the_shortest_of_all_histories_is_told():
    lab = lab_of(forgets_rejected_after_death)
    letters = [serving(A), ended(True), died(A), rejected(B), tick()]
    with pytest.raises(CheckFailed):
        rollback_lab.all_histories(lab, letters, 4)
    assert [line[9:] for line in lab.story[1:]] == [rejected(B).text(), died(A).text()]


def test_a_policy_that_remembers_other_policies():
    count = [0]

    def worn_out(_events, line):
        count[0] += 1
        return "none 5 - 1" if 30 <= count[0] < 34 else line

    with pytest.raises(CheckFailed) as failure:
        rollback_lab.all_histories(lab_of(worn_out), [serving(A), ended(True), tick()], 4)
    assert "global" in failure.value.usually


def test_a_crash_is_shrunk_too():
    def crashes(events, line):
        if events[-1]["event"] == "died":
            raise CheckFailed("an answer to script", "the program was killed by SIGSEGV")
        return line

    lab = lab_of(crashes)
    events = [serving(A).at(0), tick().at(10_000), serving(B).at(11_000), died(A).at(12_000),
              tick().at(30_000)]
    with pytest.raises(CheckFailed) as failure:
        rollback_lab.random_history(lab, events, Limits())
    assert len(lab.story) == 2 and "died" in lab.story[1]
    assert "SIGSEGV" in failure.value.seen


@pytest.mark.parametrize("answer", [
    None, 7, {}, {"seen": [1], "reasons": [""]}, {"seen": [], "reasons": []},
    {"seen": ["x", "y"], "reasons": ["", ""]}, {"seen": [""], "reasons": [""]}])
def test_garbage_is_the_submissions_fault(answer):
    class Forger:
        def ask(self, *_, **__):
            return answer

    with pytest.raises(CheckFailed):
        rollback_lab.history(Lab(1, Forger), serving(A).at(0))
    with pytest.raises(CheckFailed):
        rollback_lab.all_histories(Lab(1, Forger), [serving(A)], 2)
