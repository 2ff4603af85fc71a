"""What a run shows while it goes on: a block redrawn in place on a terminal, plain lines elsewhere."""

import collections
import os
import shutil
import sys
import time

from .run import Observer
from .words import OUTCOME_TEXT

_STYLES = {"red": "31", "green": "32", "yellow": "33", "cyan": "36", "dim": "2", "bold": "1", "": ""}
_BAR = 28
_RECENT = 4
_DROP_LINES_MAX = 12


def colour_wanted(stream):
    return stream.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


class Painter:
    """Text with styles; clips to a width counted in visible characters."""

    def __init__(self, colour):
        self.colour = colour

    def paint(self, text, *styles):
        codes = ";".join(_STYLES[s] for s in styles if s)
        return f"\x1b[{codes}m{text}\x1b[0m" if self.colour and codes else text

    def line(self, parts, width):
        """`parts`: strings or (string, style, ...); cut after `width` characters."""
        out, used = [], 0
        for part in parts:
            text, *styles = (part,) if isinstance(part, str) else part
            room = width - used
            if room <= 0:
                break
            text = text[:room]
            used += len(text)
            out.append(self.paint(text, *styles))
        return "".join(out)


class LiveView(Observer):
    """For a terminal: a few lines that are drawn over again."""

    def __init__(self, stream=None):
        self.stream = stream or sys.stderr
        self.painter = Painter(colour_wanted(self.stream))
        self.drawn = 0
        self.phase_text = ""
        self.recent = []
        self.current = None
        self.began = time.monotonic()
        self.drop_lines = 0

    def phase(self, text):
        self.phase_text = text
        self._draw(None)

    def started(self, run):
        self._draw(run)

    def tick(self, run):
        self._draw(run)

    def reload_begins(self, run, planned):
        self.current = planned
        self._draw(run)

    def reload_ends(self, run, record):
        self.current = None
        self.recent = [*self.recent, record][-_RECENT:]
        self._draw(run)

    def close(self):
        self._erase()

    def _erase(self):
        if self.drawn:
            self.stream.write(f"\x1b[{self.drawn}A\r\x1b[J")
            self.drawn = 0

    def _draw(self, run):
        width = max(40, shutil.get_terminal_size((100, 30)).columns - 1)
        fresh = [self.painter.line(parts, width) for parts in self._new_drops(run)]
        lines = [self.painter.line(parts, width) for parts in self._lines(run)]
        self._erase()
        self.stream.write("".join(text + "\n" for text in [*fresh, *lines]))
        self.stream.flush()
        self.drawn = len(lines)

    def _new_drops(self, run):
        """Drops stay on the screen, above the block; alike ones together."""
        if run is None or run.traffic is None or self.drop_lines >= _DROP_LINES_MAX:
            return []
        counts = collections.Counter((d["stream"], d["outcome"]) for d in run.traffic.new_drops())
        lines = [
            [("dropped ", "red", "bold"), f"{count:>4} x {stream}: {OUTCOME_TEXT.get(outcome, outcome)}"]
            for (stream, outcome), count in counts.items()
        ]
        self.drop_lines += len(lines)
        if lines and self.drop_lines >= _DROP_LINES_MAX:
            lines.append([("further drops are only counted", "dim")])
        return lines

    def _lines(self, run):
        if run is None or run.traffic is None:
            return [[("  ", ""), (self.phase_text, "dim")]]
        done, total = len(run.records), run.options.reloads + run.options.frozen
        filled = round(_BAR * done / max(1, total))
        progress = run.traffic.progress() or {}
        drops = progress.get("drops", 0)
        yield [
            ("reloads ", "bold"),
            ("█" * filled, "cyan"),
            ("░" * (_BAR - filled), "dim"),
            (f" {done}/{total}", "bold"),
            f"   {time.monotonic() - self.began:5.1f} s   ",
            (self.phase_text, "dim"),
        ]
        yield [
            ("requests ", "bold"),
            f"{progress.get('done', 0):>11,}   {progress.get('rate', 0):>8,.0f}/s   ",
            (f"{drops:,} dropped", "red" if drops else "green", "bold"),
            f"   {progress.get('in_flight', 0)} in flight on {progress.get('connections', 0)} connections",
        ]
        for stream in progress.get("streams", []):
            p99 = stream.get("p99_us")
            yield [
                f"  {stream['name']:<14}{stream['done']:>11,}   {stream['rate']:>8,.0f}/s   ",
                (f"{stream['drops']:>4} dropped", "red" if stream["drops"] else "dim"),
                (f"   p99 {p99 / 1000:8.2f} ms" if p99 is not None else "", "dim"),
            ]
        for record in self.recent:
            yield [
                ("  reload ", "dim"),
                f"{record['number']:>4}  {record['duration_ms']:8.1f} ms  ",
                (
                    f"{'applied ' if record['applied'] else 'rejected'} ",
                    "green" if record["applied"] else "yellow",
                ),
                f"{record['label']:<6} {record['text']}",
            ]
        if self.current is not None:
            yield [
                ("  reload ", "dim"),
                f"{self.current.number:>4}  ",
                ("under way ", "cyan"),
                self.current.text,
            ]


class PlainView(Observer):
    """For a pipe or a log: one line a reload, and no control characters."""

    def __init__(self, stream=None, every=1):
        self.stream = stream or sys.stderr
        self.every = every

    def _print(self, text):
        print(text, file=self.stream, flush=True)

    def phase(self, text):
        self._print(f"-- {text}")

    def reload_ends(self, run, record):
        if record["number"] % self.every and not record["wrong"]:
            return
        progress = run.traffic.progress() or {}
        what = "applied " if record["applied"] else "rejected"
        self._print(
            f"reload {record['number']:>4}/{run.options.reloads + run.options.frozen}  "
            f"{record['duration_ms']:8.1f} ms  {what}  {record['label']:<6} requests "
            f"{progress.get('done', 0):>10,}  dropped {progress.get('drops', 0):>4}  {record['text']}"
        )

    def close(self):
        pass


def make_view(quiet, reloads):
    if quiet:
        view = Observer()
        view.close = lambda: None
        return view
    if sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
        return LiveView()
    return PlainView(every=max(1, reloads // 50))
