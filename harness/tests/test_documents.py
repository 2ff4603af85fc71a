"""lb/TESTED.md names tests: each of them must be there."""

import re
from pathlib import Path

import pytest

TREE = Path(__file__).resolve().parents[2]
TOKENS = re.findall(r"`([^`\s]+)`", (TREE / "lb" / "TESTED.md").read_text())
LIVE = [t for t in TOKENS if re.fullmatch(r"test_\w+\.py(::\w+)?", t) and t != Path(__file__).name]
CPP = [t for t in TOKENS if not t.startswith("Suite.") and re.fullmatch(r"[A-Z]\w+\.(\w+|\*)", t)]


def cpp_tests():
    pattern = re.compile(r"^TEST(?:_[FP])?\((\w+),\s*(\w+)\)", re.MULTILINE)
    return {found for path in TREE.glob("lb/*/*_test.cpp") for found in pattern.findall(path.read_text())}


def test_the_list_is_read():
    assert len(LIVE) > 40 and len(CPP) > 30


@pytest.mark.parametrize("token", sorted(set(LIVE)))
def test_a_live_test_is_there(token):
    file, _, name = token.partition("::")
    path = TREE / "harness" / "tests" / file
    assert path.is_file()
    assert not name or f"def {name}(" in path.read_text()


def test_the_cpp_tests_are_there():
    there = cpp_tests()
    suites = {suite for suite, _ in there}
    missing = [
        token
        for token in set(CPP)
        if (token.endswith(".*") and token[:-2] not in suites)
        or (not token.endswith(".*") and tuple(token.split(".")) not in there)
    ]
    assert not missing
