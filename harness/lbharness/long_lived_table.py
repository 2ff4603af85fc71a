"""The part of the closing table about connections meant to outlive reloads, and about old processes."""

from .words import in_order, kind_text

_ROWS_MAX = 25


def linger_figures(result):
    """{"n", "median_s", "max_s", "still"} of the reloads whose old processes were watched, or None."""
    known = [r for r in result["reloads"] if r.get("lingered_s") is not None]
    if not known:
        return None
    times = sorted(r["lingered_s"] for r in known)
    return {
        "n": len(times),
        "median_s": times[(len(times) - 1) // 2],
        "max_s": times[-1],
        "sum_s": sum(times),
        "still": sum(bool(r.get("lingers_still")) for r in known),
    }


def _messages(result, kind):
    streams = [s for s in result.get("streams", []) if s["kind"] == kind]
    return sum(s["messages_sent"] for s in streams), sum(s["messages_received"] for s in streams)


def lines(result, paint):
    """Lines of the table, none when there was nothing of the kind."""
    out = _kinds(result, paint)
    figures = linger_figures(result)
    if figures:
        still = f"; {figures['still']} were still there at the end" if figures["still"] else ""
        median, longest = figures["median_s"], figures["max_s"]
        allowed = result["options"].get("linger_max", 0)
        out.append(
            f"old processes         gone {median:.2f} s (median), {longest:.2f} s (longest) after the answer "
            f"of their reload; at most {allowed:g} s allowed{still}"
        )
    handshakes = [s for s in result.get("streams", []) if s.get("tls_handshakes")]
    if handshakes:
        full, resumed = (sum(s[key] for s in handshakes) for key in ("tls_handshakes", "tls_resumed"))
        out.append(f"TLS handshakes        {full - resumed:,} full, {resumed:,} resumed")
    return out


def _kinds(result, paint):
    kinds = result["ledger"].get("long_lived") or {}
    if not kinds:
        return []
    head = (
        f"{'long-lived':<20}{'connections':>12}{'cut':>9}{'closed idle':>14}{'told to leave':>15}"
        f"{'reloads crossed':>17}{'most by one':>13}{'messages out / in':>22}"
    )
    out = ["", paint(head, "bold")]
    for kind in in_order(kinds):
        data = kinds[kind]
        sent, received = _messages(result, kind)
        cut = paint(f"{data['cut']:>9,}", "red" if data["cut"] else "green")
        messages = f"{sent:,} / {received:,}" if sent or received else "-"
        out.append(
            f"{kind_text(kind):<20}{data['connections']:>12,}{cut}{data['closed_idle']:>14,}"
            f"{data['told_to_leave']:>15,}{data['crossings']:>17,}{data['most_crossed']:>13,}{messages:>22}"
        )
    if result["options"]["profile"] == "long-lived":
        out += _reloads(result, in_order(kinds), paint)
    return [*out, ""]


def _reloads(result, kinds, paint):
    """Per reload: how many connections of each kind crossed it, and how long the old process lived on."""
    marks = result["ledger"]["marks"]
    rows = [(m, r) for m, r in zip(marks, result["reloads"]) if m["ok"]]
    heads = "".join(f"{kind_text(kind):>20}" for kind in kinds)
    out = ["", paint(f"{'reload: crossed (cut)':<24}{heads}{'old process, s':>17}", "bold")]
    for mark, record in rows[:_ROWS_MAX]:
        cells = ""
        for kind in kinds:
            data = mark["long_lived"][kind]
            gone = data["cut"] + data["closed_idle"]
            cells += f"{data['crossed']:,}{f' ({gone:,})' if gone else ''}".rjust(20)
        lingered = record.get("lingered_s")
        text = "-" if lingered is None else f"{'> ' if record.get('lingers_still') else ''}{lingered:.2f}"
        out.append(f"{record['number']:<24}{cells}{text:>17}")
    if len(rows) > _ROWS_MAX:
        out.append(f"... and {len(rows) - _ROWS_MAX} more (--json has them all)")
    return out
