"""The public checks of exercise 10.2: what differs between two configurations. What is expected comes from
lbgrader.diff_model, which knows nothing of the balancer's code."""
import itertools
import time

from lbgrader import diff_judge as judge
from lbgrader import diff_model
from lbgrader.check import ROOT, CheckFailed, check
from lbgrader.diff_live import LiveBalancer
from lbgrader.shrink import shrink

SMALLEST = {"listen": "127.0.0.1:80", "backends": [{"name": "b1", "host": "10.0.0.1", "port": 9001}]}
PAIRS = 200
FEW, MANY = 3_000, 24_000
GROWTH_MAX = 24  # linear: 8 times, quadratic: 64 times
QUICK_S = 0.4  # below this nothing can be said, and nothing is wrong
ATTEMPTS = 2  # the machine may have been busy
SECONDS_MAX = 30.0


def plus(**keys):
    return {**SMALLEST, **keys}


def with_backends(*backends):
    return plus(
        backends=[{"name": name, "host": "10.0.0.1", "port": 9001, **keys} for name, keys in backends]
    )


def both_ways(lab, student, *pairs):
    """Each pair there and back."""
    configs = list(itertools.chain.from_iterable(pairs))
    there = [[2 * i, 2 * i + 1] for i in range(len(pairs))]
    judge.check_pairs(lab, student, configs, there + [[k, i] for i, k in there])


@check(
    1,
    "the same configuration, however it is written",
    points=2,
    usually="compare what Config holds, by identity: order, defaults written out and $schema are no change",
)
def same(lab):
    with lab.student() as student:
        judge.check_pair(
            lab,
            student,
            SMALLEST,
            plus(
                listen=["127.0.0.1:80"],
                algorithm="round_robin",
                pool={"ttl": 60},
                timeouts={},
                rate_limit=None,
                workers=0,
                drain_timeout=30.0,
                access_log="",
            ),
        )
        two = [{"name": "b1", "host": "10.0.0.1", "port": 1}, {"host": "10.0.0.2", "port": 2}]
        judge.check_pair(
            lab,
            student,
            {"listen_port": 80, "listen": ["[::1]:80", "127.0.0.1:81"], "backends": two},
            {
                "backends": [{**two[1], "name": "10.0.0.2:2", "weight": 1}, two[0]],
                "listen": ["127.0.0.1:81", ":80", "[::1]:80"],
            },
        )
        judge.check_pair(
            lab,
            student,
            plus(response_headers={"Server": "lb", "X-A": "1"}),
            plus(response_headers={"x-a": "1", "SERVER": "lb"}),
        )
        for path in sorted((ROOT / "fixtures" / "config" / "good").glob("*.json")):
            text = path.read_bytes().decode()
            seen = student.ask("diff", before=text, after=text)
            lab.expect(
                seen == [],
                expected=f"no change from {path.name} to itself",
                seen=f"{len(seen)}: {seen[0]['words'] or seen[0]['path']}" if seen else "",
            )


@check(
    2,
    "backends come, go and change, in every order",
    points=4,
    usually="go by name: find a backend of one list in the other one, wherever it stands there",
)
def backends(lab):
    def every(order):
        return [
            with_backends(*((name, {"weight": weight}) for name, weight in zip(names, weights)))
            for names in order
            for weights in itertools.product((1, 2), repeat=len(names))
        ]

    before = every([("a",), ("b", "a"), ("c", "b", "a")])
    after = every([names for count in (1, 2, 3) for names in itertools.permutations("abc", count)])
    lab.step(
        f"every pair of up to three backends with weights 1 and 2: {len(before)} files and {len(after)}, "
        "the smallest first"
    )
    pairs = [[i, len(before) + k] for i in range(len(before)) for k in range(len(after))]
    with lab.student() as student:
        judge.check_pairs(lab, student, before + after, sorted(pairs, key=sum))


@check(
    3,
    "each key has its words",
    points=3,
    usually="walk the key table (lb/config/keys.hpp), or compare every member of Config; the words are in "
    "lb/config/diff.hpp",
)
def keys(lab):
    with lab.student() as student:
        both_ways(
            lab,
            student,
            *(
                (SMALLEST, plus(**{key: value}))
                for key, value in (
                    ("algorithm", "ip_hash"),
                    ("workers", 4),
                    ("max_connections", 1_000_000),
                    ("drain_timeout", 7.75),
                    ("pid_file", "/run/lb.pid"),
                    ("access_log", "-"),
                    ("admin", {"socket": "/run/lb.sock"}),
                    ("pool", {"max_size": 0}),
                    ("pool", {"ttl": 0.001}),
                    ("reload", {"watch": True}),
                )
            ),
        )
        both_ways(
            lab,
            student,
            *(
                (SMALLEST, plus(timeouts={key: value}))
                for key, value in (
                    ("header", 5),
                    ("idle", 0.25),
                    ("connect", 0.1),
                    ("response", 3600),
                    ("body", 1),
                    ("tunnel", 604_800),
                    ("quiet", 0.5),
                )
            ),
        )
        two = with_backends(("b1", {}), ("b2", {}))
        both_ways(
            lab,
            student,
            (two, with_backends(("b1", {"weight": 0, "max_connections": 100}), ("b2", {}))),
            (SMALLEST, plus(backends=[{"name": "b1", "host": "10.0.0.2", "port": 9002, "weight": 5}])),
            (SMALLEST, plus(backends=[{"name": "b1", "unix": "/run/b1.sock"}])),
        )
        both_ways(lab, student, *((before, after) for _, before, after in diff_model.table().samples))


@check(
    4,
    "listeners, the rate limit and header fields come and go",
    points=2,
    usually="what only one side has is added or removed as a whole; what both have is compared part by part",
)
def come_and_go(lab):
    limit = {"per_ip": 100, "burst": 20}
    with lab.student() as student:
        both_ways(
            lab,
            student,
            (SMALLEST, plus(listen=["127.0.0.1:81"])),
            (
                plus(listen=["127.0.0.1:80", "[::1]:80", ":81"]),
                plus(listen=["unix:/run/http.sock", ":81"]),
            ),
            (SMALLEST, plus(rate_limit=limit)),
            (SMALLEST, plus(rate_limit={"per_ip": 100_000})),
            (plus(rate_limit=limit), plus(rate_limit={"per_ip": 2.5, "burst": 20})),
            (SMALLEST, with_backends(("b1", {}), ("b2", {"weight": 0}), ("b3", {"max_connections": 7}))),
            (SMALLEST, plus(response_headers={"Server": "lb", "X-Empty": ""})),
            (
                plus(response_headers={"Server": "lb", "X-A": "1"}),
                plus(response_headers={"X-B": "2", "Server": 'the "best"', "X-A": ""}),
            ),
        )


@check(
    5,
    "secrets appear nowhere",
    points=2,
    usually="ask is_secret_header() of the name, for before, after and words, and for fields that are "
    "added or removed too",
)
def secrets(lab):
    fields = {"Set-Cookie": "hush-1", "X-Api-Key": "hush-2", "My-Token": "hush-3", "Server": "lb"}
    with lab.student() as student:
        for name in (
            "Authorization",
            "PROXY-AUTHORIZATION",
            "cookie",
            "Set-Cookie",
            "X-Secret-Of",
            "x-token",
            "DB-Password",
            "X-API-KEY",
        ):
            lab.step(f"a value of {name} changes")
            judge.check_pair(
                lab,
                student,
                plus(response_headers={name: "hush-old"}),
                plus(response_headers={name: "hush-new"}),
            )
            lab.story.clear()
        both_ways(
            lab,
            student,
            (SMALLEST, plus(response_headers=fields)),
            (plus(response_headers=fields), plus(response_headers={**fields, "Set-Cookie": "hush-4"})),
            (plus(response_headers={"X-Note": "(secret)"}), plus(response_headers={"X-Note": "plain"})),
        )


@check(6, "random files", points=1, usually="the story is the shortest pair found that still fails")
def random_pairs(lab):
    with lab.student() as student:
        edits = [judge.random_edits(lab.rng) for _ in range(PAIRS)]
        configs = list(itertools.chain.from_iterable(judge.pair_of(each) for each in edits))
        answers = judge.ask_pairs(lab, student, configs, [[2 * i, 2 * i + 1] for i in range(PAIRS)])
        for each, raw in zip(edits, answers, strict=True):
            before, after = judge.pair_of(each)
            try:
                judge.judge(before, after, raw)
            except CheckFailed as failed:
                least = shrink(
                    each, lambda some: judge.failure_of(student, *judge.pair_of(some)) is not None
                )
                judge.show(lab, *judge.pair_of(least))
                raise judge.failure_of(student, *judge.pair_of(least)) or failed from None


@check(
    7,
    "many backends in another order",
    points=1,
    usually="for each backend the other list is searched from its start: quadratic. Use a hash table",
    seconds_max=120.0,
)
def many(lab):
    with lab.student() as student:
        student.seconds_max = SECONDS_MAX
        for _ in range(ATTEMPTS):
            few, more = (time_of(lab, student, count) for count in (FEW, MANY))
            if more < QUICK_S or more < few * GROWTH_MAX:
                return
            lab.story.clear()
    lab.expect(
        False,
        expected=f"{MANY // FEW} times the backends in about {MANY // FEW} times the time",
        seen=f"{more / few:.0f} times the time: {FEW} take {few:.2f} s, {MANY} take {more:.2f} s",
    )


def time_of(lab, student, count):
    """How long the submission compares `count` backends with the same ones in reverse order."""
    lab.step(f"{count} backends, in reverse order, ten of them with another weight")
    changed = [i * (count // 10) for i in range(10)]
    began = time.monotonic()
    try:
        seen = student.ask("diff_many", backends=count, changed=changed)
    except CheckFailed as failure:
        if time.monotonic() - began < SECONDS_MAX:
            raise
        raise CheckFailed(failure.expected, f"none after {SECONDS_MAX:g} s", failure.log) from None
    took = time.monotonic() - began
    words = [change["words"] for change in seen]
    lab.expect(
        words == [f"backend backend-{i}: weight 1 -> 2" for i in reversed(changed)],
        expected="the ten changed weights, in the order of the new file",
        seen=f"{len(words)}: {words[:10]}",
        usually="what stayed, in another place, is no change; what changed comes in the order of `after`",
    )
    return took


@check(
    8,
    "lb reload answers and logs what changed, and nothing that was not applied",
    points=1,
    stage="live",
    usually="the balancer compares what serves with what is to serve: try `lb/lb diff OLD NEW` on your files",
    seconds_max=30.0,
)
def reload(lab):
    first = plus(listen="127.0.0.1:0", response_headers={"X-Api-Key": "hush-1"}, drain_timeout=1)
    edited = {
        **with_backends(("b2", {"weight": 3}), ("b1", {"weight": 5})),
        "listen": ["127.0.0.1:0"],
        "drain_timeout": 1,
        "response_headers": {"X-Api-Key": "hush-2"},
    }
    with LiveBalancer(lab, first) as live:
        live.applied(edited)
        live.rejected({**edited, "workers": -1, "drain_timeout": 2}, "the number of workers is wrong")
        with live.taken_address() as taken:
            live.rejected(
                {**edited, "listen": ["127.0.0.1:0", taken], "drain_timeout": 3}, "an address is taken"
            )
        live.applied({**edited, "backends": edited["backends"][::-1]})
        live.applied({**edited, "drain_timeout": 0.5})
