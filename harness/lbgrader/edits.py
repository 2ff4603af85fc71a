"""Known-wrong answers as edits of a right one: fixtures/bugbank/N_SEAM/NAME.edit.

    // killed by: 10.1.2
    // message: an event is taken for a change
    // base: watch.cpp
    // The content is never compared: a touch is a reload.
    <<<<<<<
        if (!is_news(found)) return false;
    =======
        if (!found) return false;
    >>>>>>>

`base` is a file of solutions/ch10/N_SEAM. The lines above ======= must be found there, whole and exactly
once; the lines below take their place. No two edits touch the same line.
When the base changes so that an edit no longer fits, the build says so.

    edits.py FIXTURE.edit OUT.cpp
"""
import pathlib
import sys

BEGIN, MIDDLE, END = "<" * 7, "=" * 7, ">" * 7


class DoesNotFit(Exception):
    pass


def base_of(path):
    """The right answer that the edits of `path` are of."""
    path = pathlib.Path(path)
    for line in path.read_text().splitlines():
        if line.startswith("// base: "):
            root = path.resolve().parent.parent.parent.parent
            return root / "solutions" / "ch10" / path.parent.name / line.removeprefix("// base: ")
    raise DoesNotFit(f"{path.name} has no line \"// base: FILE\"")


def read(text, name="the file"):
    """[(lines to find, lines to put there)]"""
    edits, old, new, into = [], [], [], None
    for number, line in enumerate(text.splitlines(), 1):
        if line == BEGIN and into is None:
            old, new = [], []
            into = old
        elif line == MIDDLE and into is old:
            into = new
        elif line == END and into is new:
            edits.append((old, new))
            into = None
        elif into is not None:
            into.append(line)
        elif line.strip() and not line.startswith("//"):
            raise DoesNotFit(f"{name}:{number}: neither a comment nor an edit")
    if into is not None or not edits:
        raise DoesNotFit(f"{name}: an edit without its end" if edits or into else f"{name}: no edit")
    return edits


def apply(text, edits, name="the file"):
    lines = text.splitlines()
    places = []
    for old, new in edits:
        at = [i for i in range(len(lines) - len(old) + 1) if old and lines[i:i + len(old)] == old]
        if len(at) != 1:
            shown = old[0].strip() if old else "nothing"
            raise DoesNotFit(f"{name}: found {len(at)} times, expected once: {shown}")
        places.append((at[0], at[0] + len(old), new))
    places.sort(reverse=True, key=lambda place: place[0])
    for (start, _, _), (_, end, _) in zip(places, places[1:]):
        if end > start:
            raise DoesNotFit(f"{name}: two edits of the same line: {lines[start].strip()}")
    for start, end, new in places:
        lines[start:end] = new
    return "\n".join(lines) + "\n"


def source_of(path):
    """The wrong answer as C++: `path` itself, or what its edits make."""
    path = pathlib.Path(path)
    text = path.read_text()
    if path.suffix != ".edit":
        return text
    return apply(base_of(path).read_text(), read(text, path.name), path.name)


def main():
    origin, target = map(pathlib.Path, sys.argv[1:3])
    try:
        text = source_of(origin)
    except (DoesNotFit, OSError) as error:
        print(f"edits: {error}", file=sys.stderr)
        return 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
