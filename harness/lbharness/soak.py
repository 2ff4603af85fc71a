"""The soak: reloads every second for an hour with everything on, and every process watched. Flat, or not?

Each few seconds the memory, open files, threads and children of the supervisor and its generations are
written down. A resource is flat when the line through its later samples rises by no more than a bound; the
first part of the run, in which caches and pools fill, is left out. Counters of requests must never fall.
"""

import html
import json
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from . import process
from .errors import HarnessError
from .run import Observer

SAMPLE_S = 3.0
WARM_UP_SHARE = 0.25  # of the run, left out of the slope
# name: (unit, bound on the rise over the time looked at: share of the mean, and at least this much)
BOUNDS = {
    "supervisor_rss_kib": ("KiB", 0.10, 2048),
    "serving_rss_kib": ("KiB", 0.10, 4096),
    "supervisor_fds": ("files", 0.02, 2),
    "serving_fds": ("files", 0.25, 60),
    "supervisor_threads": ("threads", 0.0, 1),
    "serving_threads": ("threads", 0.5, 3),
    "generations": ("processes", 0.5, 3),
}


@dataclass
class Sample:
    t_s: float
    values: dict


class Sampler(Observer):
    """Watches `run.target` as a run goes on; passes everything on to another observer."""

    def __init__(self, other=None, every=SAMPLE_S):
        self._other, self._every = other or Observer(), every
        self._begin, self._over = None, threading.Event()
        self.samples = []
        self.reloads = 0

    def phase(self, text):
        if self._begin is not None:
            self._over.set()  # the load is over
        self._other.phase(text)

    def started(self, run):
        self._begin = time.monotonic()
        threading.Thread(target=self._watch, args=(run,), daemon=True).start()
        self._other.started(run)

    def reload_begins(self, run, planned):
        self._other.reload_begins(run, planned)

    def reload_ends(self, run, record):
        self.reloads += 1
        self._other.reload_ends(run, record)

    def tick(self, run):
        self._other.tick(run)

    def _watch(self, run):
        """In a thread of its own: a reload that takes long must not leave a gap in the curves."""
        while not self._over.wait(self._every):
            now = time.monotonic()
            sample = self._look(run)
            if sample:
                self.samples.append(Sample(now - self._begin, sample))

    def _look(self, run):
        supervisor = run.target.child.pid
        generations = sorted(run.target.worker_pids())
        try:
            serving = run.target.serving_pids()[0]
            return {
                **_of(supervisor, "supervisor"),
                **_of(serving, "serving"),
                "generations": len(generations),
                "all_rss_kib": sum(_rss(pid) for pid in [supervisor, *generations]),
                "reloads": self.reloads,
                "answered": (run.traffic.progress() or {"ok": 0})["ok"],
            }
        except (OSError, HarnessError):
            return None  # it went while it was looked at


def _rss(pid):
    try:
        return process.rss_kib(pid)
    except OSError:
        return 0


def _of(pid, name):
    return {
        f"{name}_rss_kib": process.rss_kib(pid),
        f"{name}_fds": process.fd_count(pid),
        f"{name}_threads": process.thread_count(pid),
    }


def slope(points):
    """Least squares: (slope, mean of y) of [(x, y)]."""
    n = len(points)
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    below = sum((x - mean_x) ** 2 for x, _ in points)
    return (sum((x - mean_x) * (y - mean_y) for x, y in points) / below if below else 0.0), mean_y


def judge(samples):
    """[{name, unit, mean, rise, over_s, bound, flat}], and whether all is flat. Fewer than eight samples
    judge nothing: ([], None). `rise` is what the line rises over the time looked at, and so is the bound."""
    if len(samples) < 8:
        return [], None
    begin = samples[0].t_s + WARM_UP_SHARE * (samples[-1].t_s - samples[0].t_s)
    later = [s for s in samples if s.t_s >= begin]
    span = later[-1].t_s - later[0].t_s
    rows = []
    for name, (unit, share, least) in BOUNDS.items():
        per_second, mean = slope([(s.t_s, s.values[name]) for s in later])
        bound = max(share * mean, least)
        rise = per_second * span
        rows.append(_row(name, unit, mean, rise, span, bound, rise <= bound))
    for counter in ("answered", "reloads"):
        values = [s.values[counter] for s in samples]
        rises = all(a <= b for a, b in zip(values, values[1:]))
        rows.append(_row(f"{counter} (never falls)", "", values[-1], values[-1] - values[0], span, 0, rises))
    return rows, all(row["flat"] for row in rows)


def _row(name, unit, mean, rise, over_s, bound, flat):
    return {
        "name": name,
        "unit": unit,
        "mean": mean,
        "rise": rise,
        "over_s": over_s,
        "bound": bound,
        "flat": flat,
    }


def text(rows, flat, samples):
    if flat is None:
        return f"soak: {len(samples)} samples are too few to judge (8 are needed)"
    out = [f"{'resource':<26}{'mean':>14}{'rise':>12}{'allowed':>12}   over {rows[0]['over_s']:.0f} s"]
    for row in rows:
        bound = "" if row["name"].endswith("falls)") else f"{row['bound']:,.1f}"
        out.append(
            f"{row['name']:<26}{row['mean']:>14,.1f}{row['rise']:>12,.1f}{bound:>12}   "
            f"{'flat' if row['flat'] else 'NOT FLAT'}"
        )
    out.append(f"soak: {'flat' if flat else 'NOT FLAT'}, {len(samples)} samples")
    return "\n".join(out)


def write(directory, samples, rows, flat, result):
    """soak.json, soak.csv, soak.html (curves; nothing fetched)."""
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    names = list(samples[0].values) if samples else []
    data = {
        "flat": flat,
        "resources": rows,
        "verdict": result["verdict"],
        "sentence": result["sentence"],
        "samples": [{"t_s": round(s.t_s, 3), **s.values} for s in samples],
    }
    (directory / "soak.json").write_text(json.dumps(data, indent=1) + "\n")
    lines = [",".join(["t_s", *names])]
    lines += [",".join([f"{s.t_s:.3f}", *(str(s.values[n]) for n in names)]) for s in samples]
    (directory / "soak.csv").write_text("\n".join(lines) + "\n")
    (directory / "soak.html").write_text(_page(samples, rows, flat, result))


_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:62rem;padding:0 1rem;color:#1d2433;
background:#fff}
h1{font-size:1.4rem}figure{margin:1.2rem 0}figcaption{font-weight:600}
svg{width:100%;height:auto;background:#f6f7f9;border-radius:6px}
polyline{fill:none;stroke:#2a6fdb;stroke-width:1.6}.trend{stroke:#d97706;stroke-dasharray:5 4}
text{font-size:11px;fill:#667}
.bad{color:#c02626}.good{color:#15803d}
@media(prefers-color-scheme:dark){body{color:#e6e8ee;background:#14171d}svg{background:#1d222b}
text{fill:#9aa3b2}}
"""


def _page(samples, rows, flat, result):
    verdict = {True: "flat", False: "NOT FLAT", None: "too few samples to judge"}[flat]
    css = "good" if flat else "bad"
    parts = [
        "<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>soak: {verdict}</title><style>{_STYLE}</style>",
        f"<h1>Soak: <span class={css}>{verdict}</span>; {html.escape(result['sentence'])}, "
        f"{samples[-1].values['reloads'] if samples else 0} reloads</h1>",
    ]
    by_name = {row["name"]: row for row in rows}
    for name in samples[0].values if samples else ():
        parts.append(_curve(name, samples, by_name.get(name)))
    return "".join(parts)


def _curve(name, samples, row, width=900, height=150, left=70):
    xs, ys = [s.t_s for s in samples], [s.values[name] for s in samples]
    low, high = min(ys), max(ys)
    margin = max((high - low) * 0.1, abs(high) * 0.02, 1)
    low, high = max(0, low - margin), high + margin
    span = max(xs[-1] - xs[0], 1e-9)

    def at(x, y):
        across = left + (width - left - 10) * (x - xs[0]) / span
        return f"{across:.1f},{height - 20 - (height - 30) * (y - low) / (high - low):.1f}"

    points = " ".join(at(x, y) for x, y in zip(xs, ys))
    trend, words = "", ""
    if row:
        middle, begin = xs[-1] - row["over_s"] / 2, xs[-1] - row["over_s"]
        first, last = row["mean"] - row["rise"] / 2, row["mean"] + row["rise"] / 2
        trend = f"<polyline class=trend points='{at(begin, first)} {at(2 * middle - begin, last)}'/>"
        state = "<span class=good>flat</span>" if row["flat"] else "<span class=bad>not flat</span>"
        words = f": {state}, rises by {row['rise']:,.1f} {row['unit']} in {row['over_s']:.0f} s"
        words += f", {row['bound']:,.1f} allowed"
    return (
        f"<figure><figcaption>{html.escape(name)}{words}</figcaption><svg viewBox='0 0 {width} {height}'>"
        f"<polyline points='{points}'/>{trend}<text x=4 y=18>{high:,.0f}</text>"
        f"<text x=4 y={height - 22}>{low:,.0f}</text><text x={left} y={height - 5}>0 s</text>"
        f"<text x={width - 60} y={height - 5}>{xs[-1]:,.0f} s</text></svg></figure>"
    )
