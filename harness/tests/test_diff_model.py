"""The judge of exercise 10.2 knows every key that the balancer knows, and does not contradict itself."""

import random
import re

from lbgrader import diff_judge, diff_model
from lbharness import run_cli


def properties_of(schema):
    forms = [schema, *schema.get("oneOf", ())]
    return next((form["properties"] for form in forms if "properties" in form), {})


def test_the_table_is_that_of_the_schema():
    schema = properties_of(run_cli("schema").json())
    table = diff_model.table()
    assert [key.name for key in table.keys] == [n for n in schema if n not in ("$schema", "listen_port")]
    for key in table.keys:
        if key.kind in ("object", "optional"):
            assert [inner.name for inner in key.keys] == list(properties_of(schema[key.name]))


def test_nearly_every_value_has_a_sample():
    """A key that is added is checked in submissions without a line about it there."""
    table = diff_model.table()
    values = {f"/{key.name}" for key in table.keys if key.kind == "value"}
    values |= {f"/{s.name}/{k.name}" for s in table.keys if s.kind in ("object", "optional")
               for k in s.keys if k.kind == "value"}
    values |= {f"/backends/{key.name}" for key in table.options}
    with_sample = {path for path, _, _ in table.samples}
    assert with_sample <= values
    missing = values - with_sample  # those that are valid only together with others
    assert len(missing) < 0.15 * len(values), missing
    for path, before, after in table.samples:
        changes = diff_model.diff(before, after)
        assert [re.sub("^/backends/b1", "/backends", change.path) for change in changes] == [path]


def test_the_models_changes_make_one_file_of_the_other(rng):
    for _ in range(300):
        before, after = diff_judge.pair_of(diff_judge.random_edits(rng))
        changes = diff_model.diff(before, after)
        assert diff_model.apply(before, changes) == diff_model.comparable(after)
        assert bool(changes) == (diff_model.comparable(before) != diff_model.comparable(after)) or any(
            "(secret)" in change.words for change in changes
        )


def test_random_pairs_depend_on_the_seed_alone():
    first, again = (diff_judge.random_edits(random.Random(5)) for _ in range(2))
    assert first == again
