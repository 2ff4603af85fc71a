#!/usr/bin/env python3
"""Rules of style that no packaged linter knows, held by a ratchet.

  tools/check_style.py [--root DIR] [--update]

Sizes (a file over 600 lines, a function over 100) may stay where tools/style_baseline.txt lists them, but
never grow; --update lowers or removes its entries after a clean-up, and adds none. Everything else must hold.
Functions are found by indentation, which clang-format guarantees.

Prints each offence as FILE:LINE: message. Exit status 0 when there is none, 1 otherwise.
"""
import argparse
import ast
import pathlib
import re
import sys

import sources

FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 100
TEXT = {".cpp", ".hpp", ".py", ".sh", ".cmake", ".md", ".txt", ".yml", ""}
# Data, not prose: bad configurations and fuzz corpora are broken on purpose.
DATA = re.compile(r"^fixtures/|/fuzz/corpus_|^exercises/.*/data/")
# Nobody else's machine has these paths.
HOME_PATH = re.compile(r"(?<![\w.])/(?:home/(?!USER)\w+|Users/\w+|root/\w+)")
UNFINISHED = re.compile(r"\b(?:FIXME|XXX|TODO)\b")
NOT_A_FUNCTION = re.compile(r"(?:namespace|class|struct|union|enum|extern|if|else|for|while|switch|do|try"
                            r"|catch|case|default|return|public|private|protected)\b|\}|#|//|/\*|\*|\{")


def without_raw_strings(text):
    """Blanks the inside of raw strings: their lines are at column 0 and would look like code."""
    def lines_of(match):
        return "R" + "\n" * match.group(0).count("\n")

    return re.sub(r'R"(\w*)\(.*?\)\1"', lines_of, text, flags=re.S)


def cpp_functions(text):
    """(line, number of lines, first line's text) of every brace block that looks like a function."""
    lines = without_raw_strings(text).splitlines()
    indents = [len(line) - len(line.lstrip()) if line.strip() else None for line in lines]
    for end, line in enumerate(lines):
        if line.strip() not in ("}", "};"):  # "});" ends a table or an argument
            continue
        start = end - 1
        while start >= 0 and (indents[start] is None or indents[start] > indents[end]):
            start -= 1
        head = lines[start].strip() if start >= 0 else ""
        function = "(" in head if line.strip() == "}" else re.search(r"= \[.*\]", head)
        if indents[start] == indents[end] and function and not NOT_A_FUNCTION.match(head):
            yield start + 1, end - start + 1, head


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.end_lineno - node.lineno + 1, node.name


def function_name(head):
    """A name for the baseline that survives edits elsewhere in the file."""
    test = re.match(r"TEST(?:_[FP])?\((\w+), (\w+)\)", head)
    if test:
        return f"{test.group(1)}.{test.group(2)}"
    name = re.search(r"([\w:~]+)\s*\(", head)
    return name.group(1) if name else head.split("(")[0].replace(" ", "_")


def sizes(path, text):
    """{key: (line, size, limit)} for everything in the file that is over its limit."""
    over = {}
    lines = text.count("\n")
    if lines > FILE_LINES_MAX:
        over[f"file {path}"] = (1, lines, FILE_LINES_MAX)
    try:
        functions = python_functions(text) if path.suffix == ".py" else cpp_functions(text)
        for line, size, head in functions:
            if size > FUNCTION_LINES_MAX:
                over[f"function {path} {function_name(head)}"] = (line, size, FUNCTION_LINES_MAX)
    except SyntaxError:
        pass  # flake8 says it better.
    return over


def check_header(path, text):
    if "#pragma once" not in text:
        yield 1, "a header needs #pragma once"
    if not text.startswith("//"):
        yield 1, "a header opens with a comment: what it is, who owns it, which thread, what it does not do"


def check_own_header_first(root, path, text):
    """x.cpp includes x.hpp first, which proves that the header compiles on its own. x_test.cpp does it for
    headers without a .cpp."""
    stem = re.sub(r"_test$", "", path.stem)
    own = path.with_name(stem + ".hpp")
    if not (root / own).is_file():
        return
    if stem != path.stem and (root / path.with_name(stem + ".cpp")).is_file():
        return
    first = re.search(r"^\s*#\s*include\s*(\S+)", text, re.M)
    if first and first.group(1) != f'"{own}"':
        line = text[:first.start()].count("\n") + 1
        yield line, f'the first include should be its own header, "{own}"'


def check_text(root, path, text):
    if text and not text.endswith("\n"):
        yield text.count("\n") + 1, "no newline at the end of the file"
    tabs_allowed = path.name in ("Makefile", ".gitmodules") or path.suffix == ".md"
    code = path.parts[0] in ("lb", "harness", "tools", "cmake") and path.suffix != ".md"
    for number, line in enumerate(text.split("\n"), 1):
        if line.endswith("\r"):
            yield number, "carriage return at the end of the line"
        elif line != line.rstrip() and path.suffix != ".md":
            yield number, "white space at the end of the line"
        if "\t" in line and not tabs_allowed:
            yield number, "tab"
        if re.match(r"(?:<{7}|>{7}) |={7}$", line):
            yield number, "conflict marker"
        if HOME_PATH.search(line) or str(root) + "/" in line:
            yield number, "a path of one machine"
        if code and path.name != "check_style.py" and UNFINISHED.search(line):
            yield number, "unfinished: do it, or describe what is missing where users look"


def check_links(root, path, text):
    """Relative links of Markdown point to files that exist."""
    prose = re.sub(r"^```.*?^```", lambda match: "\n" * match.group(0).count("\n"), text, flags=re.M | re.S)
    for match in re.finditer(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)", prose):
        target = match.group(1)
        if not re.match(r"[a-z]+:", target) and not (root / path.parent / target).exists():
            yield prose[:match.start()].count("\n") + 1, f"the link leads nowhere: {target}"


def check_file(root, path, text):
    if path.suffix == ".hpp":
        yield from check_header(path, text)
    if path.suffix == ".cpp" and path.parts[0] in ("lb", "harness", "solutions"):
        yield from check_own_header_first(root, path, text)
    if path.suffix == ".md":
        yield from check_links(root, path, text)
    if text.startswith("#!") and not (root / path).stat().st_mode & 0o111:
        yield 1, "starts with #! but is not executable (chmod +x)"
    yield from check_text(root, path, text)


def read_baseline(path):
    baseline = {}
    for line in path.read_text().splitlines() if path.exists() else []:
        if line.strip() and not line.startswith("#"):
            key, _, size = line.rpartition(" ")
            baseline[key] = int(size)
    return baseline


BASELINE_HEAD = """\
# What is larger than tools/check_style.py likes, with its size. It may shrink and never grow; nothing is
# added here without a reason in the commit. tools/check_style.py --update lowers the figures.
"""


def check_all(root):
    """(offences as text, {key: (line, size, limit)} of what is too large)"""
    offences, over = [], {}
    for path in sources.tracked(root):
        if path.suffix not in TEXT or DATA.search(str(path)):
            continue
        try:
            text = (root / path).read_bytes().decode()
        except UnicodeDecodeError:
            offences.append(f"{path}:1: not UTF-8")
            continue
        offences += [f"{path}:{line}: {message}" for line, message in check_file(root, path, text)]
        if path.suffix in (".cpp", ".hpp", ".py"):
            over.update(sizes(path, text))
    return offences, over


def check_sizes(over, baseline):
    for key, (line, size, limit) in over.items():
        allowed = baseline.get(key, limit)
        _, path, *name = key.split()
        if size > allowed:
            what = f"function {name[0]} has" if name else "the file has"
            yield f"{path}:{line}: {what} {size} lines, more than {allowed}: split it"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=sources.ROOT)
    parser.add_argument("--update", action="store_true")
    options = parser.parse_args()
    root = options.root.resolve()
    offences, over = check_all(root)
    baseline_path = root / "tools" / "style_baseline.txt"
    baseline = read_baseline(baseline_path)
    offences += check_sizes(over, baseline)
    if options.update:
        kept = {key: min(size, over[key][1]) for key, size in baseline.items() if key in over}
        lines = [f"{key} {size}\n" for key, size in sorted(kept.items())]
        baseline_path.write_text(BASELINE_HEAD + "".join(lines))
    for offence in offences:
        print(offence)
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
