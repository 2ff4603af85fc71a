"""lbgrader.shrink: what it returns fails, is short, and costs a bounded number of trials."""
import itertools
import random

from lbgrader.shrink import shrink


def contains(*needed):
    return lambda items: all(one in items for one in needed)


def test_finds_the_items_that_matter():
    assert shrink(list(range(100)), contains(3, 71)) == [3, 71]
    assert shrink(list("abcdef"), contains("f")) == ["f"]
    assert shrink([1], contains(1)) == [1]
    assert shrink([], contains()) == []


def test_a_failure_that_needs_nothing_shrinks_to_nothing():
    assert shrink([1, 2, 3], lambda items: True) == []


def test_nothing_shorter_fails():
    assert shrink([1, 2, 3, 4], lambda items: len(items) == 4) == [1, 2, 3, 4]


def test_order_is_kept_and_no_item_can_be_left_out():
    rng = random.Random(7)
    for _ in range(50):
        items = [rng.randrange(6) for _ in range(20)]

        def fails(some):  # a pair that descends by more than two, somewhere
            return any(a > b + 2 for a, b in itertools.combinations(some, 2))

        if not fails(items):
            continue
        short = shrink(items, fails)
        assert fails(short) and len(short) == 2


def test_trials_are_bounded_and_the_result_still_fails():
    asked = []

    def fails(items):
        asked.append(list(items))
        return sum(items) >= 4000

    short = shrink(list(range(100)), fails, trials_max=30)
    assert len(asked) <= 30 and sum(short) >= 4000
    assert len({repr(one) for one in asked}) == len(asked)


def test_the_same_run_shrinks_to_the_same():
    rng = random.Random(3)
    items = [rng.randrange(1000) for _ in range(200)]
    fails = lambda some: sum(some) % 7 == sum(items) % 7  # noqa: E731
    assert shrink(items, fails) == shrink(items, fails)
