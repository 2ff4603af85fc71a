"""Words for people: kinds of traffic and outcomes."""

_KIND_TEXT = {
    "new": "new connections",
    "keepalive": "kept-alive",
    "pipelined": "pipelined",
    "race": "sent at the drain",
    "slow_download": "slow downloads",
    "slow_upload": "slow uploads",
    "chunked": "chunked both ways",
    "upgrade": "upgraded (tunnels)",
    "halfopen": "in a full queue",
}
NOT_DROPS = ("ok", "unserved", "unfinished", "local_error")
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
