"""Reads APPS (Hendrycks et al. 2021): programming problems of three levels. An answer is a program that reads standard
input, or a function that the tests call.

The data can have three forms: the official folders (`train/0001/question.txt`, `input_output.json`, ...), the records
on the hub, or JSON lines with the fields `description`, `sample_io`, `test_list` and `starter_code`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from preflab.data.apps_folder import list_official_folders, read_official_folder
from preflab.data.hub import fetch_hub_file
from preflab.data.lines import read_text_field
from preflab.data.row import make_prompt_id
from preflab.data.shapes import TACO_LEVELS
from preflab.errors import UserError
from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.exercise import TESTLESS, Exercise
from preflab.testbeds.code.several import choose_comparison, explain_several
from preflab.testbeds.code.testbed import SPLIT_NAMES, Code, RawRecord, read_split_file
from preflab.types import Test, Turn

_OFFICIAL_NAME = "codeparrot/apps"
_STATEMENT = "QUESTION:\n{}\n{}\n{}\n\nANSWER:\n"
_FORMATS = {"stdin": "Use Standard Input format", "call": "Use Call-Based format"}
_IMPORTS = """\
import sys, time, itertools, collections, math, fractions, random, heapq, string, re
from itertools import accumulate, product, permutations, combinations
from collections import Counter, OrderedDict, deque, defaultdict, ChainMap
from functools import lru_cache
from math import sqrt, sin, cos, tan, ceil, fabs, floor, gcd, exp, log, log2
from typing import *
from heapq import *
"""
"""The imports that the official judge puts before every program, except the import of NumPy. `_NUMPY` contains this
import, which is added only to programs that use NumPy, because importing NumPy is slow."""
_NUMPY = {"np": "import numpy as np\n"}
_Cases = Sequence[tuple[Any, Any]]
_UNTYPED = "the arguments are text whose types are lost"
_UNLISTED = "an input is not a list of arguments"


class APPS(Code):
    """Programming problems of three levels (APPS), answered in Python and judged by hidden tests in the sandbox.

    `data`: the official folder, a file or folder of JSON lines, or the data set's name on the hub.
    """

    kind: Literal["apps"] = "apps"
    data: str = _OFFICIAL_NAME

    def read_repository(self) -> Iterator[RawRecord]:
        """Yields the raw records of the data set on the hub. In the official repository, a script loads the data
        files, but `datasets` no longer runs scripts. This method therefore reads these data files directly."""
        if self.data != _OFFICIAL_NAME:
            yield from super().read_repository()
            return
        for file in ("train.jsonl", "test.jsonl"):
            yield from read_split_file(fetch_hub_file(self.data, file))

    def read_folder(self, path: Path) -> Iterator[RawRecord]:
        """Yields the problems of the official folders, one split after another. If there are no official folders,
        yields the records of the JSON lines."""
        problems = list_official_folders(path)
        if not problems:
            yield from super().read_folder(path)
        for problem in problems:
            yield SPLIT_NAMES.get(problem.parent.name), str(problem), read_official_folder(problem)

    def read_exercises(self) -> Iterator[Exercise]:
        """Yields the exercises. The name of an exercise begins with its split, because the data set numbers the
        problems of each split from 0. Without the split, names would not be unique."""
        for exercise in super().read_exercises():
            yield replace(exercise, name=f"{exercise.split}/{exercise.name}")

    def parse_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        return self.read_reformatted(record, where) if "test_list" in record else self.read_official(record, where)

    def read_official(self, record: Mapping[str, Any], where: str) -> Exercise:
        """Converts a record in the official form into an exercise."""
        cases = _parse_json_field(record, "input_output", where) or {}
        inputs, outputs = cases.get("inputs", []), cases.get("outputs", [])
        function = str(cases.get("fn_name") or "")
        if len(inputs) != len(outputs):
            raise UserError(f"{where}: `input_output` has {len(inputs)} inputs but {len(outputs)} outputs.")
        text = read_text_field(record, "question", where)
        taco = record.get("difficulty") in TACO_LEVELS  # TACO has no problem ids
        problem = make_prompt_id((Turn("user", text),)) if taco else str(record["problem_id"])
        if function and not all(isinstance(case, list) for case in inputs):
            return Exercise(problem, text, Recipe(ProgramTask("call")), unjudged=_UNLISTED)
        restore = _restore_integer_keys if function else _join_lines
        tests = [(restore(case), restore(output)) for case, output in zip(inputs, outputs, strict=True)]
        return self._make_exercise(record, where, problem, text, function, [], tests)

    def read_reformatted(self, record: Mapping[str, Any], where: str) -> Exercise:
        """Converts a record with the field `test_list` into an exercise. The inputs and outputs of the tests in this
        list are text."""
        function = re.search(r"def +(\w+)", read_text_field(record, "starter_code", where))
        tests = [(test["input"], _join_lines(test["output"])) for test in record["test_list"]]
        public = [(test["input"], _join_lines(test["output"])) for test in record.get("sample_io") or []]
        text = read_text_field(record, "description", where)
        if function:
            return Exercise(str(record["id"]), text, Recipe(ProgramTask("call")), unjudged=_UNTYPED)
        hidden = [test for test in tests if test not in public]
        public, hidden = (public, hidden) if hidden else ([], tests)
        return self._make_exercise(record, where, str(record["id"]), text, "", public, hidden)

    def _make_exercise(
        self, record: Mapping[str, Any], where: str, name: str, text: str, function: str, public: _Cases, hidden: _Cases
    ) -> Exercise:
        mode, limits = "call" if function else "stdin", self.make_limits()
        task = ProgramTask(mode, (), function, limits, choose_comparison(text), compare_values="loose")
        recipe = Recipe(task, prefix=_IMPORTS, function=function, imports=_NUMPY)
        statement = _STATEMENT.format(text, record.get("starter_code") or "", _FORMATS[mode])
        tests = (tuple(Test(case, output, recipe) for case, output in cases) for cases in (public, hidden))
        right = tuple(_parse_json_field(record, "solutions", where) or [])
        level, unjudged = str(record.get("difficulty") or ""), explain_several(text) if hidden else TESTLESS
        return Exercise(name, statement, recipe, *tests, right=right, level=level, unjudged=unjudged)


def _restore_integer_keys(value: Any) -> Any:
    """Converts the keys of every dictionary in a JSON value into integers, if all keys of the dictionary are integers
    written as text. JSON stores integer keys as text. The official judge of APPS does the same conversion."""
    if isinstance(value, list):
        return [_restore_integer_keys(item) for item in value]
    if not isinstance(value, dict):
        return value
    whole = all(re.fullmatch("-?[0-9]+", key) for key in value)
    return {int(key) if whole else key: _restore_integer_keys(item) for key, item in value.items()}


def _parse_json_field(record: Mapping[str, Any], field: str, where: str) -> Any:
    """Returns the value of a field. If the field contains JSON text, as on the hub, returns the parsed value. Returns
    None if the field is empty or absent."""
    value = record.get(field) or None
    try:
        return json.loads(value) if isinstance(value, str) else value
    except ValueError as error:
        raise UserError(f"{where}: `{field}` does not contain valid JSON: {error}.") from error


def _join_lines(value: Any) -> str:
    """Joins a list of lines into one text. Returns any other value as text."""
    return "\n".join(map(_join_lines, value)) if isinstance(value, list) else str(value)
