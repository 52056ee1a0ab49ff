"""Reads LiveCodeBench (Jain et al. 2024): contest problems with public and private tests.

An answer is a program that reads standard input, or code that completes a class. In the lite version of the data, the
private tests are encoded by pickle, zlib and base64. The pickle contains a single text. This text is extracted without
unpickling, because unpickling could run code from the data.
"""

from __future__ import annotations

import base64
import json
import pickletools
import zlib
from collections.abc import Mapping
from typing import Any, Literal

from preflab.data.lines import read_text_field
from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.exercise import TESTLESS, Exercise
from preflab.testbeds.code.several import choose_comparison, explain_several
from preflab.testbeds.code.testbed import Code
from preflab.types import Test

_STATEMENT = "{}\n\nWrite a Python 3 program that reads standard input and prints the answer.\n"
_FUNCTION_STATEMENT = "{}\n\nComplete this class.\n\n```python\n{}\n```\n"
_MOST_BYTES = 1 << 28
"""Packed tests can have at most this number of bytes after unpacking."""


class LiveCodeBench(Code):
    """Recent problems of programming contests (LiveCodeBench), answered in Python and judged by tests in the sandbox.

    `data`: a file or folder of JSON lines, or the data set's name on the hub. All problems are in the split `test`.
    """

    kind: Literal["livecodebench"] = "livecodebench"
    data: str = "livecodebench/code_generation_lite"

    def parse_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        text = read_text_field(record, "question_content", where)
        starter = str(record.get("starter_code") or "")
        function = str(_read_json(record.get("metadata") or "{}").get("func_name") or "") if starter else ""
        task = ProgramTask(
            "call" if function else "stdin",
            entry_point=function,
            limits=self.make_limits(),
            compare=choose_comparison(text),
            compare_values="equal",
        )
        recipe = Recipe(task, prefix="from typing import *\n" if function else "", function=function)
        public, hidden = (
            tuple(_make_test(test, recipe) for test in _read_json(record.get(field) or "[]"))
            for field in ("public_test_cases", "private_test_cases")
        )
        return Exercise(
            name=read_text_field(record, "question_id", where),
            statement=_FUNCTION_STATEMENT.format(text, starter) if function else _STATEMENT.format(text),
            recipe=recipe,
            public=public,
            hidden=hidden,
            level=str(record.get("difficulty") or ""),
            split="test",
            unjudged=explain_several(text) if hidden else TESTLESS,
        )


def _read_json(value: Any) -> Any:
    """Returns the value of a JSON text, which is either plain or packed by pickle, zlib and base64. Raises `ValueError`
    if the text is neither. If `value` is not text, returns `value` itself."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        unpack = zlib.decompressobj()
        try:
            packed = unpack.decompress(base64.b64decode(value, validate=True), _MOST_BYTES)
        except zlib.error as error:
            raise ValueError(f"the packed tests cannot be unpacked: {error}") from error
        if unpack.unconsumed_tail:
            raise ValueError(f"the packed tests have more than {_MOST_BYTES >> 20} MB after unpacking") from None
        text = next((part for _, part, _ in pickletools.genops(packed) if isinstance(part, str)), "")
        return json.loads(text)


def _make_test(test: Mapping[str, Any], recipe: Recipe) -> Test:
    """Makes a `Test` from a test in the data. If the test calls a function, each line of the input is one argument in
    JSON."""
    if recipe.task.mode == "stdin":
        return Test(test["input"], test["output"], recipe)
    arguments = [json.loads(line) for line in test["input"].split("\n") if line.strip()]
    return Test(arguments, json.loads(test["output"]), recipe)
