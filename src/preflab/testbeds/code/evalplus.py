"""Reads the files of EvalPlus (Liu et al. 2023). These files contain the problems of HumanEval+. The files give only
the inputs of the tests, not the expected values.

The reference solution computes the expected value for each input. The reference solution runs in the process that runs
the tests, not in the process that runs the judged program.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflab.errors import UserError

UNTYPED = "its inputs are written without their Python types, which MBPP+ needs"
_INPUTS = ("base_input", "plus_input")
_COMPARISON = """
import copy
import math
import numpy
from math import inf, nan

_SPACE = {{}}
exec({program!r}, _SPACE)
_REFERENCE = _SPACE[{name!r}]


def _is_of_floats(value):
    return isinstance(value, float) or (isinstance(value, (list, tuple)) and all(isinstance(each, float) for each in value))


def check_input(candidate, arguments):
    expected = _REFERENCE(*copy.deepcopy(arguments))
    got = candidate(*copy.deepcopy(arguments))
    if {name!r} == "find_zero":
        assert abs(sum(factor * math.pow(got, power) for power, factor in enumerate(arguments[0]))) <= {tolerance!r}
        return
    tolerance = {tolerance!r} or (1e-6 if _is_of_floats(expected) else 0)
    if tolerance and not got == expected:
        numpy.testing.assert_allclose(got, expected, atol=tolerance)
    else:
        assert got == expected
"""
"""The code that runs before the tests. A value near the expected value counts as right if EvalPlus gives a tolerance
(`atol`), or if the expected value consists of floats. The problem `find_zero` has several right answers. An answer is
right if it is a zero of the polynomial."""


def holds_inputs(record: Mapping[str, Any]) -> bool:
    """Checks whether a record has the form of EvalPlus' own files (inputs without expected values)."""
    return all(name in record for name in _INPUTS)


def write_plus_comparison(program: str, name: str, tolerance: Any) -> str:
    """Returns the code that compares a judged function with the reference function. `program`: the reference solution.
    `name`: the name of the reference function in this program."""
    if not isinstance(tolerance, int | float):
        raise ValueError("`atol` must be a number")
    return _COMPARISON.format(program=program, name=name, tolerance=tolerance)


def write_plus_tests(record: Mapping[str, Any], where: str) -> tuple[str, ...]:
    """Returns one test for each input. Raises `UserError` if an input is not a list of arguments."""
    lists = [record[name] for name in _INPUTS]
    inputs = [arguments for each in lists if isinstance(each, list) for arguments in each]
    if not inputs or not all(isinstance(each, list) for each in (*lists, *inputs)):
        raise UserError(f"{where}: `base_input` and `plus_input` must be lists of lists of arguments.")
    return tuple(f"check_input(candidate, {arguments!r})" for arguments in inputs)
