"""Words for people: kinds of traffic and outcomes."""

# In the order in which people are shown them.
_KIND_TEXT = {
    "new": "new connections",
    "keepalive": "kept-alive",
    "race": "sent at the drain",
    "pipelined": "pipelined",
    "chunked": "chunked both ways",
    "slow_download": "slow downloads",
    "slow_upload": "slow uploads",
    "upgrade": "upgraded (tunnels)",
    "halfopen": "in a full queue",
    "idle": "idle, kept alive",
    "websocket": "WebSockets",
    "tcp_tunnel": "TCP tunnels",
    "events": "server-sent events",
    "long_upload": "long uploads",
}
NOT_DROPS = ("ok", "unserved", "unfinished", "local_error", "closed_idle", "excused")
OUTCOME_TEXT = {
    "refused": "refused",
    "connect_timeout": "connect timeout",
    "reset_before_first_byte": "reset before first byte",
    "closed_under_request": "closed under a request",
    "truncated": "truncated",
    "timeout": "timeout",
    "wrong_body": "wrong body",
    "unexpected_status": "unexpected status",
    "malformed": "malformed",
    "duplicated": "duplicated",
    "removed_backend": "removed backend",
    "lost": "lost",
}


def kind_text(kind):
    return _KIND_TEXT.get(kind, kind)


def in_order(kinds):
    """The kinds, in the order of display."""
    known = list(_KIND_TEXT)
    return sorted(kinds, key=lambda kind: known.index(kind) if kind in known else len(known))
