"""The hidden checks of exercise 10.4."""
import json

from lbgrader import yaml_model as model
from lbgrader.check import check
from lbgrader.shrink import shrink
from lbgrader.yaml_lab import Reader, outline

FILE = """\
listen_port: 8080
backends:
  - {host: "127.0.0.1", port: 9001}
  - host: 'b'
    port: 9002
pool: {max_size: 64, ttl: 60}
response_headers:
  "X-A": "one
    two"
"""


@check(
    20,
    "a file that was cut off",
    points=1,
    seconds_max=20,
    usually="yaml-cpp ends a text in quotes, and takes a key for one, at the end of the file",
)
def cut_off(lab):
    reader = Reader(lab)
    whole = outline(reader.tree(FILE))
    for size in range(len(FILE) - 1):
        text = FILE[:size]
        lab.story[:] = [f"read the first {size} bytes of a good file: ...{json.dumps(text[-40:])}"]
        answer = reader.ask(text)
        if "error" in answer:
            reader.refusal(text)
            continue
        quotes = text.count('"') % 2 == 0 and text.replace("'b'", "").count("'") == 0
        brackets = text.count("{") == text.count("}")
        last = text.splitlines()[-1].strip() if text.strip() else ""
        whole_line = "\n" not in text or text.endswith("\n") or ":" in last or last[:1] in ("", "-", '"')
        lab.expect(
            quotes and brackets and whole_line,
            expected="it is refused",
            seen=f"it is read as {json.dumps(outline(answer['tree']), ensure_ascii=False)}",
        )
    lab.expect(whole["response_headers"] == {"X-A": "one two"}, expected="X-A: one two", seen=str(whole))


@check(
    21,
    "limits, and texts that aliases multiply",
    points=1,
    seconds_max=30,
    usually="a long text that is named once and used a million times: count bytes too",
)
def limits(lab):
    reader = Reader(lab, seconds_max=12.0)
    for opening, closing in (("[", "]"), ("{a: ", "}")):
        lab.step(f"32 and 33 levels of {opening}")
        reader.expect_read(opening * 32 + "x" + closing * 32)
        reader.expect_error(
            opening * 33 + "x" + closing * 33, f"1:{len(opening) * 32 + 1}", None, "32 levels"
        )
    lab.step("200,000 brackets that are not closed, and as many dashes")
    reader.expect_fault("[" * 200_000, (1,))
    reader.expect_fault("- " * 200_000, (1,))
    lab.step("200 kB of text, used 400 times")
    text = "a: &a " + "x" * 200_000 + "\nb: [" + ",".join(["*a"] * 400) + "]\n"
    reader.expect_error(text, None, None, "67,108,864", quiet=True)
    reader.expect_memory(1200)
    lab.step("other random files")
    for _ in range(20):
        seed = lab.rng.randrange(1 << 30, 1 << 31)
        members, options = reader.random_members(seed)

        def fails(some, seed=seed, options=options):
            return bool(some) and reader.mismatch(some, seed, options)[1] is not None

        if fails(members):
            members = shrink(members, fails)
            text, found = reader.mismatch(members, seed, options)
            lab.step(f"read {json.dumps(text, ensure_ascii=False)}")
            lab.expect(False, expected=found[0], seen=found[1])
    reader.expect_same(
        ("map", "block", [(("a", "a"), ("nothing",)), (("null x", "null x"), model.plain("1"))])
    )
    reader.expect_error("a:\n  b\nc:\nd\n", "4:1", None, "d")
