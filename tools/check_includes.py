#!/usr/bin/env python3
"""Holds #include lines to the layering of tools/layers.txt.

  tools/check_includes.py [--root DIR]

Prints each offence as FILE:LINE: message. Exit status 0 when there is none, 1 otherwise, 2 when the tables
themselves are wrong.
"""
import argparse
import dataclasses
import pathlib
import re
import sys

import sources

SYSTEM_HEADER = re.compile(r"<(?:unistd|fcntl|poll|signal|netdb|pthread|dirent|"
                           r"(?:sys|netinet|arpa|net|linux)/\w+)\.h>")
INCLUDE = re.compile(r'^\s*#\s*include\s*([<"][^>"]+[>"])')


class TableError(Exception):
    pass


@dataclasses.dataclass
class Layers:
    height: dict  # module -> layer, counted from the bottom
    sideways: set  # (from, to)
    pure: set
    outside: dict  # folder -> modules that it may use


def read_layers(path):
    layers, sideways, pure, outside = [], set(), set(), {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        kind, *names = words
        if kind == "layer" and names:
            layers.append(names)
        elif kind == "sideways" and len(names) >= 2:
            sideways |= {(names[0], other) for other in names[1:]}
        elif kind == "pure":
            pure |= set(names)
        elif kind == "outside" and names:
            outside[names[0]] = set(names[1:])
        else:
            raise TableError(f"{path}:{number}: expected layer, sideways, pure or outside with names")
    height = {}
    for index, names in enumerate(reversed(layers)):
        for name in names:
            if name in height:
                raise TableError(f"{path}: module {name} stands in two layers")
            height[name] = index
    return Layers(height, sideways, pure, outside)


def read_deps(root):
    """{module: (line, DEPS, what its tests may use besides)} from each lb_module() of lb/*/CMakeLists.txt."""
    modules = {}
    for path in sorted(root.glob("lb/*/CMakeLists.txt")):
        text = re.sub(r"#[^\n]*", "", path.read_text())
        call = re.search(r"\blb_module\s*\(([^)]*)\)", text)
        if not call:
            continue
        name, *words = call.group(1).split()
        if name != path.parent.name:
            raise TableError(f"{path}: lb_module({name}) in the folder {path.parent.name}")
        lists = {"DEPS": [], "LIBS": [], "TEST_LIBS": []}
        current = None
        for word in words:
            if word in lists:
                current = lists[word]
            elif current is not None:
                current.append(word)
        for_tests = {word.removeprefix("lb_") for word in lists["TEST_LIBS"] if word.startswith("lb_")}
        line = text[:call.start()].count("\n") + 1
        modules[name] = (line, set(lists["DEPS"]), for_tests)
    return modules


def check_arrows(layers, modules):
    for name, (line, deps, _) in modules.items():
        where = f"lb/{name}/CMakeLists.txt:{line}"
        if name not in layers.height:
            yield f"{where}: module {name} is in no layer of tools/layers.txt"
            continue
        for dep in sorted(deps):
            if dep not in layers.height:
                yield f"{where}: DEPS names {dep}, which is in no layer of tools/layers.txt"
            elif layers.height[dep] > layers.height[name]:
                yield f"{where}: {name} -> {dep} points up"
            elif layers.height[dep] == layers.height[name] and (name, dep) not in layers.sideways:
                yield f"{where}: {name} -> {dep} points sideways and is not in tools/layers.txt"


def allowed_for(path, layers, modules):
    """What a file may include of lb/: a set of modules, or None when no rule covers it."""
    parts = path.parts
    if parts[0] == "lb" and len(parts) > 2:
        _, deps, for_tests = modules.get(parts[1], (0, set(), set()))
        allowed = {parts[1]} | deps
        return allowed | for_tests if path.stem.endswith(("_test", "_bench")) else allowed
    for folder, allowed in layers.outside.items():
        if path.is_relative_to(folder):
            return allowed
    return None


def check_file(root, path, layers, modules):
    allowed = allowed_for(path, layers, modules)
    module = path.parts[1] if path.parts[0] == "lb" else None
    pure = module in layers.pure and not path.stem.endswith(("_test", "_bench"))
    for number, line in enumerate((root / path).read_text(errors="replace").splitlines(), 1):
        include = INCLUDE.match(line)
        if not include:
            continue
        name = include.group(1)
        target = re.match(r'["<]lb/(\w+)/', name)
        if target and allowed is not None and target.group(1) not in allowed:
            who = f"module {module}" if module else str(path.parent)
            yield (f"{path}:{number}: {who} may not include {name.strip(chr(34) + '<>')}; "
                   f"it may use: {', '.join(sorted(allowed)) or 'nothing of lb/'}")
        elif name.startswith('"') and "/" not in name:
            yield f"{path}:{number}: write the path from the repository's root: {name}"
        elif pure and SYSTEM_HEADER.fullmatch(name):
            yield f"{path}:{number}: module {module} makes no system calls, so {name} has no place in it"


def check(root):
    layers = read_layers(root / "tools" / "layers.txt")
    modules = read_deps(root)
    yield from check_arrows(layers, modules)
    for path in sources.tracked(root, set(sources.CPP)):
        yield from check_file(root, path, layers, modules)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=pathlib.Path, default=sources.ROOT)
    root = parser.parse_args().root.resolve()
    try:
        offences = list(check(root))
    except (TableError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    for offence in offences:
        print(offence)
    return 1 if offences else 0


if __name__ == "__main__":
    sys.exit(main())
