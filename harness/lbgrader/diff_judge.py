"""What the checks of exercise 10.2 share: a submission's list of changes held against the model's
(diff_model.py), and pairs of configurations made by random edits, which can be shrunk."""
import copy
import dataclasses
import json
import re

from . import diff_model as model
from .check import CheckFailed, CouldNotGrade

CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
LINES_SHOWN_MAX = 12
PATHS_SHOWN_MAX = 4
TEXT_SHOWN_MAX = 2000
PAIRS_AT_ONCE = 60  # a slow answer, on a busy machine, stays far below the time limit of a call


def compact(config):
    return json.dumps(config, ensure_ascii=False)


def lines(changes):
    """The changes as the log of a failure."""
    shown = [model.printable(change.line()[:TEXT_SHOWN_MAX]) for change in changes[:LINES_SHOWN_MAX]]
    return shown + ([f"... and {len(changes) - len(shown)} more"] if len(changes) > len(shown) else [])


def same_value(a, b):
    """Equality of JSON values; 1 is 1.0 and is not true."""
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_value(a[key], b[key]) for key in a)
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(same_value(*pair) for pair in zip(a, b))
    return a == b and isinstance(a, str) == isinstance(b, str)


def _value(member, change):
    text = change[member]
    if text == "":
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise CheckFailed(
            f"{member} of {change['path']}: JSON",
            f"{text!r}",
            usually="a text needs its quotes and escapes (json_string of wording.hpp)",
        ) from None


def read(raw):
    """The runner's answer as changes."""
    return [
        model.Change(
            change["kind"],
            change["path"],
            _value("before", change),
            _value("after", change),
            change["words"],
        )
        for change in raw
    ]


def _fail(expected, seen, usually, changes):
    texts = [model.printable(text[:TEXT_SHOWN_MAX]) for text in (expected, seen)]
    raise CheckFailed(*texts, "\n".join(lines(changes)), usually)


def _why_not(path, wanted):
    """The likely cause of a change that should not be there."""
    if re.fullmatch(r"/(?:backends|listen)/\d+(?:/.*)?", path):
        return "a path names the position in the list; it should name the identity"
    if any(one.startswith(path + "/") for one in wanted):
        return "both files have it: report the parts that changed, not the whole as removed, added or changed"
    if any(one.lower() == path.lower() for one in wanted):
        return "header names ignore letter case; a field that changed stands under its new spelling"
    list_name, _, identity = path[1:].partition("/")
    if any(one.startswith(model.pointer(list_name, identity)) for one in wanted):
        return "in a JSON pointer ~ is ~0 and / is ~1: they can be part of a name"
    return "something that stayed is reported, or its path is not the contract's"


def _check_set(expected, seen):
    """Each change there is, once and under its own name."""
    wanted = {change.path: change for change in expected}
    met = set()
    for change in seen:
        if change.path in met:
            _fail(f"{change.path} once", f"{change.path} twice", "each change is mentioned once", seen)
        met.add(change.path)
        if change.path in wanted:
            continue
        if not expected:
            _fail(
                "no change",
                change.line(),
                "the lists are compared as they are written: go by identity, and on "
                "what Config holds, where defaults are filled in",
                seen,
            )
        _fail(
            f"changes of {', '.join(list(wanted)[:PATHS_SHOWN_MAX])}",
            f"one of {change.path!r}" + (f" ({change.words})" if change.words else ""),
            _why_not(change.path, wanted),
            seen,
        )
    for change in expected:
        if change.path not in met:
            _fail(
                change.line(),
                f"nothing about {change.path}" if seen else "no change at all",
                "a change is missed: is this key compared, and found again in the other list?",
                seen,
            )


def _check_change(wanted, change, seen):
    if change.kind != wanted.kind:
        _fail(
            f"{change.path}: {wanted.kind}",
            change.kind,
            "added is what only the new one has, removed what only the old one had",
            seen,
        )
    for member in ("before", "after"):
        if not same_value(getattr(wanted, member), getattr(change, member)):
            _fail(
                f"{member} of {change.path}: {compact(getattr(wanted, member))}",
                compact(getattr(change, member)),
                "before and after are the effective values as JSON, the empty text where there was nothing",
                seen,
            )
    if change.words != wanted.words:
        _fail(
            f"the words: {wanted.words}",
            change.words or "no words",
            "the table in lb/config/diff.hpp says how " "each kind of change is put",
            seen,
        )


def _check_secrets(config_pair, expected, raw, seen):
    """Also what the model shows of a value, as that of another field with the same text, is no leak."""
    allowed = [compact(dataclasses.asdict(change)) for change in expected]
    for name, value in [
        field for config in config_pair for field in config.get("response_headers", {}).items()
    ]:
        if not model.is_secret(name) or "hush" not in value or any(value in text for text in allowed):
            continue
        for change in raw:
            for member in ("path", "before", "after", "words"):
                if value in change[member]:
                    _fail(
                        f"{name}: (secret)",
                        f"its value, in {member} of {change['path']}",
                        "ask is_secret_header() wherever a header's value is shown",
                        seen,
                    )


def judge(before, after, raw):
    """Raises CheckFailed when `raw`, the runner's answer, is not what differs between the two files."""
    expected = model.diff(before, after)
    goal = model.comparable(after)
    if model.apply(before, expected) != goal:
        raise CouldNotGrade(f"the model contradicts itself: {compact(before)} {compact(after)}")
    for change in raw:
        if CONTROL.search(change["words"]):
            _fail(
                "words without control characters",
                repr(change["words"]),
                "names and texts reach a terminal: bare_words() and shown_text() escape them",
                [],
            )
    seen = read(raw)
    _check_secrets((before, after), expected, raw, seen)
    _check_set(expected, seen)
    by_path = {change.path: change for change in seen}
    for wanted in expected:
        _check_change(wanted, by_path[wanted.path], seen)
    order = [change.path for change in expected]
    at = next((i for i, change in enumerate(seen) if change.path != order[i]), None)
    if at is not None:
        _fail(
            f"{order[at]} at place {at + 1}",
            f"{seen[at].path}",
            "the order is that of the key table, within a " "list removed, changed, added",
            seen,
        )
    try:
        applied = model.apply(before, seen)
    except model.CannotApply as error:
        _fail("changes that can be applied to the first configuration", str(error), "", seen)
    if applied != goal:
        _fail(
            "the second configuration, when the changes are applied to the first",
            compact(applied),
            "",
            seen,
        )


def show(lab, before, after):
    lab.step(f"before: {compact(before)}")
    lab.step(f"after:  {compact(after)}")


def ask_pair(student, before, after):
    return student.ask("diff", before=json.dumps(before), after=json.dumps(after))


def check_pair(lab, student, before, after):
    """One pair, told in the story when it fails."""
    try:
        judge(before, after, ask_pair(student, before, after))
    except CheckFailed:
        show(lab, before, after)
        raise


def check_answered(lab, student, before, after):
    """That there is an answer, whatever it is; the pair is told in the story when there is none."""
    try:
        ask_pair(student, before, after)
    except CheckFailed:
        show(lab, before, after)
        raise


def ask_pairs(lab, student, configs, pairs):
    """The answers for many pairs of some configurations, by their indexes; some at a time. Where there is
    none, since the code throws, crashes or hangs, the first pair at which it does is the story."""
    answers = []
    for at in range(0, len(pairs), PAIRS_AT_ONCE):
        some = pairs[at:][:PAIRS_AT_ONCE]
        used = sorted({i for pair in some for i in pair})
        place = {i: k for k, i in enumerate(used)}
        try:
            answers += student.ask(
                "diff_pairs",
                configs=[json.dumps(configs[i]) for i in used],
                pairs=[[place[i], place[k]] for i, k in some],
            )
        except CheckFailed:
            with lab.student() as again:
                for i, k in some:
                    check_answered(lab, again, configs[i], configs[k])
            raise
    if len(answers) != len(pairs):
        raise CheckFailed(f"{len(pairs)} answers", f"{len(answers)}")
    return answers


def check_pairs(lab, student, configs, pairs):
    """Many pairs; the first that fails is the story."""
    for (i, k), raw in zip(pairs, ask_pairs(lab, student, configs, pairs)):
        try:
            judge(configs[i], configs[k], raw)
        except CheckFailed:
            show(lab, configs[i], configs[k])
            raise


def failure_of(student, before, after):
    try:
        judge(before, after, ask_pair(student, before, after))
    except CheckFailed as failure:
        return failure
    return None


# ---- Pairs made by edits ----
#
# A pair is a list of edits (side, what, ...), each on the file "before", "after" or "both"; any sublist makes
# a pair of valid files, so that a failing one can be shrunk.

SIDES = ("both", "before", "after")
NUMBERS = {
    "pool.max_size": (0, 64, 65535),
    "workers": (0, 1, 4),
    "max_connections": (1, 50000, 1000000),
    "timeouts.idle": (60, 0.25, 5),
    "timeouts.connect": (5, 0.001, 86400),
    "drain_timeout": (30, 7.75, 0.5),
    "pool.ttl": (60, 12.5),
    "timeouts.tunnel": (3600, 604800),
    "reload.watch": (False, True),
    "reload.failure_increase": (0.1, 0, 1),
    "reload.debounce": (0.1, 2),
}
TEXTS = {
    "algorithm": ("round_robin", "ip_hash", "random", "least_connections"),
    "pid_file": ("", "/run/lb.pid", "/run/" + "x" * 70),
    "access_log": ("", "-", '/var/log/"lb".log'),
    "admin.socket": ("", "/run/lb.sock"),
}
NAMES = ("a", "b", "c", "web/1", "x~y", "gr\u00fcn", "two words", None)
ADDRESSES = (
    {"host": "10.0.0.1", "port": 1},
    {"host": "10.0.0.1", "port": 2},
    {"host": "::1", "port": 80},
    {"host": "app.example.org", "port": 80},
    {"unix": "/run/app.sock"},
)
LISTENERS = ("127.0.0.1:80", ":80", "0.0.0.0:81", "[::1]:80", "unix:/run/lb/http.sock")
HEADERS = ("Server", "server", "X-A", "x-a", "X-Api-Key", "Set-Cookie", "SET-COOKIE")
HEADER_VALUES = ("1", "two words", "", 'a "b" \\ c', "hush-hush", "hush-again", "y" * 61, "(secret)")
EDITS_MAX = 14


def random_edits(rng):
    """A list of edits; its length and every choice from `rng`."""
    return [(rng.choice(SIDES), *_random_edit(rng)) for _ in range(rng.randint(1, EDITS_MAX))]


def _random_edit(rng):
    what = rng.choice(
        (
            "key",
            "key",
            "backend",
            "backend",
            "backend",
            "no backend",
            "listener",
            "no listener",
            "header",
            "header",
            "no header",
            "rate_limit",
            "reverse",
        )
    )
    if what == "key":
        keys = {**NUMBERS, **TEXTS}
        name = rng.choice(sorted(keys))
        return what, name, rng.choice(keys[name])
    if what == "backend":
        entry = dict(rng.choice(ADDRESSES))
        name = rng.choice(NAMES)
        entry.update({} if name is None else {"name": name})
        entry.update({"weight": rng.randint(0, 3)} if rng.random() < 0.6 else {})
        entry.update({"max_connections": rng.choice((0, 9))} if rng.random() < 0.3 else {})
        return what, entry
    if what in ("listener", "no listener"):
        return what, rng.choice(LISTENERS)
    if what == "header":
        return what, rng.choice(HEADERS), rng.choice(HEADER_VALUES)
    if what == "rate_limit":
        return what, rng.choice(
            (None, {"per_ip": 100}, {"per_ip": 0.5, "burst": 20}, {"per_ip": 100000, "burst": 1})
        )
    return what, rng.choice({"no backend": NAMES, "no header": HEADERS}.get(what, ("",)))


def pair_of(edits):
    """The two configurations that the edits make."""
    smallest = {"listen": ["127.0.0.1:80"], "backends": [{"name": "a", "host": "10.0.0.1", "port": 1}]}
    pair = {"before": smallest, "after": copy.deepcopy(smallest)}
    for side, what, *arguments in edits:
        for name, config in pair.items():
            if side in (name, "both"):
                _edit(config, what, *copy.deepcopy(arguments))
    for config in pair.values():
        if not any(entry.get("weight", 1) for entry in config["backends"]):
            config["backends"][0]["weight"] = 1
    return pair["before"], pair["after"]


def _edit(config, what, *arguments):
    if what == "key":
        section, _, key = arguments[0].rpartition(".")
        (config.setdefault(section, {}) if section else config)[key] = arguments[1]
    elif what == "rate_limit":
        config["rate_limit"] = arguments[0]
    elif what == "backend":
        _replace(config["backends"], arguments[0], _name)
    elif what == "no backend":
        _leave_out(config["backends"], lambda entry: entry.get("name") == arguments[0])
    elif what == "listener":
        _replace(config["listen"], arguments[0], _listener)
    elif what == "no listener":
        _leave_out(config["listen"], lambda text: text == arguments[0])
    elif what in ("header", "no header"):
        fields = config.setdefault("response_headers", {})
        for name in [name for name in fields if name.lower() == arguments[0].lower()]:
            del fields[name]
        if what == "header":
            fields[arguments[0]] = arguments[1]
    else:
        config["backends"].reverse()
        config["listen"].reverse()
        config["response_headers"] = dict(reversed(config.get("response_headers", {}).items()))


def _name(entry):
    return entry.get("name", model.address_of(entry))


def _listener(text):
    return text.replace("0.0.0.0", "") if text.startswith("0.0.0.0:") else text


def _replace(items, new, identity):
    for i, item in enumerate(items):
        if identity(item) == identity(new):
            items[i] = new
            return
    items.append(new)


def _leave_out(items, matches):
    kept = [item for item in items if not matches(item)]
    if kept:
        items[:] = kept
