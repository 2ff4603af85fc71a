"""The judge of exercise 10.2 knows every key that the balancer knows, and does not contradict itself."""

import random

from lbgrader import diff_judge, diff_model
from lbharness import run_cli


def keys_of(schema):
    """{"pool": {"max_size": default, ...}, "workers": default, ...}; None where the schema gives none."""
    return {
        name: keys_of(value)
        if value.get("type") == "object" and "properties" in value
        else value.get("default")
        for name, value in schema["properties"].items()
    }


def test_the_model_knows_every_key_and_its_default():
    keys = keys_of(run_cli("schema").json())
    for name in ("$schema", "listen_port"):
        keys.pop(name)
    assert keys.keys() == diff_model.KEYS.keys()
    compared = 0
    for name, expected in diff_model.KEYS.items():
        if isinstance(expected, dict):
            assert keys[name].keys() == expected.keys()
        given = keys[name] if isinstance(expected, dict) else {name: keys[name]}
        wanted = expected if isinstance(expected, dict) else {name: expected}
        for key, default in given.items():
            assert default is None or default == wanted[key], f"{name}.{key}"
            compared += default is not None
    assert compared > 12


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
