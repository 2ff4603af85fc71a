"""The submission of exercise 10.4 as its checks see it: read_yaml() in a process, or inside a balancer."""
import contextlib
import json
import pathlib
import random
import re
import tempfile

from . import yaml_model as model
from .check import CheckFailed, NotImplementedYet

TEXT_SHOWN_MAX = 300


def shown(text):
    if isinstance(text, bytes):
        return repr(text)
    text = json.dumps(text, ensure_ascii=False)
    return text if len(text) <= TEXT_SHOWN_MAX else text[:TEXT_SHOWN_MAX] + "..."


def outline(tree):
    """The plain value that a tree stands for; numbers by their kind and spelling."""
    if tree["kind"] == "array":
        return [outline(child) for child in tree["children"]]
    if tree["kind"] == "object":
        return {child["key"]: outline(child) for child in tree["children"]}
    text, kind = tree["text"], tree["kind"]
    try:
        return {
            "text": str,
            "integer": int,
            "real": float,
            "null": lambda _: None,
            "boolean": lambda word: word.lower() == "true",
        }[kind](text)
    except (KeyError, ValueError):
        return f"{kind} {text}"


def same(one, other):
    """Equal, and of the same types all the way down: 1, 1.0 and True are not the same."""
    if type(one) is not type(other):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return one == other


def part_at(tree, path):
    for step in path.split("/")[1:]:
        tree = next(
            child
            for i, child in enumerate(tree["children"])
            if step == (child["key"] if tree["kind"] == "object" else str(i))
        )
    return tree


def error_text(error):
    return f"{error['line']}:{error['column']}: {error['path'] or '/'}: {error['message']}"


def plain_errors(answer):
    """The errors of a configuration without their positions; [] when it is valid."""
    return sorted(
        re.sub(r"^lb\.(json|yaml):(\d+:\d+:)?", "", line) for line in answer.get("errors", "").splitlines()
    )


def _raise_if_missing(text):
    """When the balancer says that the submission says that this is still to be written."""
    sentence = re.search(r"not implemented: [^()\n]*\([^()\n]*\)", text)
    if sentence:
        raise NotImplementedYet(sentence[0])


class Reader:
    def __init__(self, lab, seconds_max=4.0):
        self.lab, self.student = lab, lab.student()
        self.student.seconds_max = seconds_max

    def ask(self, text, do="read", **more):
        if isinstance(text, bytes):
            return self.student.ask(do, hex=text.hex(), **more)
        return self.student.ask(do, text=text, **more)

    def tree(self, text):
        """Of a text that must be read."""
        answer = self.ask(text)
        if "tree" not in answer:
            self.lab.expect(False, expected="it is read", seen="refused: " + error_text(answer["error"]))
        return answer["tree"]

    def config(self, text, form="yaml"):
        answer = self.ask(text, "config", format=form)
        _raise_if_missing(answer.get("errors", ""))
        return answer

    # -- what must be read --

    def expect_read(self, text):
        self.lab.step(f"read {shown(text)}")
        self.tree(text)

    def expect_outline(self, text, expected):
        self.lab.step(f"read {shown(text)}")
        seen = outline(self.tree(text))
        self.lab.expect(same(expected, seen), expected=repr(expected), seen=repr(seen))

    def expect_same(self, spec):
        text, expected = model.write(spec)
        self.lab.step(f"read {shown(text)}")
        found = model.difference(expected, self.tree(text))
        if found:
            self.lab.expect(False, expected=found[0], seen=found[1])

    def expect_positions(self, text, expected):
        """path -> "LINE:COLUMN" of the value, and of the key for a member of an object."""
        self.lab.step(f"read {shown(text)}")
        tree = self.tree(text)
        for path, at in expected.items():
            try:
                part = part_at(tree, path)
            except StopIteration:
                raise CheckFailed(f"a value at {path}", "none") from None
            seen = f"{part['line']}:{part['column']}"
            if " " in at:
                seen += f" {part['key_line']}:{part['key_column']}"
            self.lab.expect(
                seen == at, seen=seen, expected=f"{path or '/'} at {at.replace(' ', ', its key at ')}"
            )

    def expect_kinds(self, words):
        text = "".join(f"- {word}\n" for word in words)
        answer = self.ask(text)
        if "tree" not in answer:
            line = answer["error"]["line"]
            word = words[line - 1] if 0 < line <= len(words) else "?"
            self.lab.expect(
                False,
                expected=f"{word}: {model.kind_of_plain(word)}",
                seen="refused: " + error_text(answer["error"]),
            )
        seen = [(part["kind"], part["text"]) for part in answer["tree"]["children"]]
        for i, word in enumerate(words):
            kind = model.kind_of_plain(word)
            expected = (kind, "null" if kind == "null" else word)
            got = seen[i] if i < len(seen) else ("nothing", "")
            self.lab.expect(
                got == expected,
                expected=f"{word}: {expected[0]} {expected[1]!r}",
                seen=f"{got[0]} {got[1]!r}",
            )

    def expect_quoted(self, quoted):
        seen = self.tree("".join(f"- {word}\n" for word in quoted))["children"]
        for word, part in zip(quoted, seen):
            self.lab.expect(
                part["kind"] == "text" and part["text"] == word[1:-1],
                expected=f"{word}: text {word[1:-1]!r}",
                seen=f"{part['kind']} {part['text']!r}",
            )

    # -- what must be refused --

    def refusal(self, text, brief=False):
        """The error of a text that must be refused, told as every error is told."""
        answer = self.ask(text, brief=brief)
        if "error" not in answer:
            seen = "something" if brief else json.dumps(outline(answer["tree"]), ensure_ascii=False)
            self.lab.expect(False, expected="it is refused", seen=f"it is read as {seen[:TEXT_SHOWN_MAX]}")
        error = answer["error"]
        message = error["message"]
        good = message.startswith("found ") and (", expected " in message or "inside the value" in message)
        self.lab.expect(
            good and error["line"] >= 1 and error["column"] >= 1,
            expected='a position, and "found WHAT, expected WHAT"',
            seen=error_text(error),
        )
        return error

    def expect_refused_word(self, word):
        answer = self.ask(f"a:\n- é: {word}\n")
        expected = f"2:6: /a/0/é: found {word}, expected ..."
        if "error" not in answer:
            part = part_at(answer["tree"], "/a/0/é")
            self.lab.expect(
                False, expected=f"{word} is refused: {expected}", seen=f"{part['kind']} {part['text']!r}"
            )
        seen = error_text(answer["error"])
        self.lab.expect(seen.startswith(expected[:-3]), expected=expected, seen=seen)

    def expect_error(self, text, at, path, word, quiet=False):
        """Refused at LINE:COLUMN (None: anywhere) and `path` (None: any) with `word` in what was found."""
        if not quiet:
            self.lab.step(f"read {shown(text)}")
        error = self.refusal(text, brief=quiet)
        seen = error_text(error)
        self.lab.expect(
            at is None or f"{error['line']}:{error['column']}" == at,
            expected=f"the error is at {at}",
            seen=seen,
        )
        self.lab.expect(
            path is None or error["path"] == path, expected=f"the error is about {path or '/'}", seen=seen
        )
        self.lab.expect(word in error["message"], expected=f"the error names {word}", seen=seen)

    def expect_fault(self, text, lines):
        """A fault of the syntax: on one of these lines."""
        self.lab.step(f"read {shown(text)}")
        error = self.refusal(text)
        self.lab.expect(
            error["line"] in lines, expected=f"the error is on line {lines[-1]}", seen=error_text(error)
        )

    def expect_memory(self, mebibytes):
        """The most that the process has had so far; where the system tells."""
        path = pathlib.Path(f"/proc/{self.student._child.pid}/status")
        if not path.exists():
            return
        peak = re.search(r"VmHWM:\s*(\d+) kB", path.read_text())
        if peak:
            used = int(peak[1]) // 1024
            self.lab.expect(
                used <= mebibytes, expected=f"at most {mebibytes} MiB of memory", seen=f"{used} MiB"
            )

    # -- random files --

    def random_members(self, seed):
        rng = random.Random(seed)
        members = model.Generator(rng).members(rng.randint(1, 8))
        return members, {
            "newline": rng.choice(["\n", "\r\n"]),
            "start": rng.choice(["", "---\n", "\n# c\n"]),
            "step": rng.choice([2, 2, 4]),
        }

    def mismatch(self, members, seed, options):
        """(the text, None or what differs)."""
        text, expected = model.write(("map", "block", members), rng=random.Random(seed), **options)
        answer = self.ask(text)
        if "tree" not in answer:
            return text, ("it is read", "refused: " + error_text(answer["error"]))
        return text, model.difference(expected, answer["tree"])

    # -- configurations --

    def expect_same_errors(self, config):
        """As JSON, as block YAML, and as JSON read as YAML: the same errors but for their positions."""
        expected = self.config(json.dumps(config), "json")
        self.lab.step(
            f"the configuration {shown(json.dumps(config))}"
            + ("" if "errors" in expected else ", a valid one")
        )
        for text in (yaml_of(config), json.dumps(config, indent=2, ensure_ascii=False)):
            seen = self.config(text)
            where = "as YAML" if text[0] != "{" else "as JSON in lb.yaml"
            self.lab.expect(
                plain_errors(seen) == plain_errors(expected) and seen.get("config") == expected.get("config"),
                expected=f"{where}: {expected.get('errors') or 'valid'}",
                seen=f"{seen.get('errors') or 'valid, with other values'}   (read from {shown(text)})",
            )


def yaml_of(value, indent=0):
    """Block YAML of a plain value."""
    pad = " " * indent
    if isinstance(value, dict) and value:
        return "".join(
            f"{pad}{json.dumps(k) if k[0].isdigit() else k}:{_after_key(v, indent)}" for k, v in value.items()
        )
    if isinstance(value, list) and value:
        return "".join(f"{pad}-{_after_key(v, indent)}" for v in value)
    return _after_key(value, indent)


def _after_key(value, indent):
    if isinstance(value, (dict, list)) and value:
        return "\n" + yaml_of(value, indent + 2)
    if isinstance(value, str) and value and model.kind_of_plain(value) == "text" and value.isalnum():
        return f" {value}\n"
    return f" {json.dumps(value)}\n"


# ---- The balancer ----


class _Live:
    def __init__(self, lab, balancer, config):
        self.lab, self.balancer, self.config = lab, balancer, config
        self.generation = 1

    def _reload(self, text):
        self.balancer.write(text)
        result = self.balancer.reload_cli()
        return result.code, (result.out + result.err).strip()

    def expect_label(self, label):
        from lbharness.wire import fetch

        seen = fetch(self.balancer.address).label
        self.lab.expect(seen == label, expected=f"answers of the configuration {label}", seen=str(seen))

    def reload_applied(self, label):
        self.lab.step(f"edit lb.yaml ({label}), lb reload")
        self.config["label"] = label
        code, said = self._reload(live_config(**self.config))
        self.lab.expect(code == 0, expected="the reload is applied", seen=said)
        self.generation += 1
        self.expect_label(label)

    def reload_rejected(self, broken, message):
        text = live_config(**self.config) + broken
        line = text.count("\n")
        self.lab.step(f"add line {line} to lb.yaml: {broken.strip()}; lb reload")
        code, said = self._reload(text)
        self.lab.expect(code != 0, expected="the reload is rejected", seen=said)
        where = re.search(r"lb\.yaml:(\d+):(\d+): .*" + re.escape(message), said)
        self.lab.expect(
            where and int(where[1]) in (line, line + 1),
            expected=f"lb.yaml:{line}:COLUMN: ... {message}",
            seen=said,
        )
        self.expect_label(self.config["label"])


def live_config(host, port, label):
    return (
        "# serves\nlisten: 127.0.0.1:0\nworkers: 1\n"
        f"response_headers:\n  X-Config: {label}\ndrain_timeout: 1\n"
        f"backends:\n- host: {host}\n  port: {port}\n"
    )


@contextlib.contextmanager
def running_balancer(lab):
    """A balancer started with lb.yaml, and a backend."""
    from lbharness import RawBackend
    from lbharness.balancer import Balancer
    from lbharness.errors import HarnessError

    with tempfile.TemporaryDirectory(prefix="lb-yaml-") as where:
        backend = RawBackend(lambda exchange: exchange.reply())
        balancer = Balancer(directory=pathlib.Path(where), binary=lab.balancer())
        balancer.config_path = balancer.directory / "lb.yaml"
        try:
            entry = backend.config()
            config = {"host": entry["host"], "port": entry["port"], "label": "one"}
            lab.step("start lb with lb.yaml")
            try:
                balancer.start(live_config(**config))
            except HarnessError as error:
                _raise_if_missing(str(error))
                raise CheckFailed("a balancer that serves", "it does not start", str(error)) from error
            live = _Live(lab, balancer, config)
            live.expect_label("one")
            yield live
        finally:
            balancer.stop()
            backend.stop()
