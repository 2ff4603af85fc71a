"""The table at the end of a run, as text."""

import textwrap

from . import long_lived_table
from .profiles import PROTOCOLS
from .terminal import Painter
from .words import NOT_DROPS, OUTCOME_TEXT, in_order, kind_text

_EXAMPLES_MAX = 8


def milliseconds(us):
    if us is None:
        return "-"
    ms = us / 1000
    return f"{ms:.0f}" if ms >= 1000 else f"{ms:.1f}" if ms >= 100 else f"{ms:.2f}"


def percentiles(latency):
    """(p50, p99, p99.9) as texts; `latency` is an L of lb_ledger or None."""
    latency = latency or {}
    return tuple(milliseconds(latency.get(key)) for key in ("p50_us", "p99_us", "p99_9_us"))


def reload_durations(result):
    """Milliseconds of the applied reloads, those with the server stopped by us left out:
    {"n", "min", "p50", "p99", "max"}, or None."""
    times = sorted(r["duration_ms"] for r in result["reloads"] if r["applied"] and not r["frozen"])
    if not times:
        return None
    return {
        "n": len(times),
        "min": times[0],
        "p50": times[(len(times) - 1) // 2],
        "p99": times[max(0, -(-99 * len(times) // 100) - 1)],
        "max": times[-1],
    }


def rate_text(rate):
    """A drop rate as "1 in 12,345" where that reads better."""
    return "0" if rate == 0 else f"{rate:.2e} (1 in {1 / rate:,.0f})"


def render(result, colour=False, width=110):
    """The whole closing report of a run."""
    paint = Painter(colour).paint
    out = ["", *_verdict_lines(result, paint), ""]
    out += _kinds_table(result, paint)
    out += _outcomes_table(result, paint)
    out += long_lived_table.lines(result, paint) or [""]
    out += _facts(result)
    problems = result["problems"]
    if problems:
        out += ["", paint("Not as it should be:", "yellow", "bold")]
        out += [f"  {line}" for text in problems[:10] for line in text.splitlines()[:12]]
    out += _stories(result["ledger"], paint, width)
    return "\n".join(out) + "\n"


def _stories(ledger, paint, width):
    """One example of each way in which something was dropped."""
    examples = {}
    for drop in ledger.get("drops", []):
        examples.setdefault((drop["kind"], drop["outcome"]), drop)
    out = []
    for (kind, outcome), drop in list(examples.items())[:_EXAMPLES_MAX]:
        count = ledger["kinds"][kind]["outcomes"].get(outcome, 1)
        title = f"{count:,} x {OUTCOME_TEXT.get(outcome, outcome)}, {kind_text(kind)}; one of them:"
        out += ["", paint(title, "red", "bold")]
        out += textwrap.wrap(drop["text"], width, initial_indent="  ", subsequent_indent="  ")
    return out


def _verdict_lines(result, paint):
    style = {"zero_drops": "green", "drops": "red"}.get(result["verdict"], "yellow")
    reloads = [r for r in result["reloads"] if r["applied"]]
    rejected = len(result["reloads"]) - len(reloads)
    text = f"{result['sentence']}   {len(reloads)} reloads" + (
        f", {rejected} rejected ones" if rejected else ""
    )
    inner = f"  {result['title']}: {text}  "
    bar = "─" * len(inner)
    return [
        paint(f"┌{bar}┐", style),
        paint("│", style) + paint(inner, style, "bold") + paint("│", style),
        paint(f"└{bar}┘", style),
    ]


def _kinds_table(result, paint):
    names = f"{'p50':>9}{'p99':>9}{'p99.9':>9}"
    header = f"{'kind of traffic':<20}{'attempts':>12}{'dropped':>9}   {names}   {names}"
    groups = f"{'':<41}   {'outside reloads, ms':>27}   {'inside their windows, ms':>27}"
    out = [paint(groups, "dim"), paint(header, "bold")]
    kinds = result["ledger"]["kinds"]
    for kind in in_order(kinds):
        data = kinds[kind]
        latency = result["latency_by_kind"].get(kind) or data["latency"]
        out.append(_row(kind_text(kind), data["attempts"], data["drops"], latency, paint))
    out += _protocol_rows(result, paint)
    totals = result["ledger"]["totals"]
    out.append(paint("─" * len(header), "dim"))
    out.append(_row("all", totals["attempts"], totals["drops"], None, paint))
    for name, text in (("new_connection", "on new connections"), ("kept_alive", "on kept-alive ones")):
        latency = result["latency"].get(name)
        if latency and latency.get("all"):
            out.append(_row(text, latency["all"]["n"], None, latency, paint))
    return out


def _protocol_rows(result, paint):
    """What of all that went through listeners of other protocols."""
    out = []
    for protocol, text in PROTOCOLS.items():
        streams = [
            data
            for name, data in result["ledger"].get("streams", {}).items()
            if name == protocol or name.startswith(protocol + "_")
        ]
        if streams:
            attempts, drops = (sum(data[key] for data in streams) for key in ("attempts", "drops"))
            out.append(_row(f"  of it: {text}", attempts, drops, None, paint))
    return out


def _row(text, attempts, drops, latency, paint):
    dropped = "" if drops is None else f"{drops:,}"
    cell = paint(f"{dropped:>9}", "red" if drops else "green" if drops == 0 else "")
    line = f"{text:<20}{attempts:>12,}{cell}"
    if latency is None:
        return line
    outside, inside = percentiles(latency.get("outside")), percentiles(latency.get("inside"))
    cells = ["".join(f"{text:>9}" for text in group) for group in (outside, inside)]
    return f"{line}   {cells[0]}   {cells[1]}"


def _outcomes_table(result, paint):
    """Kinds by outcomes; only where something was dropped."""
    ledger = result["ledger"]
    seen = [o for o, n in ledger["outcomes"].items() if n and o not in NOT_DROPS]
    if not seen:
        return []
    kinds = {kind: data for kind, data in ledger["kinds"].items() if data["drops"]}
    heads = "".join(f"{kind_text(kind):>20}" for kind in kinds)
    out = ["", paint(f"{'dropped':<26}{heads}", "bold")]
    for outcome in seen:
        cells = "".join(f"{data['outcomes'].get(outcome, 0) or '-':>20}" for data in kinds.values())
        out.append(f"{OUTCOME_TEXT.get(outcome, outcome):<26}{cells}")
    return out


def _facts(result):
    ledger, totals = result["ledger"], result["ledger"]["totals"]
    durations = reload_durations(result)
    out = []
    if durations:
        out.append(
            f"reload durations      min {durations['min']:.1f}  median {durations['p50']:.1f}  "
            f"p99 {durations['p99']:.1f}  max {durations['max']:.1f} ms  ({durations['n']} applied)"
        )
    rate = ledger["drop_rate"]
    method = {"rule_of_three": "3/n", "clopper_pearson": "Clopper-Pearson"}.get(
        rate["method"], rate["method"]
    )
    out.append(
        f"drop rate             {rate_text(rate['observed'])}, with 95 % confidence below "
        f"{rate_text(rate['upper_95'])}  [{method}]"
    )
    ratio = result["latency"].get("p99_ratio") or {}
    texts = [
        f"{what} {ratio[key]:.2f}"
        for key, what in (("new_connection", "new"), ("kept_alive", "kept-alive"))
        if ratio.get(key)
    ]
    if texts:
        out.append(f"p99 inside / outside  {', '.join(texts)}")
    out.append(
        f"load                  {totals['connections']:,} connections, "
        f"{totals['requests_per_s']:,.0f} requests/s, {ledger['run']['duration_s']:.1f} s, "
        f"seed {result['options']['seed']}, profile {result['options']['profile']}"
    )
    if totals["unserved"] or totals["local_errors"] or totals["unfinished"]:
        out.append(
            f"not counted           {totals['unserved']} pipelined behind an announced close, "
            f"{totals['local_errors']} failures of this machine, {totals['unfinished']} unfinished"
        )
    if excused := ledger["outcomes"].get("excused"):
        out.append(f"excused               {excused} requests spoilt by backends' faults, beyond any retry")
    removed = ledger.get("removed_backend") or {}
    out.append(
        f"removed backends      {removed.get('requests', 0)} requests after a reload's answer went to one "
        f"({removed.get('on_new_connections', 0)} on new connections; counted by {removed.get('counted')})"
    )
    kernel = {k: v for k, v in result["kernel_counters"].items() if v}
    out.append(
        "kernel                "
        + (
            ", ".join(f"{k} +{v}" for k, v in kernel.items()) + " (of the whole machine)"
            if kernel
            else "no listener overflowed, no connection dropped from a queue"
        )
    )
    out += [f"note                  {note}" for note in result["notes"]]
    return out
