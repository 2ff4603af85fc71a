"""A grade as text: a line for each exercise, the stories of what failed, the score. Golden files hold its
exact form."""
import os
import shutil
import textwrap

from . import grading, results

MARKS = {"pass": "ok", "fail": "--", "not graded": "??", "pending": ".."}
WIDTH = 100
COLUMNS_MIN = 60
STORIES_MAX = 6  # of one exercise
LOG_LINES_SHOWN = 8
_STEP_LINES = 40
_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def colour_wanted(stream):
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


def columns_of(stream):
    """Of the terminal; None when it is none: nothing is wrapped then."""
    return max(COLUMNS_MIN, shutil.get_terminal_size().columns) if stream.isatty() else None


class Text:
    """`columns`: stories are wrapped to that width; what compilers and programs wrote stays as it is."""

    def __init__(self, colour=False, timed=True, columns=None):
        self.colour, self.timed, self.columns = colour, timed, columns

    def paint(self, text, *styles):
        codes = ";".join(_CODES[style] for style in styles)
        return f"\033[{codes}m{text}\033[0m" if self.colour and text else text

    # -- lines ---------------------------------------------------------------------------------------

    def header(self, grade):
        netns = "yes" if "net" in grade.containment else "no"
        title = self.paint("ch10 hot reload", "bold")
        return (f"{title}       seed {grade.seed}   asan+ubsan   netns {netns}"
                + ("" if "files" in grade.containment else "   files not protected"))

    def exercise(self, result, marks_width=0):
        """10.1 watch      ok ok ok ok --   18/25   3.1 s"""
        name = result.seam if result.name == "together" else f"{result.name} {result.seam}"
        points = f"{result.points}/{result.points_max}"
        hidden = f"  (+{result.points_hidden} hidden)" if result.points_hidden else ""
        if result.state == grading.GRADED:
            plain = " ".join(MARKS[check.verdict] for check in result.checks)
            marks = " ".join(self._mark(check.verdict) for check in result.checks)
            marks += " " * max(0, marks_width - len(plain))
            seconds = f"   {result.seconds:.1f} s" if self.timed else ""
            style = "green" if result.points == result.points_max else "yellow"
            return f"{name:<15} {marks}   {self.paint(points, style, 'bold')}{hidden}{seconds}"
        return f"{name:<15} {self.paint(self.state(result), 'yellow')}   {self.paint(points, 'bold')}{hidden}"

    def state(self, result):
        if result.state == grading.WAITS:
            return result.sentence
        if result.state == grading.MISSING:
            return result.sentence
        return f"{result.state}: {result.sentence.splitlines()[0] if result.sentence else ''}".rstrip(": ")

    def _mark(self, verdict):
        return self.paint(MARKS[verdict], {"pass": "green", "fail": "red"}.get(verdict, "yellow"))

    # -- stories -------------------------------------------------------------------------------------

    def stories(self, result):
        """Blocks of lines: what failed in this exercise, and how to see it again."""
        if result.state in (results.NO_COMPILE, results.NOT_ACCEPTED) or (
                result.state in (grading.MISSING, grading.NOT_GRADED) and (result.usually or result.log)):
            yield self._state_story(result)
        if result.state == grading.NOT_WRITTEN or result.state == grading.NOT_GRADED:
            return
        told = [c for c in result.checks if c.verdict in ("fail", "not graded") and c.seen != "not run"]
        first = []  # of those that fail alike, one is enough
        alike = []
        for check in told:
            telling = check.log.strip() or check.not_implemented
            same = telling and any((c.seen, c.log) == (check.seen, check.log) for c in first)
            (alike if same else first).append(check)
        for check in first[:STORIES_MAX]:
            yield self.story(check)
        for some, how in ((alike, "the same way"), (first[STORIES_MAX:], "too")):
            if some:
                names = ", ".join(check.name for check in some)
                verb = "fails" if len(some) == 1 else "fail"
                yield [self.paint(f"{names} {verb} {how}: build/report/ch10.html#{result.name}", "dim")]

    def _state_story(self, result):
        lines = [self.paint(f"{result.name}  {result.state}", "bold", "red")]
        lines += self._field("seen:", result.sentence)
        if result.log:
            lines += self._log("compiler:" if result.state == results.NO_COMPILE else "your log:", result.log)
        if result.usually:
            lines += self._field("usually:", result.usually)
        return [*lines, f"    again:    make check-ch10.{result.number}"]

    def story(self, check):
        unit = "point" if check.points_max == 1 else "points"
        hidden = ", hidden" if check.hidden else ""
        lines = [self.paint(f"{check.name}  {check.title} ({check.points_max} {unit}{hidden})", "bold",
                            "red" if check.verdict == "fail" else "yellow")]
        steps = [text for _, text in check.story]
        first = max(0, len(steps) - _STEP_LINES)
        if first:
            lines.append(f"    ... {first} earlier steps are in the report")
        lines += [line for number, text in enumerate(steps[first:], first)
                  for line in self._hanging(f"    {number}.".ljust(8), text, self.columns)]
        if check.verdict == "not graded":
            lines += self._field("could not be graded:", check.seen)
            lines.append(f"    not your fault: {check.blame}; the check counts nothing until it can be")
        else:
            lines += self._expectation(check)
        if check.log.strip():
            lines += self._log("your log:", check.log)
        if check.usually and check.verdict == "fail":
            lines += self._field("usually:", check.usually)
        again = f"    again:    {check.again}"
        lines.append(again + (f"        hint: {check.hint}" if check.hint else ""))
        lines.append(f"    picture:  {check.picture}")
        return lines

    def _expectation(self, check):
        one_line = f"    expected: {check.expected}   seen: {check.seen}"
        if len(one_line) <= (self.columns or WIDTH + 10) and "\n" not in one_line:
            return [f"    expected: {check.expected}   {self.paint('seen:', 'bold')} {check.seen}"]
        return [*self._field("expected:", check.expected), *self._field("seen:", check.seen)]

    def _field(self, name, text):
        return list(self._hanging(f"    {name} ".ljust(14), text, self.columns))

    def _log(self, name, text):
        lines = []
        for line in text.strip().splitlines():
            if not lines or lines[-1] != line.rstrip():
                lines.append(line.rstrip())
        hidden = len(lines) - LOG_LINES_SHOWN
        return list(self._hanging(f"    {name}".ljust(14), "\n".join(lines[:LOG_LINES_SHOWN])
                                  + (f"\n... {hidden} more lines in the report" if hidden > 0 else "")))

    @staticmethod
    def _hanging(head, text, columns=None):
        lines = str(text).splitlines() or [""]
        if columns:
            lines = [part for line in lines for part in _wrapped(line, columns - len(head))]
        for number, line in enumerate(lines):
            yield (head if number == 0 else " " * len(head)) + line

    # -- the whole -----------------------------------------------------------------------------------

    def score(self, grade):
        text = f"Score {grade.points}/{grade.points_max}"
        hidden = sum(exercise.points_hidden for exercise in grade.exercises)
        text = self.paint(text, "bold", "green" if grade.full_marks else "yellow")
        return text + (f"   (hidden checks, not here: {hidden} more points)" if hidden else "")

    def whole(self, grade):
        width = marks_width(grade)
        lines = [self.header(grade)]
        lines += [self.exercise(result, width) for result in grade.exercises]
        lines += [f"note: {note}" for note in notes_of(grade)]
        for result in grade.exercises:
            for block in self.stories(result):
                lines += ["", *block]
        return "\n".join([*lines, self.score(grade)])


def _wrapped(line, width):
    """What is longer than `width` in pieces that end at blanks; a word is never cut."""
    if len(line) <= width:
        return [line]
    indent = " " * (len(line) - len(line.lstrip()))
    return textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False, replace_whitespace=False)


def notes_of(grade):
    return [*grade.notes, *(f"{e.name}: {note}" for e in grade.exercises for note in e.notes)]


def marks_width(grade):
    return max((3 * len(exercise.checks) - 1 for exercise in grade.exercises), default=0)
