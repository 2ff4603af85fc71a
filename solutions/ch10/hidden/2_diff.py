"""The hidden checks of exercise 10.2."""
import itertools

from lbgrader import diff_judge as judge
from lbgrader.check import CheckFailed, check
from lbgrader.shrink import shrink

ONE = {"listen_port": 80, "backends": [{"name": "b1", "host": "10.0.0.1", "port": 9001}]}
PAIRS = 120


def both_ways(lab, student, before, after):
    judge.check_pair(lab, student, before, after)
    judge.check_pair(lab, student, after, before)


def with_backends(*entries):
    return {**ONE, "backends": [{"host": "10.0.0.1", "port": 9001, **entry} for entry in entries]}


@check(
    20,
    "names and texts as no one expects them",
    points=1,
    usually="pointers escape ~ and /, words escape control characters and cut long texts",
)
def strange_texts(lab):
    names = [
        "a/b~c",
        "~1",
        "/",
        "0",
        'say "hi"',
        "back\\slash",
        "\u0085\u009b[2J",
        "n" * 300,
        "\U0001f33f" * 70,
    ]
    with lab.student() as student:
        for name in names:
            both_ways(
                lab, student, with_backends({"name": "x"}), with_backends({"name": "x"}, {"name": name})
            )
            both_ways(
                lab, student, with_backends({"name": name}), with_backends({"name": name, "weight": 2})
            )
        for value in (
            "tab\there",
            "\u009b31m",
            '"',
            "\\",
            "z" * 60,
            "z" * 61,
            "\U0001f33f" * 61,
            "none",
            "->",
        ):
            both_ways(
                lab,
                student,
                {**ONE, "response_headers": {"X-A": "1"}},
                {**ONE, "response_headers": {"X-A": value}},
            )
            if "\t" not in value:
                both_ways(lab, student, ONE, {**ONE, "access_log": value})
        both_ways(lab, student, ONE, {**ONE, "listen": ["unix:/run/~/x y", "[2001:db8::1]:80"]})
        both_ways(lab, student, ONE, {**ONE, "response_headers": {"X~1": "1", "a|b": "2"}})


@check(
    21,
    "who is who",
    points=2,
    usually="a backend is its name, and its name is its address only where the file gives none; header names "
    "ignore letter case",
)
def identities(lab):
    here, there = {"host": "10.0.0.1", "port": 1}, {"host": "10.0.0.1", "port": 2}
    with lab.student() as student:
        lab.step(
            "a backend without a name moves to another port; two swap their names; one takes another's name"
        )
        lab.story.clear()
        both_ways(lab, student, {**ONE, "backends": [here]}, {**ONE, "backends": [there]})
        both_ways(lab, student, {**ONE, "backends": [here]}, {**ONE, "backends": [{**here, "name": "b"}]})
        both_ways(
            lab,
            student,
            {**ONE, "backends": [here]},
            {**ONE, "backends": [{**there, "name": "10.0.0.1:1"}]},
        )
        both_ways(
            lab,
            student,
            {**ONE, "backends": [{**here, "name": "a"}, {**there, "name": "b"}]},
            {**ONE, "backends": [{**here, "name": "b"}, {**there, "name": "a"}]},
        )
        both_ways(
            lab,
            student,
            with_backends({"name": "a"}, {"name": "b"}),
            with_backends({"name": "A"}, {"name": "b"}),
        )
        both_ways(
            lab,
            student,
            with_backends({"name": "a"}, {"name": "b", "weight": 2}, {"name": "c"}),
            with_backends({"name": "c"}, {"name": "a"}, {"name": "b", "weight": 1}),
        )
        for old, new in (("Server", "server"), ("X-Api-Key", "x-API-key")):
            for value in ("hush-1", "hush-2"):
                both_ways(
                    lab,
                    student,
                    {**ONE, "response_headers": {old: "hush-1"}},
                    {**ONE, "response_headers": {new: value}},
                )
        same = {"Cookie": "hush-1", "X-A": "hush-1"}
        both_ways(
            lab,
            student,
            {**ONE, "response_headers": same},
            {**ONE, "response_headers": {**same, "X-A": "other"}},
        )


@check(22, "more random files", points=1, usually="the story is the shortest pair found that still fails")
def random_pairs(lab):
    with lab.student() as student:
        edits = [judge.random_edits(lab.rng) + judge.random_edits(lab.rng) for _ in range(PAIRS)]
        configs = list(itertools.chain.from_iterable(judge.pair_of(each) for each in edits))
        pairs = [[i, (i + 1) % len(configs)] for i in range(len(configs))]
        answers = judge.ask_pairs(lab, student, configs, pairs)
        for i, raw in enumerate(answers):
            before, after = configs[i], configs[(i + 1) % len(configs)]
            try:
                judge.judge(before, after, raw)
            except CheckFailed as failed:
                if i % 2 == 0:
                    least = shrink(
                        edits[i // 2],
                        lambda some: judge.failure_of(student, *judge.pair_of(some)) is not None,
                    )
                    before, after = judge.pair_of(least)
                judge.show(lab, before, after)
                raise judge.failure_of(student, before, after) or failed from None
