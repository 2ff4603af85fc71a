"""What differs between two configurations, computed from their JSON alone: the judge's own answer to 10.2.

Shares nothing with the balancer but the contract (lb/config/diff.hpp) and its table of keys, which the
program config_keys (harness/labs) tells: a key that is added there is known here. Knows what the checks
generate: addresses are written as the balancer would print them, listen may also be ":PORT", "*:PORT" or
listen_port; no backend has an option that is an object. A configuration is a dict, as json.loads gives it.
"""
import dataclasses
import decimal
import functools
import json
import re
import subprocess

from .check import ROOT, CouldNotGrade

SHOWN_CHARACTERS_MAX = 60
CONFIG_KEYS = ROOT / "build" / "release" / "labs" / "config_keys"
PLACE = ("name", "host", "port", "unix")  # of a backend: its identity and address


# ---- The table of keys ----


@dataclasses.dataclass(frozen=True)
class Key:
    name: str
    kind: str  # "value", "object" (a section), "optional" (one that may be null) or "list"
    is_choice: bool
    default: object
    is_shown: bool  # at its default
    keys: tuple  # of a section or a list's items


@dataclasses.dataclass(frozen=True)
class Table:
    keys: tuple  # of the document, in the order of the report
    samples: tuple  # (path, before, after): pairs that differ in that one key

    def of(self, name):
        return next(key for key in self.keys if key.name == name)

    @property
    def options(self):
        """Those of a backend that are plain values, weight and so on."""
        return tuple(k for k in self.of("backends").keys if k.name not in PLACE and k.kind == "value")


def _keys(told):
    return tuple(
        Key(k["name"], k["kind"], k["choice"], k["default"], k["shown"], _keys(k.get("keys", ())))
        for k in told
    )


@functools.cache
def table():
    try:
        done = subprocess.run([CONFIG_KEYS], capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        raise CouldNotGrade(f"the balancer's keys are not to be learnt: {error}", "environment") from error
    told = json.loads(done.stdout)
    samples = tuple((s["path"], s["before"], s["after"]) for s in told["samples"])
    return Table(_keys(told["keys"]), samples)


@dataclasses.dataclass(frozen=True)
class Change:
    kind: str
    path: str
    before: object  # a JSON value; None when added
    after: object  # None when removed
    words: str

    def line(self):
        return {"added": "+ ", "removed": "- ", "changed": "~ "}.get(self.kind, "? ") + self.words


# ---- Words ----


def printable(text):
    """Control characters (C0, DEL, C1) as \\u00XX."""
    return re.sub("[\x00-\x1f\x7f-\x9f]", lambda m: f"\\u{ord(m[0]):04x}", text)


def shown(text):
    """A text in quotes, cut after 60 characters."""
    cut = text[:SHOWN_CHARACTERS_MAX].replace("\\", "\\\\").replace('"', '\\"')
    cut = printable(cut.replace("\n", "\\n").replace("\t", "\\t"))
    return f'"{cut}"' + ("..." if len(text) > SHOWN_CHARACTERS_MAX else "")


def value_words(key, value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value if key.is_choice else shown(value) if value else "none"
    return f"{decimal.Decimal(repr(value)).normalize():f}"


def is_secret(name):
    lower = name.lower()
    return lower in ("authorization", "proxy-authorization", "cookie", "set-cookie") or any(
        part in lower for part in ("secret", "token", "password", "api-key")
    )


# ---- What a file means ----


def host_and_port(host, port):
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def address_of(backend):
    if "unix" in backend:
        return "unix:" + backend["unix"]
    return host_and_port(backend["host"], backend["port"])


def _filled(keys, given):
    return {key.name: given.get(key.name, key.default) for key in keys}


def _shown(keys, values):
    return {key.name: values[key.name] for key in keys if key.is_shown or values[key.name] != key.default}


def effective(config):
    """Key path -> value; listeners, backends and header fields by identity, in the order of the file. Two
    configurations differ exactly when these do, order aside."""
    listen = config.get("listen", [])
    texts = [f"0.0.0.0:{config['listen_port']}"] if "listen_port" in config else []
    for text in [listen] if isinstance(listen, str) else listen:
        texts.append(re.sub(r"^\*?:(?=\d+$)", "0.0.0.0:", text))
    backends = {}
    for entry in config["backends"]:
        name = entry.get("name", address_of(entry))
        backends[name] = {"address": address_of(entry), **_filled(table().options, entry)}
    headers = {
        name.lower(): (name, "(secret)" if is_secret(name) else value, value)
        for name, value in config.get("response_headers", {}).items()
    }
    model = {"listen": texts, "backends": backends, "response_headers": headers}
    for key in table().keys:
        if key.name in model:
            continue
        given = config.get(key.name)
        if key.kind == "object" or (key.kind == "optional" and given is not None):
            model[key.name] = _filled(key.keys, given or {})
        else:
            model[key.name] = config.get(key.name, key.default)
    return model


def backend_json(name, backend):
    """The object that stands for a whole backend."""
    address = backend["address"]
    if address.startswith("unix:"):
        where = {"unix": address.removeprefix("unix:")}
    else:
        host, port = address.rsplit(":", 1)
        where = {"host": host.strip("[]"), "port": int(port)}
    return {"name": name, **where, **_shown(table().options, backend)}


# ---- What differs ----


def pointer(*parts):
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def changed(path, said, key, before, after):
    words = f"{said}{value_words(key, before)} -> {value_words(key, after)}"
    return Change("changed", path, before, after, words)


def diff(before, after):
    """The changes from one configuration to another, in the order of the contract."""
    old, new, changes = effective(before), effective(after), []
    for key in table().keys:
        was, now = old[key.name], new[key.name]
        if key.name in _LISTS:
            changes += _LISTS[key.name](was, now)
        elif key.kind == "object" or (key.kind == "optional" and None not in (was, now)):
            changes += _keys_of(was, now, key)
        elif key.kind == "optional":
            changes += _section(was, now, key)
        elif was != now:
            changes.append(changed(pointer(key.name), f"{key.name}: ", key, was, now))
    return changes


def _keys_of(old, new, section):
    return [
        changed(pointer(section.name, k.name), f"{section.name}.{k.name}: ", k, old[k.name], new[k.name])
        for k in section.keys
        if old[k.name] != new[k.name]
    ]


def _section(old, new, section):
    """One that comes or goes as a whole."""

    def whole(values, verb):
        words = (f"{k.name} {value_words(k, values[k.name])}" for k in section.keys)
        return f"{section.name} {verb}: " + ", ".join(words)

    path = pointer(section.name)
    if old is not None:
        return [Change("removed", path, _shown(section.keys, old), None, whole(old, "removed"))]
    if new is not None:
        return [Change("added", path, None, _shown(section.keys, new), whole(new, "added"))]
    return []


def _listeners(old, new):
    return [
        Change("removed", pointer("listen", text), text, None, f"listener {printable(text)} removed")
        for text in old
        if text not in new
    ] + [
        Change("added", pointer("listen", text), None, text, f"listener {printable(text)} added")
        for text in new
        if text not in old
    ]


def _backends(old, new):
    def whole(name, backend, verb):
        more = [
            f"{key.name} {value_words(key, backend[key.name])}"
            for key in table().options
            if key.name == "weight" or backend[key.name] != key.default
        ]
        return f"backend {printable(name)} {verb}: {', '.join([printable(backend['address']), *more])}"

    changes = [
        Change(
            "removed",
            pointer("backends", name),
            backend_json(name, backend),
            None,
            whole(name, backend, "removed"),
        )
        for name, backend in old.items()
        if name not in new
    ]
    for name, backend in new.items():
        was = old.get(name, backend)
        if was["address"] != backend["address"]:
            words = f"{printable(was['address'])} -> {printable(backend['address'])}"
            changes.append(
                Change(
                    "changed",
                    pointer("backends", name, "address"),
                    was["address"],
                    backend["address"],
                    f"backend {printable(name)}: address {words}",
                )
            )
        changes += [
            changed(
                pointer("backends", name, key.name),
                f"backend {printable(name)}: {key.name} ",
                key,
                was[key.name],
                backend[key.name],
            )
            for key in table().options
            if was[key.name] != backend[key.name]
        ]
    return changes + [
        Change(
            "added",
            pointer("backends", name),
            None,
            backend_json(name, backend),
            whole(name, backend, "added"),
        )
        for name, backend in new.items()
        if name not in old
    ]


def _headers(old, new):
    def words(field):
        name, masked, _ = field
        return "(secret)" if is_secret(name) else shown(masked)

    def at(field):
        return pointer("response_headers", field[0]), f"response_headers.{field[0]}"

    changes = []
    for key, field in old.items():
        if key not in new:
            path, who = at(field)
            changes.append(Change("removed", path, field[1], None, f"{who} removed: {words(field)}"))
    for key, field in new.items():
        if key in old and old[key][2] != field[2]:
            path, who = at(field)
            changes.append(
                Change(
                    "changed", path, old[key][1], field[1], f"{who}: {words(old[key])} -> {words(field)}"
                )
            )
    for key, field in new.items():
        if key not in old:
            path, who = at(field)
            changes.append(Change("added", path, None, field[1], f"{who} added: {words(field)}"))
    return changes


_LISTS = {"listen": _listeners, "backends": _backends, "response_headers": _headers}


# ---- Applying changes ----


class CannotApply(Exception):
    """A change that does not fit the configuration it is applied to; the text says how."""


def comparable(config):
    """What a configuration means without any order, secrets masked."""
    model = effective(config)
    model["listen"] = set(model["listen"])
    model["response_headers"] = {key: field[1] for key, field in model["response_headers"].items()}
    return model


def apply(config, changes):
    """comparable(config) after the changes. Each must find what it says was there."""
    model = comparable(config)
    for change in changes:
        parts = [part.replace("~1", "/").replace("~0", "~") for part in change.path.split("/")[1:]]
        if not parts or parts[0] not in model:
            raise CannotApply(f"{change.path} names no key")
        _apply_one(model, parts, change)
    return model


def _apply_one(model, parts, change):
    key, rest = parts[0], parts[1:]
    if key == "listen":
        return _apply_member(model["listen"], rest, change)
    if key == "response_headers":
        return _apply_value(model[key], [part.lower() for part in rest], change)
    if key == "backends" and len(rest) == 1:

        def plain(entry):
            try:
                told = {k.name: entry[k.name] for k in table().options if k.is_shown or k.name in entry}
                return {"address": address_of(entry), **_filled(table().options, told)}
            except (KeyError, TypeError, AttributeError):
                raise CannotApply(f"{change.path}: {json.dumps(entry)} is no whole backend") from None

        return _apply_value(
            model[key],
            rest,
            dataclasses.replace(
                change,
                before=change.before and plain(change.before),
                after=change.after and plain(change.after),
            ),
        )
    if key == "backends":
        if rest[0] not in model[key]:
            raise CannotApply(f"{change.path}: there is no such backend")
        return _apply_value(model[key][rest[0]], rest[1:], change)
    if rest and isinstance(model[key], dict):
        return _apply_value(model[key], rest, change)
    if not rest and table().of(key).kind == "optional":
        if model[key] != change.before:
            raise CannotApply(f"{change.path}: before is not what was there")
        model[key] = change.after
        return None
    return _apply_value(model, parts, change)


def _apply_member(members, rest, change):
    text = change.before if change.kind == "removed" else change.after
    if rest != [text] or change.kind == "changed" or (text in members) != (change.kind == "removed"):
        raise CannotApply(f"{change.path}: {change.kind} does not fit the listeners")
    members.symmetric_difference_update({text})


def _apply_value(owner, rest, change):
    if len(rest) != 1:
        raise CannotApply(f"{change.path} names no key")
    key = rest[0]
    if (key in owner) != (change.kind != "added"):
        raise CannotApply(
            f"{change.path}: {change.kind}, and there was {'one' if key in owner else 'none'}"
        )
    if change.kind != "added" and owner[key] != change.before:
        raise CannotApply(
            f"{change.path}: before is {json.dumps(change.before)}, there was {json.dumps(owner[key])}"
        )
    if change.kind == "removed":
        del owner[key]
    else:
        owner[key] = change.after
