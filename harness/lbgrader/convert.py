"""A grade in the formats of others: Gradescope's results.json, JUnit XML, TAP 14."""
import xml.etree.ElementTree as ET

from . import grading
from .terminal import Text

_PLAIN = Text()


def _told(check):
    return "\n".join(_PLAIN.story(check)) if check.verdict in ("fail", "not graded") else ""


def _reason(result):
    """Why an exercise has no verdicts, as text; empty when it has."""
    return "" if result.state == grading.GRADED else _PLAIN.state(result)


def gradescope(grade):
    """https://gradescope-autograders.readthedocs.io: scores per test; hidden ones are shown after
    publication."""
    tests = []
    for result in grade.exercises:
        for check in result.checks:
            tests.append({
                "number": check.name, "name": f"{check.name} {check.title}", "score": check.points,
                "max_score": check.points_max, "status": "passed" if check.verdict == "pass" else "failed",
                "output": _told(check) or _reason(result), "output_format": "text",
                "visibility": "after_published" if check.hidden else "visible",
                "extra_data": {"verdict": check.verdict, "blame": check.blame}})
    return {"score": grade.points, "execution_time": round(grade.seconds, 3), "stdout_visibility": "hidden",
            "output": "\n".join(grade.notes), "tests": tests,
            "extra_data": {"seed": grade.seed, "points_max": grade.points_max}}


def junit(grade):
    suites = ET.Element("testsuites", name="ch10", time=f"{grade.seconds:.3f}")
    for result in grade.exercises:
        failed = [c for c in result.checks if c.verdict == "fail" or _blamed(result, c)]
        broken = [c for c in result.checks if c.verdict in ("not graded", "pending") and c not in failed]
        suite = ET.SubElement(suites, "testsuite", name=f"{result.name} {result.seam}",
                              tests=str(len(result.checks)),
                              failures=str(len(failed)), errors=str(len(broken)),
                              time=f"{result.seconds:.3f}")
        for check in result.checks:
            case = ET.SubElement(suite, "testcase", classname=f"ch10.{result.seam}",
                                 name=f"{check.name} {check.title}", time=f"{check.seconds:.3f}")
            if check in failed or check in broken:
                kind = "failure" if check in failed else "error"
                message = check.seen or _reason(result) or "not run"
                ET.SubElement(case, kind,
                              message=message.splitlines()[0][:300]).text = _told(check) or message
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode") + "\n"


def _blamed(result, check):
    return check.verdict == "pending" and result.blame == "student"


def tap(grade):
    lines, number = ["TAP version 14", f"1..{len(grade.checks())}"], 0
    for result in grade.exercises:
        for check in result.checks:
            number += 1
            good = check.verdict == "pass"
            title = f"{check.name} {check.title}".replace("#", "\\#")
            lines.append(f"{'ok' if good else 'not ok'} {number} - {title}")
            if not good:
                text = _told(check) or _reason(result) or "not run"
                blame = check.blame or result.blame
                lines += ["  ---", f"  points: 0/{check.points_max}", f"  blame: {blame or 'nobody'}",
                          "  story: |",
                          *(f"    {line}".rstrip() for line in text.splitlines()), "  ..."]
    return "\n".join(lines) + "\n"
