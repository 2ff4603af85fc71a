"""The result as one HTML page that needs no network: charts are SVG, made here."""

import html
import math
from pathlib import Path

from .table import proxy_text

STYLE = (Path(__file__).parent / "report.css").read_text()
METHOD = """In each round every proxy was measured once, one after the other, in an order that turns. Figures
are medians; a ratio is taken within a round, then the median and [the quartiles] of all rounds. CPU
is what the kernel charged to all threads of the proxy."""


def color(name):
    if name.startswith("lb"):
        return "#0b6e4f"
    return (
        "#c3ccd5"
        if name.startswith("relay")
        else {"haproxy": "#5b7fb5", "nginx": "#b98b4e"}.get(name, "#7b8794")
    )


def _esc(value):
    return html.escape(str(value))


def _nice(value):
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def bars(rows, parts_of=None):
    """Horizontal bars. rows: [(name, median, [value of each round], label)]; parts_of: name -> share of the
    bar that is drawn darker."""
    if not rows:
        return ""
    top = max([row[1] for row in rows] + [v for row in rows for v in row[2]]) or 1
    left, width, step = 105, 265, 30
    out = [f'<svg viewBox="0 0 520 {step * len(rows) + 6}" role="img">']
    for i, (name, middle, values, label) in enumerate(rows):
        y = 4 + i * step
        length = width * middle / top
        out.append(f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{_esc(proxy_text(name))}</text>')
        out.append(f'<rect x="{left}" y="{y}" width="{length:.1f}" height="21" rx="2" fill="{color(name)}"/>')
        share = (parts_of or {}).get(name)
        if share:
            dark = f'width="{length * share:.1f}" height="21" rx="2" fill="#000" opacity="0.28"'
            out.append(f'<rect x="{left}" y="{y}" {dark}/>')
        for value in values:
            x = left + width * value / top
            out.append(f'<circle cx="{x:.1f}" cy="{y + 10.5}" r="2" fill="#1f2933" opacity="0.55"/>')
        end = left + width * max([middle, *values]) / top
        out.append(f'<text x="{end + 8:.1f}" y="{y + 15}">{_esc(label)}</text>')
    return "".join([*out, "</svg>"])


def _medians(entry, key):
    return {n: row[key]["median"] for n, row in entry["summary"].items() if key in row}


def _label(entry, name, text, key):
    found = entry["lb_to"].get(name, {}).get(key)
    return f"{text} \u00b7 lb is {found['median']:.2f} x" if found else text


def _rows(entry, key, unit):
    rows = []
    for name, middle in _medians(entry, key).items():
        values = [r[key] for r in entry["rounds"][name] if r.get(key) is not None]
        rows.append((name, middle, values, _label(entry, name, f"{_nice(middle)}{unit}", key)))
    return rows


def _card(title, why, body):
    return f'<div class="card"><h3>{_esc(title)}</h3><div class="why">{_esc(why)}</div>{body}</div>'


def _load_card(entry):
    users = _medians(entry, "user_us")
    shares = {n: users.get(n, 0) / us for n, us in _medians(entry, "us").items() if us}
    why = (
        f"CPU microseconds per request, {entry['connections']} connections; dark: in user space; dots: rounds"
    )
    return _card(entry["title"], why, bars(_rows(entry, "us", " us"), shares))


def _rate_card(entry):
    return _card(entry["title"], "requests a second, one worker thread", bars(_rows(entry, "rate", "")))


def _idle_card(entry):
    return _card(
        entry["title"], "bytes of process memory for each connection", bars(_rows(entry, "bytes", " B"))
    )


def _latency_card(entry, rate):
    points = ["p50", "p90", "p99", "p99.9", "max"]
    lines = {n: [row[p]["median"] for p in points] for n, row in entry["summary"].items() if "p50" in row}
    if not lines:
        return ""
    low = math.log10(min(min(v) for v in lines.values()) * 0.8)
    high = math.log10(max(max(v) for v in lines.values()) * 1.2)
    left, right, top, bottom = 60, 430, 10, 210

    def xy(i, value):
        share = (math.log10(value) - low) / (high - low)
        return left + (right - left) * i / (len(points) - 1), bottom - (bottom - top) * share

    out = ['<svg viewBox="0 0 520 240" role="img">']
    for exponent in range(math.ceil(low), math.floor(high) + 1):
        y = xy(0, 10**exponent)[1]
        out.append(f'<line x1="{left}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e4e7eb"/>')
        text = f"{10**exponent:,.0f} us" if exponent < 3 else f"{10 ** (exponent - 3):,.0f} ms"
        out.append(f'<text class="soft" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
    for i, point in enumerate(points):
        out.append(
            f'<text class="soft" x="{xy(i, 1)[0]:.1f}" y="{bottom + 18}" text-anchor="middle">{point}</text>'
        )
    ends = _apart([(xy(len(points) - 1, values[-1])[1], name) for name, values in lines.items()], 15)
    for name, values in lines.items():
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (xy(i, v) for i, v in enumerate(values)))
        wide = 3 if name == "lb" else 2
        out.append(f'<polyline points="{path}" fill="none" stroke="{color(name)}" stroke-width="{wide}"/>')
        out.append(f'<text x="{right + 8}" y="{ends[name] + 4:.1f}">{_esc(proxy_text(name))}</text>')
    why = f"open loop, {rate:,.0f} requests a second; counted from when a request was due; medians of rounds"
    return _card(entry["title"], why, "".join([*out, "</svg>"]))


def _apart(places, distance):
    """name -> y, moved down where labels would touch."""
    result, last = {}, -1e9
    for y, name in sorted(places):
        last = max(y, last + distance)
        result[name] = last
    return result


def _row(cells, name="", head=False):
    tag = "th" if head else "td"
    mark = ' class="lb"' if name == "lb" else ""
    return f"<tr{mark}>" + "".join(f"<{tag}>{_esc(c)}</{tag}>" for c in cells) + "</tr>"


def _with_ratio(entry, name, key):
    found = entry["lb_to"].get(name, {}).get(key)
    return f"{found['median']:.2f} [{found['low']:.2f}, {found['high']:.2f}]" if found else ""


def _table(entry):
    keys = {
        "load": ["us", "user_us", "system_us", "rate"],
        "latency": ["p50", "p90", "p99", "p99.9", "max", "us"],
        "idle": ["bytes", "before_bytes"],
    }[entry["kind"]]
    heads = {
        "us": "CPU us",
        "user_us": "user",
        "system_us": "system",
        "rate": "requests/s",
        "before_bytes": "before",
    }
    compared = {"load": ["us", "rate"], "latency": ["p99"], "idle": ["bytes"]}[entry["kind"]]
    words = {"us": "CPU", "rate": "requests/s", "p99": "p99", "bytes": "bytes"}
    head = ["", *(heads.get(k, k) for k in keys), "spread", *(f"lb x this, {words[k]}" for k in compared)]
    out = [f"<h3>{_esc(entry['title'])}</h3>", '<div class="wide"><table>', _row(head, head=True)]
    for name, row in entry["summary"].items():
        cells = [_nice(row[k]["median"]) if k in row else "-" for k in keys]
        spread = row.get(keys[0], {}).get("spread")
        cells.append("-" if spread is None else f"{spread:.0%}")
        cells += [_with_ratio(entry, name, k) for k in compared]
        out.append(_row([proxy_text(name), *cells], name))
    return "".join([*out, "</table></div>"])


def _syscall_table(entries):
    out = []
    for entry in entries:
        counts = entry["syscalls"]
        if not counts:
            continue
        total = {name: sum(calls.values()) for name, calls in counts.items()}
        names = sorted(
            {c for calls in counts.values() for c in calls},
            key=lambda c: -max(k.get(c, 0) for k in counts.values()),
        )
        names = [c for c in names if max(k.get(c, 0) for k in counts.values()) >= 0.01]
        out += [f"<h3>{_esc(entry['title'])}</h3>", '<div class="wide"><table>']
        out.append(_row(["", "all", *names], head=True))
        for proxy, calls in counts.items():
            cells = [f"{calls[c]:.2f}" if calls.get(c, 0) >= 0.005 else "" for c in names]
            out.append(_row([proxy_text(proxy), f"{total[proxy]:.2f}", *cells], proxy))
        out.append("</table></div>")
    if not out:
        return ""
    text = (
        "Counted by strace in a run of its own, over 4,000 requests. It slows a proxy down, so an epoll_wait "
        "brings more or fewer events than it does at full speed; the other counts do not depend on that."
    )
    return "<h2>System calls per request</h2><p>" + text + "</p>" + "".join(out)


def _goals(goals):
    if not goals:
        return ""
    words = {True: ("yes", "reached"), False: ("no", "missed"), None: ("open", "not measured")}
    out = [
        '<h2>Goals</h2><div class="wide"><table>',
        '<tr><th></th><th class="text">what</th><th>measured</th><th>goal</th></tr>',
    ]
    for goal in goals:
        mark, word = words[goal["reached"]]
        value = "-" if goal["value"] is None else _nice(goal["value"])
        sign = "at most" if goal["at_most"] else "at least"
        what = f"{goal['workload']}: {goal['text']}"
        cells = f'<td class="{mark}">{word}</td><td class="text">{_esc(what)}</td><td>{value}</td>'
        out.append(f"<tr>{cells}<td>{sign} {goal['limit']:g}</td></tr>")
    return "".join([*out, "</table></div>"])


def _environment(document):
    rows = "".join(
        f'<tr><td>{_esc(k)}</td><td class="text">{_esc(v)}</td></tr>'
        for k, v in document["environment"].items()
    )
    notes = "".join(f"<p>{_esc(note)}</p>" for note in document["notes"])
    return f'<h2>How to repeat it</h2>{notes}<div class="wide"><table>{rows}</table></div>'


def render(document):
    """The page as text."""
    options = document["options"]
    entries = [entry for entry in document["workloads"] if entry["summary"]]
    loads = [entry for entry in entries if entry["kind"] == "load"]
    cards = {
        "CPU per request": [_load_card(e) for e in loads],
        "Latency and memory": [_latency_card(e, options["rate"]) for e in entries if e["kind"] == "latency"]
        + [_idle_card(e) for e in entries if e["kind"] == "idle"],
        "Throughput": [_rate_card(e) for e in loads],
    }
    body = [
        "<h1>lb beside HAProxy, nginx, and a relay that parses nothing</h1>",
        f"<p>{options['rounds']} rounds of {options['seconds']:g} s. {METHOD}</p>",
        _goals(document["goals"]),
    ]
    for title, found in cards.items():
        found = [card for card in found if card]
        if found:
            body.append(f'<h2>{_esc(title)}</h2><div class="cards">{"".join(found)}</div>')
    body += [
        "<h2>All figures</h2>",
        *(_table(e) for e in entries),
        _syscall_table(entries),
        _environment(document),
    ]
    head = f'<meta charset="utf-8"><title>lb: benchmark</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'
