"""An independent model of exercise 10.4: writes YAML and, beside it, the tree that it must be read as.

Nothing here reads YAML. A *spec* says what to write and how; write() gives the text and the tree in the shape
of the runner's answer (harness/labs/yaml_runner.cpp), with the position of every value and key.

    ("map", STYLE, [(KEY, SPEC)...])      STYLE: block or flow       a KEY: (written, text)
    ("list", STYLE, [SPEC...])
    ("scalar", KIND, WRITTEN, TEXT)       as it stands, on one line
    ("lines", INDICATOR, [LINE...], TEXT) a block scalar: | |- > >-
    ("nothing",)                          key: and no more
    ("anchor", NAME, SPEC)    ("alias", NAME)
"""
import copy
import re

KINDS = ("boolean", "integer", "real", "null", "text")
NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?")  # RFC 8259 section 6
CORE_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")  # YAML 1.2.2 section 10.3.2
OTHER_BASE = re.compile(r"[-+]?0([oO][0-7_]+|[xX][0-9a-fA-F_]+|[bB][01_]+)")
NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")


def kind_of_plain(word):
    """What a plain scalar is: one of KINDS, or "refused"."""
    if word in ("true", "True", "TRUE", "false", "False", "FALSE"):
        return "boolean"
    if word in ("null", "Null", "NULL", "~"):
        return "null"
    if NUMBER.fullmatch(word):
        if float(word) in (float("inf"), float("-inf")):
            return "refused"
        return "real" if re.search(r"[.eE]", word) else "integer"
    if CORE_NUMBER.fullmatch(word) or OTHER_BASE.fullmatch(word) or NOT_FINITE.fullmatch(word):
        return "refused"
    if "_" in word and not word.startswith("_") and CORE_NUMBER.fullmatch(word.replace("_", "")):
        return "refused"
    return "text"


def plain(word):
    kind = kind_of_plain(word)
    assert kind != "refused"
    return ("scalar", kind, word, "null" if kind == "null" else word)


def node(kind, at, text=""):
    return {
        "kind": kind,
        "text": text,
        "key": "",
        "line": at[0],
        "column": at[1],
        "key_line": 1,
        "key_column": 1,
        "children": [],
    }


def write(spec, *, rng=None, newline="\n", start="", step=2):
    """(text, tree). Blanks, comments and where dashes stand are drawn from `rng`; without, the plainest."""
    writer = _Writer(rng, step)
    writer.put(start)
    if spec[0] in ("map", "list") and spec[1] == "block":
        tree = writer.block(spec, 0)
    else:
        tree = writer.inline(spec, 0, block=True)
        writer.end_line()
    return writer.text().replace("\n", newline), tree


class _Writer:
    def __init__(self, rng, step):
        self.rng, self.step = rng, step
        self.out, self.line, self.column = [], 1, 1
        self.anchors = {}

    def text(self):
        return "".join(self.out)

    def put(self, text):
        self.out.append(text)
        for c in text:
            self.line, self.column = (self.line + 1, 1) if c == "\n" else (self.line, self.column + 1)

    def at(self):
        return self.line, self.column

    def chance(self, one_in):
        return self.rng is not None and self.rng.randrange(one_in) == 0

    def end_line(self):
        if self.chance(5):
            self.put(self.rng.choice(["  # a: [", " #", "   ", " # 'é"]))
        self.put("\n")
        if self.chance(6):
            self.put(self.rng.choice(["\n", "   \n", "# - x\n", "      # {\n", "\n\n"]))

    # -- block collections --

    def block(self, spec, indent, first_done=False, at=None):
        """`first_done`: the first entry's indentation is there (after a dash). `at`: of its anchor."""
        kind = spec[0]
        tree = None
        for i, entry in enumerate(spec[2]):
            if i > 0 or not first_done:
                self.put(" " * indent)
            if tree is None:
                tree = node("object" if kind == "map" else "array", at or self.at())
            if kind == "map":
                (written, text), value = entry
                key_at = self.at()
                self.put(written + (" :" if self.chance(12) else ":"))
                child = self.member_value(value, indent, key_at)
                child.update(key=text, key_line=key_at[0], key_column=key_at[1])
            else:
                self.put("-")
                child = self.element(entry, indent, (tree["line"], tree["column"]))
            tree["children"].append(child)
        return tree

    def member_value(self, spec, indent, key_at):
        spec, name, at = self.head(spec)
        if spec[0] in ("map", "list") and spec[1] == "block":
            self.end_line()
            dashes_in_line = spec[0] == "list" and self.chance(2)
            tree = self.block(spec, indent if dashes_in_line else indent + self.step, at=at)
        elif spec[0] == "nothing":
            self.end_line()
            tree = node("null", key_at, "null")
        else:
            self.put(" " * (2 if self.chance(8) else 1))
            tree = self.inline(spec, indent, block=True)
            if spec[0] != "lines":
                self.end_line()
        return self.named(tree, name, at)

    def element(self, spec, indent, array_at):
        spec, name, at = self.head(spec)
        if spec[0] in ("map", "list") and spec[1] == "block":
            if name or self.chance(4):
                self.end_line()
                tree = self.block(spec, indent + self.step, at=at)
            else:
                self.put(" ")
                tree = self.block(spec, indent + 2, first_done=True)
        elif spec[0] == "nothing":
            self.end_line()
            tree = node("null", array_at, "null")
        else:
            self.put(" ")
            tree = self.inline(spec, indent, block=True)
            if spec[0] != "lines":
                self.end_line()
        return self.named(tree, name, at)

    def head(self, spec):
        """Writes an anchor; (the spec without it, its name, where it stands)."""
        if spec[0] != "anchor":
            return spec, None, None
        self.put(" ")
        at = self.at()
        self.put("&" + spec[1])
        return spec[2], spec[1], at

    def named(self, tree, name, at):
        if name:
            tree["line"], tree["column"] = at
            self.anchors[name] = copy.deepcopy(tree)
        return tree

    # -- what begins in the line --

    def inline(self, spec, indent, block=False):
        at = self.at()
        if spec[0] == "anchor":
            self.put("&" + spec[1] + " ")
            return self.named(self.inline(spec[2], indent), spec[1], at)
        if spec[0] == "alias":
            if spec[1] not in self.anchors:  # left out by whoever shrinks
                self.put("gone")
                return node("text", at, "gone")
            self.put("*" + spec[1])
            return _moved(self.anchors[spec[1]], at)
        if spec[0] == "scalar":
            self.put(spec[2])
            return node(spec[1], at, spec[3])
        if spec[0] == "lines":
            self.put(spec[1] + "\n")
            for line in spec[2]:
                self.put(" " * (indent + self.step) + line + "\n" if line else "\n")
            return node("text", at, spec[3])
        return self.flow(spec, indent)

    def flow(self, spec, indent):
        is_map = spec[0] == "map"
        tree = node("object" if is_map else "array", self.at())
        self.put("{" if is_map else "[")
        for i, entry in enumerate(spec[2]):
            if i > 0:
                self.put(",")
            self.space(indent, must=i > 0)
            if not is_map:
                tree["children"].append(self.inline(entry, indent))
                continue
            (written, text), value = entry
            key_at = self.at()
            self.put(written + ":")
            if value[0] == "nothing":
                self.put(" ")
                child = node("null", key_at, "null")
            else:
                self.put(" ")
                child = self.inline(value, indent)
            child.update(key=text, key_line=key_at[0], key_column=key_at[1])
            tree["children"].append(child)
        self.space(indent)
        self.put("}" if is_map else "]")
        return tree

    def space(self, indent, must=False):
        if self.chance(8):
            self.put("\n" + " " * (indent + self.step))
        elif must or self.chance(4):
            self.put(" ")


def _moved(tree, at):
    """What an alias stands for: all of it where the alias is."""
    tree = copy.deepcopy(tree)

    def move(part, with_key):
        part["line"], part["column"] = at
        if with_key:
            part["key_line"], part["key_column"] = at
        for child in part["children"]:
            move(child, part["kind"] == "object")

    move(tree, False)
    tree.update(key="", key_line=1, key_column=1)
    return tree


# ---- Random specs ----

PLAIN_WORDS = [
    "no",
    "on",
    "yes",
    "off",
    "12:30:00",
    "0.0.0.0:80",
    "a b",
    "x#y",
    "1.2.3",
    "größe",
    "-x",
    "a:b",
    "_1",
    "true story",
    "1 2",
    "1e",
    "0x",
    "y",
    "2001-01-01",
    "nullx",
    "~x",
    "日本",
    "http://h:1/p",
    "+",
    "a'b",
]
PLAIN_VALUES = [
    "0",
    "-0",
    "8080",
    "-17",
    "0.5",
    "1e3",
    "-2.5E-7",
    "123456789012345678901234567890",
    "true",
    "False",
    "TRUE",
    "null",
    "~",
    "Null",
]
QUOTED = [
    ("''", ""),
    ("'it''s'", "it's"),
    ("'80'", "80"),
    ("'# a: b'", "# a: b"),
    ('"ü\\n"', "ü\n"),
    ('""', ""),
    ('"\\u00e9\\x41\\t"', "éA\t"),
    ('"say \\"hi\\""', 'say "hi"'),
    ('"{[,]}"', "{[,]}"),
    ("'true'", "true"),
    ('"a \\\\ b"', "a \\ b"),
    ("'日本'", "日本"),
]
KEYS = [
    ("a", "a"),
    ("port", "port"),
    ("größe", "größe"),
    ("'q k'", "q k"),
    ('"ü"', "ü"),
    ("two words", "two words"),
    ("no", "no"),
    ("'80'", "80"),
    ("x-y", "x-y"),
    ('"<<"', "<<"),
    ("k1", "k1"),
    ("on", "on"),
    ("a", "a"),
]
LINES = [
    ("|", ["one", "two"], "one\ntwo\n"),
    ("|-", ["one", "  two", "# no comment"], "one\n  two\n# no comment"),
    (">", ["one", "two"], "one two\n"),
    (">-", ["a: b", "- c"], "a: b - c"),
    ("|", ["é: 'x", "", "y"], "é: 'x\n\ny\n"),
]


class Generator:
    """Random members of a top-level map. Anchors get numbers; an alias names what stands before it."""

    def __init__(self, rng):
        self.rng, self.names = rng, []

    def members(self, count):
        return [(self.rng.choice(KEYS), self.value(3, True)) for _ in range(count)]

    def value(self, depth, block):
        rng = self.rng
        pick = rng.randrange(20)
        if pick == 0 and self.names:
            return ("alias", rng.choice(self.names))
        if pick == 1:
            spec = self.plain_value(depth - 1, block)
            if spec[0] == "lines":  # `- &a |` is more than yaml-cpp can read
                return spec
            name = f"n{len(self.names)}"
            self.names.append(name)  # complete only now: it cannot name itself
            return ("anchor", name, spec)
        return self.plain_value(depth, block)

    def plain_value(self, depth, block):
        rng = self.rng
        pick = rng.randrange(10)
        if depth <= 0 or pick < 4:
            return self.scalar(block)
        style = "flow" if not block or rng.randrange(3) == 0 else "block"
        count = rng.randrange(0 if style == "flow" else 1, 4)
        inner = style == "block"
        if pick < 7:
            return ("map", style, [(rng.choice(KEYS), self.member(depth - 1, inner)) for _ in range(count)])
        return ("list", style, [self.entry(depth - 1, inner) for _ in range(count)])

    def member(self, depth, block):
        return ("nothing",) if self.rng.randrange(12) == 0 else self.value(depth, block)

    def entry(self, depth, block):
        return ("nothing",) if block and self.rng.randrange(15) == 0 else self.value(depth, block)

    def scalar(self, block):
        rng = self.rng
        pick = rng.randrange(6)
        if pick == 0 and block:
            return ("lines", *rng.choice(LINES))
        if pick <= 1:
            written, text = rng.choice(QUOTED)
            return ("scalar", "text", written, text)
        if pick == 2:
            return plain(rng.choice(PLAIN_WORDS))
        return plain(rng.choice(PLAIN_VALUES))


# ---- Comparing ----


def difference(expected, seen, path=""):
    """(expected, seen) in words for the first place where two trees differ; None when they are equal."""
    where = path or "/"

    def shown(part):
        what = part["kind"] + ("" if part["kind"] in ("array", "object") else f" {part['text']!r}")
        return f"{what} at {part['line']}:{part['column']}"

    for field in ("kind", "text"):
        if expected[field] != seen.get(field):
            return f"{where}: {shown(expected)}", shown(seen)
    if (expected["line"], expected["column"]) != (seen["line"], seen["column"]):
        return f"{where}: {shown(expected)}", f"{seen['line']}:{seen['column']}"
    names = [[child["key"] for child in tree["children"]] for tree in (expected, seen)]
    if names[0] != names[1]:
        if expected["kind"] == "array":
            return f"{where}: {len(names[0])} elements", str(len(names[1]))
        return f"{where}: the keys {names[0]}", str(names[1])
    for i, (one, other) in enumerate(zip(expected["children"], seen["children"])):
        below = f"{path}/{one['key'] if expected['kind'] == 'object' else i}"
        keys = [(part["key_line"], part["key_column"]) for part in (one, other)]
        if expected["kind"] == "object" and keys[0] != keys[1]:
            return f"{below}: its key at {keys[0][0]}:{keys[0][1]}", f"{keys[1][0]}:{keys[1][1]}"
        found = difference(one, other, below)
        if found:
            return found
    return None
