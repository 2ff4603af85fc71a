"""The overview of a class: grades.csv and index.html, a page that needs no network. Light and dark."""
import csv
import html
import io
import pathlib
import urllib.parse

from lbgrader import grading

from .statistics import remarks_of

_STYLE = (pathlib.Path(__file__).resolve().parent / "page.css").read_text()


def _e(text):
    return html.escape(str(text), quote=True)


# ---- CSV -------------------------------------------------------------------------------------------


def spreadsheet_safe(text):
    """A spreadsheet takes what begins with these for a formula, and names are their authors' choice."""
    return "'" + text if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def csv_text(records, exercises):
    names = {1: "10.1 watch", 2: "10.2 diff", 3: "10.3 rollback", 4: "10.4 yaml", 5: "together"}
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["name", *(names[n] for n in exercises), "total", "of", "state", "seconds", "seed", "remarks"]
    )
    for record in records:
        name = spreadsheet_safe(record.submission.name)
        if not record.finished:
            writer.writerow([name, *([""] * len(exercises)), "", "", "not graded yet", "", "", ""])
            continue
        grade = record.grade
        points = {e.number: e.points for e in grade.exercises}
        writer.writerow(
            [
                name,
                *(points.get(n, "") for n in exercises),
                grade.points,
                grade.points_max,
                "look at it" if record.doubtful else "graded",
                record.meta["seconds"],
                grade.seed,
                spreadsheet_safe("; ".join(remarks_of(record))),
            ]
        )
    return out.getvalue()


# ---- HTML ------------------------------------------------------------------------------------------


def index(records, figures, settings):
    done = [r for r in records if r.finished]
    head = (
        f"{len(done)} of {len(records)} submissions graded"
        if len(done) < len(records)
        else f"{len(done)} submissions"
    )
    facts = [head, f"seed {settings.seed}"]
    if done:
        facts += [
            f"mean {figures['mean']}",
            f"median {figures['median']:g}",
            f"of {figures['points_max']} points",
            f"{figures['full_marks']} with full marks",
            f"{figures['seconds']['median']} s each (median)",
        ]
    sections = [_look_at(figures), _histogram(figures), _exercises(figures)]
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Chapter 10: {len(done)} submissions</title>
<style>{_STYLE}</style></head>
<body><main><h1>Chapter 10: hot reload</h1>
<p class=sub>{_e(" · ".join(facts))}</p>
{sections[0]}<div class=grid>{sections[1]}{sections[2]}</div><p></p>
{_table(records, settings)}
<div class=grid>{_checks(figures)}{_causes(figures)}{_identical(figures)}</div></main></body></html>
"""


def _link(name):
    return f'<a href="{_e(urllib.parse.quote(name))}.html">{_e(name)}</a>'


def _look_at(figures):
    names = figures.get("to_look_at")
    if not names:
        return ""
    return (
        f"<section class=card><h2 class=doubt>To look at</h2>Something of {', '.join(map(_link, names))} "
        "could not be graded, though it was tried twice: that is the machine's or the grader's fault, and no "
        "points were given for it.</section>"
    )


def _histogram(figures):
    bars = figures.get("histogram")
    if not bars:
        return ""
    longest, parts = max(1, *(count for *_, count in bars)), []
    for n, (low, high, count) in enumerate(bars):
        height = 130 * count / longest
        x = 8 + n * 48
        parts.append(
            f'<rect x="{x}" y="{150 - height:.1f}" width="40" height="{height:.1f}" rx="3">'
            f"<title>{low} to {high} points: {count}</title></rect>"
        )
        if count:
            parts.append(
                f'<text class=count x="{x + 20}" y="{144 - height:.1f}" text-anchor="middle">{count}</text>'
            )
        parts.append(f'<text x="{x}" y="168">{low}</text>')
    parts.append(f'<text x="488" y="168" text-anchor="end">{bars[-1][1]}</text>')
    return (
        "<section class=card><h2>Points</h2>"
        '<svg viewBox="0 0 496 176" role=img aria-label="Histogram of points">'
        f'<line x1="4" y1="150.5" x2="492" y2="150.5"/>{"".join(parts)}</svg></section>'
    )


def _exercises(figures):
    rows = []
    for row in figures.get("exercises", []):
        states = ", ".join(f"{count} {_e(state)}" for state, count in row["states"].items())
        share = row["mean"] / row["points_max"] if row["points_max"] else 0
        name = row["name"] if row["name"] == row["seam"] else f"{row['name']} {row['seam']}"
        rows.append(
            f'<tr><td class=name>{_e(name)}<td class=num>{row["mean"]}/{row["points_max"]}<td>{_bar(share)}'
            f'<td class=num>{row["full"]}<td class=remarks>{states}</tr>'
        )
    if not rows:
        return ""
    return (
        "<section class=card><h2>Exercises</h2><table><thead><tr><th>Exercise<th class=num>Mean<th>"
        f"<th class=num>Full<th>States</thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _bar(share, kind=""):
    return f'<div class="bar {kind}"><i style="width:{100 * share:.0f}%"></i></div>'


def _table(records, settings):
    names = {1: "10.1", 2: "10.2", 3: "10.3", 4: "10.4", 5: "together"}
    head = "".join(f"<th class=num>{names[n]}" for n in settings.exercises)
    rows = []
    for record in records:
        if not record.finished:
            rows.append(
                f"<tr><td>{_e(record.submission.name)}<td colspan={len(settings.exercises) + 3}>"
                "<small>not graded yet</small></tr>"
            )
            continue
        grade, cells = record.grade, []
        by_number = {e.number: e for e in grade.exercises}
        for number in settings.exercises:
            cells.append(_cell(by_number.get(number)))
        mark = ' <span class=doubt title="something could not be graded">??</span>' if record.doubtful else ""
        remarks = "".join(f"<div>{_e(sentence)}</div>" for sentence in remarks_of(record))
        full = " full" if grade.full_marks else ""
        rows.append(
            f'<tr><td>{_link(record.submission.name)}{mark}{"".join(cells)}<td class="num total{full}">'
            f'{grade.points}<small>/{grade.points_max}</small><td class=num>{record.meta["seconds"]:.1f} s'
            f"<td class=remarks>{remarks}</tr>"
        )
    return (
        f"<section class=card><h2>Submissions</h2><table><thead><tr><th>Name{head}<th class=num>Total"
        f"<th class=num>Time<th>Remarks</thead><tbody>{''.join(rows)}</tbody></table></section>"
    )


def _cell(result):
    if result is None:
        return "<td>"
    kind = "full" if 0 < result.points_max == result.points else "zero" if result.points == 0 else ""
    word = {grading.GRADED: str(result.points), grading.NOT_GRADED: "??"}.get(result.state, "–")
    said = result.state + (f": {result.sentence.splitlines()[0]}" if result.sentence else "")
    return f'<td class="num {kind}" title="{_e(said)}">{word}'


def _checks(figures):
    rows = [r for r in figures.get("checks", []) if r["failed"]]
    rows.sort(key=lambda row: (-row["rate"], row["name"]))
    if not rows:
        return ""
    cells = "".join(
        f'<tr><td>{_e(r["name"])}<td>{_e(r["title"])}{" <small>hidden</small>" if r["hidden"] else ""}'
        f'<td>{_bar(r["rate"], "bad")}<td class=num>{r["failed"]} of {r["passed"] + r["failed"]}</tr>'
        for r in rows
    )
    return (
        "<section class=card><h2>Checks that failed</h2><table><thead><tr><th>Check<th><th>"
        f"<th class=num>Failed</thead><tbody>{cells}</tbody></table><p><small>Of the submissions that came "
        "to the check: what does not compile, or is not written, is not counted.</small></p></section>"
    )


def _causes(figures):
    rows = "".join(
        f'<tr><td class=num>{len(r["submissions"])}<td>{_e(r["exercise"])}<td>{_e(r["cause"])}'
        f'<div class=remarks>{", ".join(map(_link, r["submissions"][:8]))}'
        f'{" ..." if len(r["submissions"]) > 8 else ""}</div></tr>'
        for r in figures.get("causes", [])
    )
    return (
        f"<section class=card><h2>Likely causes</h2><table><tbody>{rows}</tbody></table></section>"
        if rows
        else ""
    )


def _identical(figures):
    rows = "".join(
        f'<tr><td>{_e(", ".join(r["exercises"]))}<td>{", ".join(map(_link, r["submissions"]))}</tr>'
        for r in figures.get("identical", [])
    )
    if not rows:
        return ""
    return (
        "<section class=card><h2>The same answers</h2><table><tbody>"
        + rows
        + "</tbody></table><p><small>The same but "
        "for comments, blanks and line ends. A note, no verdict; it changes no points.</small></p></section>"
    )
