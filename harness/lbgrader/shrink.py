"""Shrinks a failing run to a short one that still fails: delta debugging (Zeller and Hildebrandt, 2002).

Deterministic: the same items and the same answers give the same result. What comes back always fails, and
keeps the order of the items. With enough trials, no item can be left out of it without the failure going.
"""
from collections.abc import Callable

TRIALS_MAX = 400


def shrink(items: list, fails: Callable[[list], bool], trials_max: int = TRIALS_MAX) -> list:
    """A short subsequence of `items` for which `fails` still says True. `items` itself is taken to fail, and
    comes back when nothing shorter does. `fails` is asked at most `trials_max` times, and never twice about
    the same list."""
    trial = _Trials(fails, trials_max)
    items = list(items)
    size = (len(items) + 1) // 2  # of the piece that is left out
    while items and size >= 1:
        at, smaller = 0, False
        while at < len(items):
            without = items[:at] + items[at + size:]
            if trial(without):
                items, smaller = without, True  # the next piece has moved to `at`
            else:
                at += size
        if trial.over:
            break
        if size > 1:
            size = (size + 1) // 2
        elif not smaller:
            break
    return items


class _Trials:
    """Counts what is asked, and remembers the answers (by repr: an item need not be hashable)."""

    def __init__(self, fails, trials_max):
        self._fails, self._left, self._known = fails, trials_max, {}

    @property
    def over(self):
        return self._left <= 0

    def __call__(self, items):
        key = repr(items)
        if key not in self._known:
            if self.over:
                return False
            self._left -= 1
            self._known[key] = bool(self._fails(list(items)))
        return self._known[key]
