"""A grade as one HTML file, offline: a table, and for each check its story as a timeline. Light and dark."""
import html
import pathlib
import re

from . import grading, results
from .terminal import MARKS, Text, notes_of

_PARTS = pathlib.Path(__file__).resolve().parent / "page_parts"
_WORDS = {"pass": "passed", "fail": "failed", "not graded": "could not be graded", "pending": "not run"}
_CLASSES = {"pass": "pass", "fail": "fail", "not graded": "doubt", "pending": "none"}
_BLAME = {"student": "your code", "grader": "the grader", "environment": "this machine or tree", "": ""}
# A step that says when it is, by the check's own clock.
_VIRTUAL = re.compile(r"^ *(\d+(?:\.\d+)?) s {2,}(?=\S)")


def _e(text):
    return html.escape(str(text), quote=True)


def render(grade):
    """The page as text."""
    full = grade.full_marks
    sections = "\n".join(_exercise(result) for result in grade.exercises)
    lead = "Everything passes." if full else _lead(grade)
    notes = "".join(f"<p class=note>{_e(note)}</p>" for note in notes_of(grade))
    facts = {"seed": grade.seed, "started": grade.started, "took": f"{grade.seconds:.1f} s",
             "sanitizers": "AddressSanitizer, UBSan", "contained": ", ".join(grade.containment)
             or "by limits only"}
    facts_html = "".join(f"<div><dt>{_e(k)}</dt><dd>{_e(v)}</dd></div>" for k, v in facts.items())
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,
initial-scale=1"> <meta name="color-scheme" content="light dark"><title>ch10 hot reload:
{grade.points}/{grade.points_max}</title> <style>
{(_PARTS / "page.css").read_text()}</style></head><body>
<header class="{'full' if full else 'less'}"><div><p class=what>Chapter 10: hot reload</p>
<h1>{grade.points}<small>/{grade.points_max} points</small></h1><p class=lead>{_e(lead)}</p>
<dl>{facts_html}</dl></div></header>
<main>{notes}
<section class=card><table><thead><tr><th>Exercise<th>Checks<th class=num>Points<th
class=num>Time</tr></thead><tbody> {"".join(_row(result) for result in
grade.exercises)}</tbody></table></section> {sections}
</main></body></html>
"""


def _lead(grade):
    """What failed, in a sentence; what is not written yet has not failed."""
    judged = [result for result in grade.exercises if result.state == grading.GRADED]
    failed = [check for result in judged for check in result.checks if check.verdict == "fail"]
    parts = [f"{len(failed)} check{'s' * (len(failed) != 1)} failed"] if failed else []
    unwritten = [result.name for result in grade.exercises if result.state == grading.NOT_WRITTEN]
    parts += [f"{', '.join(unwritten)} not implemented yet"] if unwritten else []
    refused = [result.name for result in grade.exercises if result.state in (
        results.NO_COMPILE, results.NOT_ACCEPTED, grading.MISSING)]
    parts += [f"{', '.join(refused)} could not be built"] if refused else []
    return "; ".join(parts) + "." if parts else "Not everything could be judged."


def _row(result):
    marks = "".join(f'<a class="mark {_CLASSES[c.verdict]}" href="#{_e(c.name)}" '
                    f'title="{_e(c.name)} {_e(c.title)}: {_WORDS[c.verdict]}">{MARKS[c.verdict]}</a>'
                    for c in result.checks)
    state = "" if result.state == grading.GRADED else f"<div class=state>{_e(Text().state(result))}</div>"
    hidden = f" <small>+{result.points_hidden} hidden</small>" if result.points_hidden else ""
    name = result.name if result.name == result.seam else f"{result.name} {result.seam}"
    return (f'<tr><th scope=row><a href="#{_e(result.name)}">{_e(name)}</a><td>{state or marks}'
            f"<td class=num>{result.points}/{result.points_max}{hidden}"
            f"<td class=num>{result.seconds:.1f} s</tr>\n")


def _exercise(result):
    name = result.name if result.name == result.seam else f"{result.name} {result.seam}"
    body = ""
    if result.state != grading.GRADED:
        body = f"<p class=state>{_e(Text().state(result))}</p>"
        if result.usually:
            body += f"<p><b>Usually:</b> {_e(result.usually)}</p>"
        if result.log:
            body += f"<pre>{_e(result.log)}</pre>"
    checks = "\n".join(_check(check) for check in result.checks)
    return f'<section class=card id="{_e(result.name)}"><h2>{_e(name)}</h2>{body}{checks}</section>'


def _check(check):
    opened = " open" if check.verdict in ("fail", "not graded") and check.seen != "not run" else ""
    points = f"{check.points}/{check.points_max}"
    head = (f'<summary><span class="mark {_CLASSES[check.verdict]}">{MARKS[check.verdict]}</span>'
            f"<b>{_e(check.name)}</b> {_e(check.title)}<span class=points>{points}"
            f"{' · hidden' if check.hidden else ''} · {_e(check.stage)} · {check.seconds:.2f} s</span>"
            "</summary>")
    parts = []
    if check.story:
        parts.append(_timeline(check))
    if check.verdict == "fail":
        parts.append(f"<div class=pair><div><h4>Expected</h4><p>{_e(check.expected)}</p></div>"
                     f"<div class=seen><h4>Seen</h4><p>{_e(check.seen)}</p></div></div>")
        if check.usually:
            parts.append(f"<p class=usually><b>Usually:</b> {_e(check.usually)}</p>")
    elif check.verdict == "not graded":
        parts.append(f"<p class=usually><b>Could not be graded</b> ({_e(_BLAME[check.blame])}): "
                     f"{_e(check.seen)}</p>")
    if check.log.strip():
        parts.append(f"<h4>Your log</h4><pre>{_e(check.log)}</pre>")
    if check.attached.get("report"):
        link = _e(check.attached["report"])
        parts.append(f'<p><a href="{link}">The timeline of every connection of this run</a></p>')
    if check.verdict != "pass":
        parts.append(f"<p class=again><code>{_e(check.again)}</code>"
                     + (f" <code>{_e(check.hint)}</code>" if check.hint else "") + "</p>")
    body = "".join(parts)
    return (f'<details class="check {_CLASSES[check.verdict]}" id="{_e(check.name)}"{opened}>{head}{body}'
            "</details>")


def _timed(check):
    """[(seconds, step)], by the check's own clock where steps say so, else by ours; how long it took."""
    found = [_VIRTUAL.match(text) for _, text in check.story]
    if sum(map(bool, found)) * 2 < len(found):
        return [(at, text) for at, text in check.story], max(check.seconds, check.story[-1][0])
    now, steps = 0.0, []
    for match, (_, text) in zip(found, check.story):
        now = float(match.group(1)) if match else now
        steps.append((now, text[match.end():] if match else text))
    return steps, max(at for at, _ in steps)


def _timeline(check):
    """Steps downwards, each with its time; the last one of a failed check is where it ended."""
    rows = []
    steps, end = _timed(check)
    for number, (at, text) in enumerate(steps):
        last = number == len(steps) - 1 and check.verdict in ("fail", "not graded")
        rows.append(f'<li class="{"last" if last else ""}"><time>{_time(at)}</time><i>{number}</i>'
                    f"<span>{_e(text)}</span></li>")
    return f"<ol class=timeline>{''.join(rows)}</ol>{_strip(check, steps, max(end, 0.001))}"


def _strip(check, steps, end):
    """All steps on one line of time, with the failure at its end."""
    marks = "".join(f'<circle cx="{10 + 960 * min(1, at / end):.1f}" cy="14" r="5">'
                    f"<title>{number}. {_e(text)}</title></circle>"
                    for number, (at, text) in enumerate(steps))
    cross = ""
    if check.verdict == "fail":
        cross = ('<path class=cross d="M 984 8 l 12 12 m 0 -12 l -12 12">'
                 f"<title>{_e(check.seen)}</title></path>")
    return (f'<svg class=strip viewBox="0 0 1000 40" role=img aria-label="The steps over {end:.2f} s">'
            f'<line x1="10" y1="14" x2="990" y2="14"/>{marks}{cross}<text x="10" y="36">0</text>'
            f'<text x="990" y="36" text-anchor="end">{_time(end)}</text></svg>')


def _time(seconds):
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
