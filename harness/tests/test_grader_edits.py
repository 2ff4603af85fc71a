"""Wrong answers as edits of right ones: what is applied, and what is refused."""

import pytest
from lbgrader import edits
from lbgrader.check import ROOT

TEXT = "one\ntwo\nthree\ntwo and a half\n"


def edit(old, new):
    return "\n".join([edits.BEGIN, *old, edits.MIDDLE, *new, edits.END])


def apply(*pairs):
    return edits.apply(TEXT, edits.read("// a comment\n" + "\n".join(edit(*pair) for pair in pairs)))


def test_lines_are_replaced_removed_and_added():
    assert apply((["two"], ["2"])) == "one\n2\nthree\ntwo and a half\n"
    assert apply((["one", "two"], [])) == "three\ntwo and a half\n"
    assert apply((["three"], ["three", "four"])) == "one\ntwo\nthree\nfour\ntwo and a half\n"


def test_each_edit_is_of_the_base():
    """A line moves: taken away in one edit, put elsewhere in another, in any order."""
    moved = "two\nthree\none\ntwo and a half\n"
    assert apply((["one"], []), (["three"], ["three", "one"])) == moved
    assert apply((["three"], ["three", "one"]), (["one"], [])) == moved


@pytest.mark.parametrize("pairs", [
    [(["four"], [])],
    [([], ["four"])],
    [(["two", "three"], []), (["three"], [])],
    [(["one"], []), (["one"], [])],
])
def test_what_does_not_fit_is_said(pairs):
    with pytest.raises(edits.DoesNotFit):
        apply(*pairs)


def test_a_line_that_is_there_twice_needs_its_neighbours():
    base = "a\nx\nb\nx\n"
    with pytest.raises(edits.DoesNotFit):
        edits.apply(base, edits.read(edit(["x"], ["y"])))
    assert edits.apply(base, edits.read(edit(["b", "x"], ["b", "y"]))) == "a\nx\nb\ny\n"


@pytest.mark.parametrize(
    "text", ["", "// nothing\n", "int main() {}\n", f"{edits.BEGIN}\na\n", f"{edits.MIDDLE}\n"]
)
def test_what_is_no_edit_is_said(text):
    with pytest.raises(edits.DoesNotFit):
        edits.read(text)


def test_every_entry_of_the_bug_bank_fits_its_base():
    entries = sorted((ROOT / "fixtures" / "bugbank").glob("*/*.edit"))
    assert len(entries) > 80
    for path in entries:
        assert edits.source_of(path) != edits.base_of(path).read_text(), path.name
