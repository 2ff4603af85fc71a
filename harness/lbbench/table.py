"""The result in the terminal."""

PROXY_TEXT = {"relay-splice": "relay, splice", "lb-2-workers": "lb, 2 workers"}


def proxy_text(name):
    return PROXY_TEXT.get(name, name)


def _number(entry, name, key, form):
    found = entry["summary"].get(name, {}).get(key)
    return format(found["median"], form) if found else "-"


def _ratio(entry, name, key):
    found = entry["lb_to"].get(name, {}).get(key)
    return f"{found['median']:.2f} [{found['low']:.2f} {found['high']:.2f}]" if found else ""


def _calls(entry, name):
    counts = entry["syscalls"].get(name)
    return f"{sum(counts.values()):.2f}" if counts else "-"


def _load_lines(entry):
    head = (
        "us/request",
        "user",
        "system",
        "spread",
        "requests/s",
        "calls",
        "lb x this, CPU",
        "lb x this, req/s",
    )
    widths = (12, 8, 8, 8, 12, 8, 19, 19)
    yield " " * 16 + "".join(f"{h:>{w}}" for h, w in zip(head, widths))
    for name in entry["summary"]:
        spread = entry["summary"][name]["us"]["spread"]
        cells = (
            _number(entry, name, "us", ".2f"),
            _number(entry, name, "user_us", ".2f"),
            _number(entry, name, "system_us", ".2f"),
            f"{spread:.0%}" if spread is not None else "-",
            _number(entry, name, "rate", ",.0f"),
            _calls(entry, name),
            _ratio(entry, name, "us"),
            _ratio(entry, name, "rate"),
        )
        yield f"  {proxy_text(name):14}" + "".join(f"{c:>{w}}" for c, w in zip(cells, widths))
    resumed = {n: s["resumed"]["median"] for n, s in entry["summary"].items() if "resumed" in s}
    if resumed:
        yield "  resumed       " + ", ".join(f"{proxy_text(n)} {share:.1%}" for n, share in resumed.items())


def _latency_lines(entry):
    keys = ("p50", "p90", "p99", "p99.9", "max", "us", "unsent")
    head = ("p50 us", "p90", "p99", "p99.9", "max", "CPU us", "unsent", "lb x this, p99")
    yield " " * 16 + "".join(f"{h:>9}" for h in head[:-1]) + f"{head[-1]:>19}"
    for name in entry["summary"]:
        cells = [_number(entry, name, key, ",.0f") for key in keys]
        yield f"  {proxy_text(name):14}" + "".join(
            f"{c:>9}" for c in cells
        ) + f"{_ratio(entry, name, 'p99'):>19}"


def _idle_lines(entry):
    yield f"{'':16}{'bytes each':>12}{'spread':>8}{'before, KiB':>14}{'lb x this':>19}"
    for name, row in entry["summary"].items():
        before = row["before_bytes"]["median"] / 1024
        cells = f"{row['bytes']['median']:12,.0f}{row['bytes']['spread'] or 0:8.0%}{before:14,.0f}"
        yield f"  {proxy_text(name):14}{cells}{_ratio(entry, name, 'bytes'):>19}"


def entry_lines(entry):
    """One workload as lines of text."""
    make = {"load": _load_lines, "latency": _latency_lines, "idle": _idle_lines}[entry["kind"]]
    return [entry["title"], *make(entry)] if entry["summary"] else [entry["title"], "  nobody was measured"]


def goal_lines(goals):
    words = {True: "reached", False: "MISSED", None: "not measured"}
    for goal in goals:
        value = (
            "-"
            if goal["value"] is None
            else f"{goal['value']:.2f}"
            if goal["value"] < 100
            else f"{goal['value']:.0f}"
        )
        sign = "<=" if goal["at_most"] else ">="
        limit = f"({sign} {goal['limit']:g})"
        yield f"  {words[goal['reached']]:13}{goal['workload']:16}{goal['text']}: {value} {limit}"


def note_lines(notes):
    return [f"  note: {note}" for note in notes]
