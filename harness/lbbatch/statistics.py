"""Figures of a class, computed from the records. Pure: data in, data out."""
import collections
import statistics

from lbgrader import grading, results
from lbgrader.check import ROOT, label, source_name

from .collect import EXERCISES, normal_form

BUCKETS = 10
CAUSES_SHOWN = 12


def remarks_of(record):
    """What an instructor should know of a submission: what was odd, and what has no verdicts."""
    grade, sentences = record.grade, list(record.meta["remarks"])
    for result in grade.exercises:
        if result.state in (grading.NOT_WRITTEN, results.NO_COMPILE, results.NOT_ACCEPTED):
            first = result.sentence.splitlines()[0] if result.sentence else ""
            sentences.append(f"{result.name}: {result.state}" + (f": {first}" if first else ""))
        elif result.state == grading.NOT_GRADED:
            sentences.append(
                f"{result.name}: could not be graded ({result.blame}): {result.sentence.splitlines()[0]}"
            )
        elif result.state == grading.GRADED and result.checks and not result.points:
            first = next((c for c in result.checks if c.verdict == "fail"), None)
            sentences += (
                [f"{result.name}: no points; {first.name} saw: {first.seen.splitlines()[0][:160]}"]
                if first
                else []
            )
        doubt = [c for c in result.checks if c.verdict == "not graded"]
        if doubt and result.state != grading.NOT_GRADED:
            names = ", ".join(c.name for c in doubt)
            sentences.append(
                f"{names}: could not be graded ({doubt[0].blame}): {doubt[0].seen.splitlines()[0][:200]}"
                if doubt[0].seen
                else f"{names}: could not be graded"
            )
    return sentences


def of_class(records):
    """All figures, as JSON values."""
    records = [r for r in records if r.finished]
    grades = [r.grade for r in records]
    if not grades:
        return {"submissions": 0}
    totals = [g.points for g in grades]
    points_max = max(g.points_max for g in grades)
    seconds = [r.meta["seconds"] for r in records]
    return {
        "submissions": len(grades),
        "points_max": points_max,
        "mean": round(statistics.fmean(totals), 1),
        "median": statistics.median(totals),
        "lowest": min(totals),
        "highest": max(totals),
        "full_marks": sum(g.full_marks for g in grades),
        "to_look_at": sorted(r.submission.name for r in records if r.doubtful),
        "histogram": _histogram(totals, points_max),
        "exercises": _exercises(grades),
        "checks": _checks(grades),
        "causes": _causes(records),
        "identical": identical(records),
        "seconds": {
            "mean": round(statistics.fmean(seconds), 1),
            "median": round(statistics.median(seconds), 1),
            "longest": round(max(seconds), 1),
            "sum": round(sum(seconds), 1),
        },
    }


def _histogram(totals, points_max):
    """[[from, to, submissions], ...]; full marks are in the last."""
    width = max(1, points_max / BUCKETS)
    counts = [0] * BUCKETS
    for total in totals:
        counts[min(BUCKETS - 1, int(total / width))] += 1
    return [[round(n * width), round((n + 1) * width), count] for n, count in enumerate(counts)]


def _exercises(grades):
    rows = []
    for name in dict.fromkeys(e.name for g in grades for e in g.exercises):
        results = [e for g in grades for e in g.exercises if e.name == name]
        states = collections.Counter(e.state for e in results)
        rows.append(
            {
                "name": name,
                "seam": results[0].seam,
                "points_max": max(e.points_max for e in results),
                "mean": round(statistics.fmean(e.points for e in results), 1),
                "full": sum(0 < e.points_max == e.points for e in results),
                "states": dict(states.most_common()),
            }
        )
    return rows


def _checks(grades):
    """How often each check failed, of the submissions that came to it."""
    rows = {}
    for result, check in ((e, c) for g in grades for e in g.exercises for c in e.checks):
        row = rows.setdefault(
            check.name,
            {
                "name": check.name,
                "title": check.title,
                "points_max": check.points_max,
                "hidden": check.hidden,
                "stage": check.stage,
                "passed": 0,
                "failed": 0,
                "not_run": 0,
                "not_graded": 0,
            },
        )
        written = result.state != grading.NOT_WRITTEN and not check.not_implemented
        ran = written and check.verdict in ("pass", "fail") and check.seen != "not run"
        kind = (
            {"pass": "passed", "fail": "failed"}[check.verdict]
            if ran
            else ("not_graded" if check.verdict == "not graded" else "not_run")
        )
        row[kind] += 1
    for row in rows.values():
        ran = row["passed"] + row["failed"]
        row["rate"] = round(row["failed"] / ran, 3) if ran else None
    return list(rows.values())


def _causes(records):
    """The likely causes that the checks named, by the number of submissions; with who."""
    who = collections.defaultdict(set)
    for record in records:
        for result in record.grade.exercises:
            if result.usually and result.blame == "student" and result.state != grading.MISSING:
                who[(result.name, result.usually)].add(record.submission.name)
            for check in result.checks:
                if (
                    check.verdict == "fail"
                    and check.usually
                    and not check.not_implemented
                    and check.seen != "not run"
                ):
                    who[(result.name, check.usually)].add(record.submission.name)
    rows = [
        {"exercise": exercise, "cause": cause, "submissions": sorted(names)}
        for (exercise, cause), names in who.items()
    ]
    rows.sort(key=lambda row: (-len(row["submissions"]), row["exercise"], row["cause"]))
    return rows[:CAUSES_SHOWN]


def identical(records):
    """Answers that are the same but for comments, blanks and line ends: a note, no verdict. The starter,
    handed in as it was, is nobody's."""
    groups = collections.defaultdict(list)
    for record in records:
        for number, data in record.submission.files.items():
            groups[(number, normal_form(data))].append(record.submission.name)
    starters = set()
    for number in EXERCISES:
        path = ROOT / "exercises" / "ch10" / source_name(number)
        if path.is_file():
            starters.add((number, normal_form(path.read_bytes())))
    merged = collections.defaultdict(list)
    for (number, text), names in groups.items():
        if len(names) > 1 and text and (number, text) not in starters:
            merged[tuple(sorted(names))].append(label(number))
    return [
        {"exercises": sorted(numbers), "submissions": list(names)}
        for names, numbers in sorted(merged.items())
    ]


# ---- as text ---------------------------------------------------------------------------------------


def as_text(figures):
    if not figures["submissions"]:
        return "No submission is graded yet.\n"
    f = figures
    lines = [
        f"{f['submissions']} submissions, {f['full_marks']} with full marks; of {f['points_max']} points: "
        f"mean {f['mean']}, median {f['median']:g}, lowest {f['lowest']}, highest {f['highest']}",
        f"seconds each: mean {f['seconds']['mean']}, median {f['seconds']['median']}, longest "
        f"{f['seconds']['longest']}",
        "",
    ]
    if f["to_look_at"]:
        lines += [f"To look at (something could not be graded): {', '.join(f['to_look_at'])}", ""]
    longest = max(count for _, _, count in f["histogram"])
    for low, high, count in f["histogram"]:
        lines.append(f"  {low:3}-{high:<3} {'#' * round(40 * count / longest)} {count or ''}".rstrip())
    lines += ["", "exercise         mean   full  states"]
    for row in f["exercises"]:
        states = ", ".join(f"{count} {state}" for state, count in row["states"].items())
        name = row["name"] if row["name"] == row["seam"] else f"{row['name']} {row['seam']}"
        lines.append(f"{name:<14} {row['mean']:>4}/{row['points_max']:<3} {row['full']:>3}  {states}")
    lines += ["", "checks by how many failed, of those that came to it"]
    for row in sorted((r for r in f["checks"] if r["failed"]), key=lambda r: (-r["rate"], r["name"])):
        lines.append(
            f"  {row['name']:<12} {row['rate']:>4.0%} ({row['failed']} of {row['passed'] + row['failed']})  "
            f"{row['title']}{' (hidden)' if row['hidden'] else ''}"
        )
    lines += ["", "likely causes"]
    lines += [f"  {len(row['submissions']):3}  {row['exercise']}  {row['cause']}" for row in f["causes"]]
    if f["identical"]:
        lines += ["", "the same but for comments and blanks (a note, no verdict)"]
        lines += [
            f"  {', '.join(row['exercises'])}: {', '.join(row['submissions'])}" for row in f["identical"]
        ]
    return "\n".join(lines) + "\n"
