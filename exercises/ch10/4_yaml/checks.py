"""The public checks of exercise 10.4. What is expected is written down here, or made by lbgrader.yaml_model,
which writes YAML together with its tree and reads none."""
import itertools
import json

from lbgrader import yaml_model as model
from lbgrader.check import check
from lbgrader.yaml_lab import Reader, plain_errors, running_balancer
from lbgrader.shrink import shrink

CHAPTER = """\
# the chapter's file
listen_port: 8080
algorithm: weighted_round_robin
backends:
  - host: 127.0.0.1
    port: 9001
    weight: 3
  - {host: 127.0.0.1, port: 9002, weight: 2}
pool:
  max_size: 64
  ttl: 60
rate_limit: {per_ip: 100.0, "burst": 20}
drain_timeout: 30
"""


@check(
    1,
    "the chapter's file",
    points=2,
    usually="kinds: integer and real are told apart by the spelling; 127.0.0.1 is a text",
)
def chapter(lab):
    reader = Reader(lab)
    reader.expect_outline(
        CHAPTER,
        {
            "listen_port": 8080,
            "algorithm": "weighted_round_robin",
            "backends": [
                {"host": "127.0.0.1", "port": 9001, "weight": 3},
                {"host": "127.0.0.1", "port": 9002, "weight": 2},
            ],
            "pool": {"max_size": 64, "ttl": 60},
            "rate_limit": {"per_ip": 100.0, "burst": 20},
            "drain_timeout": 30,
        },
    )
    reader.expect_outline(
        "---\n- [a, {b: c}]\n- - d\n  -\n  - ~\n- 'it''s'\n- |\n  e\n  f\n- g: {}\n  h: []\n- TRUE\n",
        [["a", {"b": "c"}], ["d", None, None], "it's", "e\nf\n", {"g": {}, "h": []}, True],
    )
    reader.expect_outline("only a text", "only a text")


@check(
    2,
    "every value and key has its position",
    points=1,
    usually="the library counts bytes, and from 0; for nothing it tells where the next thing is",
)
def positions(lab):
    reader = Reader(lab)
    text = "größe: 1\nliste:\r\n- ü: {ä: [x, 'ö', y]}\r\n  k: \"é\"\n-   |\n   é\n- &a z\nleer:\nende: *a\n"
    reader.expect_positions(
        text,
        {
            "": "1:1",
            "/größe": "1:8 1:1",
            "/liste": "3:1 2:1",
            "/liste/0": "3:3",
            "/liste/0/ü": "3:6 3:3",
            "/liste/0/ü/ä": "3:10 3:7",
            "/liste/0/ü/ä/0": "3:11",
            "/liste/0/ü/ä/1": "3:14",
            "/liste/0/ü/ä/2": "3:19",
            "/liste/0/k": "4:6 4:3",
            "/liste/1": "5:5",
            "/liste/2": "7:3",
            "/leer": "8:1 8:1",
            "/ende": "9:7 9:1",
        },
    )
    reader.expect_positions("\ufeffa: ü\n", {"": "1:1", "/a": "1:4 1:1"})
    reader.expect_positions("\n\n-\n- \n", {"": "3:1", "/0": "3:1", "/1": "3:1"})
    reader.expect_positions(
        "{a: , b: ~, c: [\n null]}",
        {"": "1:1", "/a": "1:2 1:2", "/b": "1:10 1:7", "/c": "1:16 1:13", "/c/0": "2:2"},
    )


TEXTS = (
    "no yes on off n y No YES ON 12:30:00 1:30 0.0.0.0:80 1.2.3 1.2.3.4 2001-01-01 10s tRUE nUll none nil nan"
    " inf infinity NaN -inf _1 1e 1e+ e1 0x 0o8 0xg 0b2 -x + . .. -. 1-2 1+1 0-0 .a -.infx 1__a x_1 ~~"
).split()
NUMBERS = "0 -0 7 8080 -17 0.5 -0.25 100.0 1e3 1E+3 2.5e-7 0e0 1e308 123456789012345678901234567890".split()
REFUSED = (
    "010 00 -01 007 08 0777 01.5 0o10 0O7 0x1F 0XfF -0x1 +0x1 0b11 0x_1 1_000 1_0.5 1_ +5 +0.5 .5 -.5"
    " +.5e3 5. 1.e3 .inf -.inf +.Inf .INF .nan .NaN .NAN 1e999 -1e999"
).split()


@check(
    3,
    "what a plain scalar is",
    points=2,
    usually="a number must be spelt as in JSON (RFC 8259, section 6); other spellings are refused",
)
def scalars(lab):
    reader = Reader(lab)
    lab.step("words that are texts, numbers as in JSON, and true and null; then the same words in quotes")
    reader.expect_kinds([*TEXTS, *NUMBERS, "true", "True", "TRUE", "false", "False", "FALSE"])
    reader.expect_kinds(["null", "Null", "NULL", "~"])
    for quoted in ([f"'{w}'" for w in REFUSED], [f'"{w}"' for w in ("80", "true", "null", "~", "010")]):
        reader.expect_quoted(quoted)
    lab.step("numbers that one reader of YAML takes for this and another for that")
    for word in REFUSED:
        reader.expect_refused_word(word)
    lab.step("every word of one to three of the characters 0 1 7 . - + e E _ x o")
    words = [
        "".join(letters) for size in (1, 2, 3) for letters in itertools.product("017.-+eE_xo", repeat=size)
    ]
    words = [word for word in words if word not in ("-", "---", "...")]
    reader.expect_kinds([word for word in words if model.kind_of_plain(word) != "refused"])
    for word in words:
        if model.kind_of_plain(word) == "refused":
            reader.expect_refused_word(word)


@check(
    4,
    "keys: twice the same, and none that are no texts",
    points=1,
    usually="duplicates are the decoder's to report; a key is resolved like a value, and must be a text",
)
def keys(lab):
    reader = Reader(lab)
    reader.expect_same(
        (
            "map",
            "block",
            [
                (("a", "a"), model.plain("1")),
                (("b", "b"), model.plain("2")),
                (("a", "a"), ("map", "flow", [(("c", "c"), model.plain("x"))] * 2)),
            ],
        )
    )
    reader.expect_same(
        (
            "map",
            "block",
            [
                ((key, text), model.plain("1"))
                for key, text in (
                    ("no", "no"),
                    ("'80'", "80"),
                    ('"true"', "true"),
                    ("'<<'", "<<"),
                    ("a b", "a b"),
                    ("12:30", "12:30"),
                )
            ],
        )
    )
    reader.expect_error("ok: 1\n80: x\n", "2:1", "", "80")
    reader.expect_error("a:\n  - é: 1\n    true: x\n", "3:5", "/a/0", "true")
    reader.expect_error("a: {~: x}\n", "1:5", "/a", "~")
    reader.expect_error("a:\n  [b]: c\n", "2:3", "/a", "array")
    reader.expect_error("? {b: c}\n: d\n", "1:3", "", "object")
    reader.expect_error("a: &x k\n*x : v\n", "2:1", "", "*x")
    reader.expect_error("a: &x {b: 1}\nc:\n  <<: *x\n", "3:3", "/c", "<<")
    reader.expect_error("010: x\n", "1:1", "", "010")


@check(
    5,
    "anchors and aliases",
    points=1,
    usually="an alias's value stands where the alias stands, and so do its parts; names may be reused",
)
def aliases(lab):
    reader = Reader(lab)
    part = ("map", "flow", [(("h", "h"), ("list", "flow", [model.plain("1"), model.plain("é")]))])
    reader.expect_same(
        (
            "map",
            "block",
            [
                (("ü", "ü"), ("anchor", "a", part)),
                (("b", "b"), ("alias", "a")),
                (
                    ("c", "c"),
                    ("list", "flow", [model.plain("ü"), ("alias", "a"), ("anchor", "b", model.plain("w"))]),
                ),
                (("d", "d"), ("anchor", "a", model.plain("~"))),
                (("e", "e"), ("alias", "a")),
            ],
        )
    )
    reader.expect_same(
        (
            "map",
            "block",
            [
                (
                    ("a", "a"),
                    (
                        "anchor",
                        "x",
                        ("list", "block", [("anchor", "y", model.plain("t")), ("alias", "y"), ("nothing",)]),
                    ),
                ),
                (("b", "b"), ("alias", "x")),
                (("c", "c"), ("alias", "y")),
            ],
        )
    )
    reader.expect_error("a: 1\nb: [x, *nope]\n", "2:8", None, "nope")
    reader.expect_error("a: &x [1, {k: *x}]\n", "1:15", "/a/1/k", "*x")
    reader.expect_error("- &x {a: *x}\n", "1:10", "/0/a", "*x")


@check(
    6,
    "a bomb of aliases",
    points=1,
    seconds_max=40,
    usually="count what an alias would add before you copy it, and refuse when the sum is too large",
)
def bomb(lab):
    reader = Reader(lab, seconds_max=15.0)
    lines = ["a0: &a0 [" + ",".join("x" * 100) + "]"]
    for level in range(1, 6):
        lines.append(f"a{level}: &a{level} [" + ",".join([f"*a{level - 1}"] * 100) + "]")
    text = "\n".join(lines) + "\n"
    lab.step(f"{len(text)} bytes that stand for a million million values")
    reader.expect_error(text, None, None, "2,000,000", quiet=True)
    reader.expect_memory(1500)
    lab.step("an anchor of 30 levels inside of 3, and inside of 2")
    deep = "a: &a " + "[" * 29 + "]" * 29
    reader.expect_error(deep + "\nb: [[[*a]]]\n", "2:7", None, "32 levels")
    reader.expect_read(deep + "\nb: [[*a]]\n")


@check(
    7,
    "what a configuration may not use",
    points=1,
    usually="the library reads all of these: it is you who refuse them, and say where",
)
def refused(lab):
    reader = Reader(lab)
    for text, at, path, word in (
        ("a: !!str 80\n", "1:4", "/a", "!!str"),
        ("é: [b, !own c]\n", "1:8", "/é/1", "!own"),
        ("a: ! 'b'\n", "1:4", "/a", "!"),
        ("a:\n  - !!map\n    b: c\n", "2:5", "/a/0", "!!map"),
        ("a: 1\n---\nb: 2\n", "2:1", None, "document"),
        ("---\na: 1\n---\n", "3:1", None, "document"),
        ("a: 1\n...\nb\n", "3:1", None, "document"),
        ("{a: 1}\n{b: 2}\n", "2:1", None, "document"),
        ("%YAML 1.2\n---\na: 1\n", "1:1", None, ""),
        ("a:\n\tb: 1\n", "2:1", None, "tab"),
        ("a:\n  b: 1\n\tc: 2\n", "3:1", None, "tab"),
        ("a:\n  - b\n  \t- c\n", None, None, ""),
        ("a:\n\t- b\n", "2:1", None, "tab"),
        ("[a, , b]\n", "1:5", None, ","),
    ):
        reader.expect_error(text, at, path, word)
    reader.expect_same(("list", "flow", [model.plain("a")]))
    reader.expect_outline('{\n\t"a": [1,\n\t2]\n}\n', {"a": [1, 2]})


@check(
    8,
    "faults of the syntax, and bytes that are no text",
    points=1,
    usually="catch the library's exceptions: the mark says where, and its words are not for an operator",
)
def syntax(lab):
    reader = Reader(lab)
    for text, lines, path in (
        ("a: [1, 2\n", (1, 2), None),
        ("a: {b: 1\n", (1, 2), None),
        ("- a: 1\n   b: 2\n", (2,), None),
        ("a: b: c\n", (1,), None),
        ("a: 'x' y\n", (1,), None),
        ('a: "x\n', (1, 2), None),
        ("a: 'x", (1,), None),
        ("a: 1\nb: @x\n", (2,), None),
        ("a:\n  - x\n y: 1\n", (3,), None),
        ("a: ]\n", (1,), None),
        ('a: "\\q"\n', (1,), None),
        ("a: - b\n", (1,), None),
        ("a: 1\nb\nc: 2\n", (2, 3), None),
        ("[[1, 2]\n", (1, 2), None),
        ("a: 1\n b: 2\n", (2,), None),
        ("a: {b: c]\n", (1,), None),
        ("a: 1\nb\n", (2,), None),
        ("a: |x\n  y\n", (1,), None),
        ("a: & b\n", (1,), None),
    ):
        reader.expect_fault(text, lines)
    lab.step("files with nothing in them")
    for text in ("", "\n", "# a comment", "---\n", " \n# x\n\n"):
        reader.expect_error(text, None, "", "the end of the file")
    lab.step("bytes that are no text in UTF-8")
    reader.expect_error(b"a: \xff\n", "1:4", "", "0xff")
    reader.expect_error("é: ü\nb: ".encode() + b"\xc3\n", "2:4", "", "0xc3")
    reader.expect_error(b"a: \x00\n", "1:4", "", "NUL")
    reader.expect_error("a: 1".encode("utf-16"), "1:1", "", "UTF-16")


@check(9, "random files", points=1, seconds_max=20, usually="the smallest file that shows it is in the story")
def random_files(lab):
    reader = Reader(lab)
    for _ in range(60):
        seed = lab.rng.randrange(1 << 30)
        members, options = reader.random_members(seed)

        def fails(some, seed=seed, options=options):
            return bool(some) and reader.mismatch(some, seed, options)[1] is not None

        if fails(members):
            members = shrink(members, fails)
            text, found = reader.mismatch(members, seed, options)
            lab.step(f"read {json.dumps(text, ensure_ascii=False)}")
            lab.expect(False, expected=found[0], seen=found[1])


@check(
    10,
    "the same errors as for JSON",
    points=1,
    usually="kinds and texts as lb/config/tree.hpp has them: the decoder's messages quote them",
)
def same_errors(lab):
    reader = Reader(lab)
    good = {"listen_port": 8080, "backends": [{"host": "a", "port": 1}]}
    for change in (
        {},
        {"listen_port": "80"},
        {"listen_port": 8.5},
        {"listen_port": None},
        {"listen_port": True},
        {"wieght": 1},
        {"backends": []},
        {"backends": {}},
        {"backends": [{"host": "a", "port": 0}, {"hots": "b", "port": 1}, None]},
        {"algorithm": "round_robbin"},
        {"pool": {"ttl": "60", "max_size": -1}},
        {"rate_limit": {"per_ip": 0}},
        {"response_headers": {"X-A": 1, "x-a": "b", "80": "c", "bad name": ""}},
        {"listen": ["no", 5]},
        {"drain_timeout": 1e9, "pid_file": 7, "workers": False},
        {"algorithm": 12},
    ):
        config = {**good, **change}
        reader.expect_same_errors(config)
    lab.step("a key twice")
    seen = reader.config("listen_port: 1\nbackends: [{host: a, port: 1}]\nlisten_port: 2\n")
    expected = "lb.yaml:3:1: /listen_port: duplicate key, expected it once in its object"
    lab.expect(
        plain_errors(seen) == plain_errors({"errors": expected}) and seen.get("errors") == expected,
        expected=expected,
        seen=str(seen),
    )


@check(
    11,
    "the real balancer serves lb.yaml and reloads it",
    points=1,
    stage="live",
    seconds_max=45,
    usually="lb check lb.yaml says the same without a balancer",
)
def live(lab):
    with running_balancer(lab) as balancer:
        balancer.reload_applied("two")
        balancer.reload_rejected("  port: 010\n", "found 010, expected")
        balancer.reload_rejected("listen_port: [80\n", "found ")
        balancer.reload_applied("three")
