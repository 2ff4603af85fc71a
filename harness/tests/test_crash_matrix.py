"""A few cases of the crash matrix (make crash-matrix runs all), and that the matrix knows every step."""

import pytest

import crash_matrix


@pytest.fixture(scope="module")
def binary():
    return crash_matrix.program()


def test_the_matrix_knows_every_fault_point():
    assert crash_matrix.points_in_sources() == set(dict(crash_matrix.STEPS + crash_matrix.STEPS_BACK))


@pytest.mark.parametrize("case", crash_matrix.quick_cases(), ids=str)
def test_case(case, binary):
    result = crash_matrix.run_case(case, binary)
    assert not result.problems, "\n".join(result.problems)
