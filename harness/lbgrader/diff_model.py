"""What differs between two configurations, computed from their JSON alone: the judge's own answer to 10.2.

Shares nothing with the balancer but the contract (lb/config/diff.hpp) and the table of keys below. Knows what
the checks generate: addresses are written as the balancer would print them, listen may also be ":PORT",
"*:PORT" or listen_port. A configuration is a dict, as json.loads gives it.
"""
import dataclasses
import decimal
import json
import re

SHOWN_CHARACTERS_MAX = 60

# Every key in the order of the report: name, and its default, or a dict of keys for a section.
KEYS = {
    "listen": "listen",
    "algorithm": "round_robin",
    "hash": {"by": "client_ip", "name": "", "balance_factor": 0},
    "backends": "backends",
    "slow_start": 0,
    "panic_threshold": 0.25,
    "health_check": None,  # no check has one
    "outlier_detection": None,
    "retries": {"attempts": 8, "gateway_errors": False, "budget_share": 0.2, "budget_per_second": 100},
    "resolver": {"interval": 30},
    "pool": {"max_size": 64, "ttl": 60},
    "rate_limit": "rate_limit",
    "timeouts": {
        "header": 10,
        "idle": 60,
        "connect": 5,
        "response": 60,
        "body": 30,
        "tunnel": 3600,
        "quiet": 1,
    },
    "drain_timeout": 30,
    "workers": 0,
    "max_connections": 50000,
    "limits": {
        "request_line_bytes": 16384,
        "header_bytes": 32768,
        "header_count": 100,
        "body_bytes": 0,
        "requests_per_connection": 0,
        "connections_per_ip": 0,
    },
    "queue": {"size": 1000, "timeout": 5},
    "pid_file": "",
    "reload": {
        "watch": False,
        "debounce": 0.1,
        "probation": 10,
        "requests_min": 50,
        "failure_increase": 0.1,
    },
    "admin": {"socket": ""},
    "access_log": "",
    "response_headers": "response_headers",
}
CHOICES = ("algorithm", "by")
BACKEND_KEYS = {"weight": 1, "max_connections": 0, "backup": False}
RATE_LIMIT_KEYS = {"per_ip": None, "burst": 1}


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
        return value if key in CHOICES else shown(value) if value else "none"
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
        backends[name] = {
            "address": address_of(entry),
            **{key: entry.get(key, default) for key, default in BACKEND_KEYS.items()},
        }
    limit = config.get("rate_limit")
    if limit is not None:
        limit = {key: limit.get(key, default) for key, default in RATE_LIMIT_KEYS.items()}
    headers = {
        name.lower(): (name, "(secret)" if is_secret(name) else value, value)
        for name, value in config.get("response_headers", {}).items()
    }
    model = {"listen": texts, "backends": backends, "rate_limit": limit, "response_headers": headers}
    for key, default in KEYS.items():
        if key in model:
            continue
        if isinstance(default, dict):
            given = config.get(key, {})
            model[key] = {inner: given.get(inner, value) for inner, value in default.items()}
        else:
            model[key] = config.get(key, default)
    return model


def backend_json(name, backend):
    """The object that stands for a whole backend."""
    address = backend["address"]
    if address.startswith("unix:"):
        where = {"unix": address.removeprefix("unix:")}
    else:
        host, port = address.rsplit(":", 1)
        where = {"host": host.strip("[]"), "port": int(port)}
    return {"name": name, **where, **{key: backend[key] for key in BACKEND_KEYS}}


# ---- What differs ----


def pointer(*parts):
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def changed(path, said, key, before, after):
    words = f"{said}{value_words(key, before)} -> {value_words(key, after)}"
    return Change("changed", path, before, after, words)


def diff(before, after):
    """The changes from one configuration to another, in the order of the contract."""
    old, new, changes = effective(before), effective(after), []
    for key, default in KEYS.items():
        if key in _SPECIAL:
            changes += _SPECIAL[key](old[key], new[key])
        elif isinstance(default, dict):
            changes += _keys(old[key], new[key], key, default)
        elif old[key] != new[key]:
            changes.append(changed(pointer(key), f"{key}: ", key, old[key], new[key]))
    return changes


def _keys(old, new, section, keys):
    return [
        changed(pointer(section, key), f"{section}.{key}: ", key, old[key], new[key])
        for key in keys
        if old[key] != new[key]
    ]


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
            f"{key} {value_words(key, backend[key])}"
            for key, default in BACKEND_KEYS.items()
            if key == "weight" or backend[key] != default
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
                pointer("backends", name, key),
                f"backend {printable(name)}: {key} ",
                key,
                was[key],
                backend[key],
            )
            for key in BACKEND_KEYS
            if was[key] != backend[key]
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


def _rate_limit(old, new):
    if old is not None and new is not None:
        return _keys(old, new, "rate_limit", RATE_LIMIT_KEYS)

    def whole(limit, verb):
        return f"rate_limit {verb}: " + ", ".join(
            f"{key} {value_words(key, limit[key])}" for key in limit
        )

    if old is not None:
        return [Change("removed", "/rate_limit", old, None, whole(old, "removed"))]
    return [] if new is None else [Change("added", "/rate_limit", None, new, whole(new, "added"))]


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


_SPECIAL = {
    "listen": _listeners,
    "backends": _backends,
    "rate_limit": _rate_limit,
    "response_headers": _headers,
}


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
                return {"address": address_of(entry), **{inner: entry[inner] for inner in BACKEND_KEYS}}
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
    if key == "rate_limit" and not rest:
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
