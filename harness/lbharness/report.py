"""The HTML report: one file, nothing fetched, readable offline and in ten years. The page draws itself from
the run's result, which is embedded as JSON; its parts lie in report_parts/."""

import html
import json
from pathlib import Path

from .table import reload_durations
from .words import NOT_DROPS, OUTCOME_TEXT, in_order, kind_text

_PARTS = Path(__file__).parent / "report_parts"
_STORIES_MAX = 200


def render(result):
    """The page as text."""
    data = _reduced(result)
    # "</" could end the script element; a backslash within a JSON string changes nothing.
    embedded = json.dumps(data, separators=(",", ":")).replace("</", "<\\/").replace("<!--", "<\\u0021--")
    page = (_PARTS / "report.html").read_text()
    title = f"{result['title']}: {result['sentence']}"
    pieces = {
        "TITLE": html.escape(title),
        "STYLE": (_PARTS / "report.css").read_text(),
        "SCRIPT": (_PARTS / "report.js").read_text(),
        "DATA": embedded,
    }
    for name, text in pieces.items():
        page = (
            page.replace("{{" + name + "}}", text, 1)
            if name != "TITLE"
            else page.replace("{{TITLE}}", text)
        )
    return page


def _reduced(result):
    """What the page shows, with the words for it."""
    ledger = result["ledger"]
    kinds = in_order(ledger["kinds"])
    return {
        **{
            key: result[key]
            for key in (
                "title",
                "sentence",
                "verdict",
                "target",
                "environment",
                "notes",
                "problems",
                "latency",
                "latency_by_kind",
                "kernel_counters",
                "reloads",
                "log",
            )
        },
        "seed": result["options"]["seed"],
        "options": result["options"],
        "durations": reload_durations(result),
        "kind_order": kinds,
        "kind_text": {kind: kind_text(kind) for kind in kinds},
        "outcome_text": {o: OUTCOME_TEXT.get(o, o) for o in ledger["outcomes"]},
        "not_drops": list(NOT_DROPS),
        "ledger": {
            **{
                key: ledger.get(key)
                for key in (
                    "verdict",
                    "reasons",
                    "run",
                    "totals",
                    "drop_rate",
                    "outcomes",
                    "kinds",
                    "comparison",
                    "removed_backend",
                    "backends",
                    "marks",
                    "long_lived",
                    "timeline",
                    "slowest",
                )
            },
            "drops": ledger.get("drops", [])[:_STORIES_MAX],
        },
    }
