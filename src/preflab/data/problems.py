"""Reads the tests of programming problems from the user's files. Each test becomes a `Test`. The sandbox or the user's
judge function later runs the tests.

The value of a field with tests has one of these four forms:

| value of the field                                      | content of one test                                   |
|---------------------------------------------------------|-------------------------------------------------------|
| `[{"input": ..., "output": ...}, ...]`                   | an input, and the expected output                     |
| `[[input, output], ...]`                                 | an input, and the expected output                     |
| `{"inputs": [...], "outputs": [...]}`, optional `fn_name` | an input and its output; `fn_name` is called with the input |
| `["assert f(1) == 2", ...]`, or one such text            | Python code that raises an error if the test fails    |

The value may also be a JSON text of one of these forms. If the value is a list of lists of assertions, the inner lists
are joined into one list.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from preflab.data.lines import check_text
from preflab.data.row import DataRecord, UselessRecordError
from preflab.data.tested_functions import IMPORTS_WHOLE, PROGRAM_MODULE, ProgramImports, find_tested_functions
from preflab.errors import UserError
from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.types import Test

PUBLIC_FIELDS = ("public_tests", "public_test_cases")
HIDDEN_FIELDS = ("tests", "test_cases", "test_list", "input_output", "hidden_tests", "private_test_cases")
_SETUP_FIELDS = ("test_imports", "test_setup_code")
"""Fields that contain setup code. This code runs before tests that are Python code."""
_BROKEN = "its tests are neither JSON nor Python"
_TESTS_NO_FUNCTION = "none of its tests calls a function of the program"
_CANDIDATE = "candidate"
"""A name by which tests may call the tested function, instead of the name in `entry_point`. The tests of HumanEval use
this name."""
_ASSERTION = re.compile(r"\s*assert\b")
_INPUTS = ("input", "inputs", "stdin")
_OUTPUTS = ("output", "outputs", "expected_output", "expected", "stdout")


def read_tests(record: DataRecord, fields: Sequence[str], where: str) -> tuple[Test, ...]:
    """Returns the tests in a record. The tests are read from the first of `fields` that is present and not empty.
    Returns an empty tuple if there is no such field. Raises `UserError` if the field does not contain tests."""
    field = _find_tests(record, fields)
    if field is None:
        return ()
    value = _flatten_assertions(_parse_json(record[field]))
    place = f"{where}: `{field}`"
    if isinstance(value, str):
        value = [value]
    if isinstance(value, list) and value and all(isinstance(test, str) for test in value):
        return _make_code_tests(cast(list[str], value), record, place)
    special = record.get("special")
    how = None if special is None else Recipe(ProgramTask("stdin", special=check_text(special, f"{where}: `special`")))
    if isinstance(value, dict):
        name = str(value.get("fn_name") or record.get("fn_name") or "")
        how = Recipe(ProgramTask("call", entry_point=name), function=name) if name else how
        pairs = _read_columns(cast(dict[str, Any], value), place)
    else:
        tests = cast(list[Any], value) if isinstance(value, list) else [value]
        pairs = [_read_pair(test, f"{place}[{number}]") for number, test in enumerate(tests)]
    return tuple(Test(case, output, how) for case, output in pairs)


def drop_tests(record: DataRecord) -> DataRecord:
    """Returns a copy of a record without the fields that contain tests. Returns the record itself if it has no
    tests."""
    if _find_tests(record, (*PUBLIC_FIELDS, *HIDDEN_FIELDS)) is None:
        return record
    return {name: value for name, value in record.items() if name not in PUBLIC_FIELDS and name not in HIDDEN_FIELDS}


def _find_tests(record: DataRecord, fields: Sequence[str]) -> str | None:
    """Returns the name of the first of `fields` that is present in the record and not empty. Returns None if there is
    no such field."""
    return next((name for name in fields if record.get(name) not in (None, "", [])), None)


def _flatten_assertions(value: Any) -> Any:
    """Returns the assertions in a list of lists (AceCode) as one list. Without this step, a list of two assertions
    would be read as an input and an output. Returns any other value unchanged."""
    lists = cast(list[Any], value) if isinstance(value, list) else []
    if not lists or not all(isinstance(each, list) for each in lists):
        return value
    texts = [text for each in lists for text in each]
    return texts if all(isinstance(text, str) and _ASSERTION.match(text) for text in texts) else value


def _read_pair(test: Any, where: str) -> tuple[Any, Any]:
    if isinstance(test, list) and len(cast(list[Any], test)) == 2:
        return test[0], test[1]
    fields = cast(Mapping[str, Any], test) if isinstance(test, dict) else {}
    names = [next((name for name in known if name in fields), None) for known in (_INPUTS, _OUTPUTS)]
    if None in names:
        raise UserError(f'{where} must be {{"input": ..., "output": ...}}, not {json.dumps(test, default=str)[:60]}.')
    return fields[str(names[0])], fields[str(names[1])]


def _read_columns(columns: Mapping[str, Any], where: str) -> list[tuple[Any, Any]]:
    """Returns pairs of an input and its output. `columns`: contains a list of inputs and a list of outputs, or a single
    input and a single output."""
    inputs, outputs = _read_pair(columns, where)
    if not isinstance(inputs, list):
        return [(inputs, outputs)]
    if not isinstance(outputs, list) or len(cast(list[Any], inputs)) != len(cast(list[Any], outputs)):
        raise UserError(f"{where}: inputs and outputs must be two lists of the same length.")
    return list(zip(cast(list[Any], inputs), cast(list[Any], outputs), strict=True))


def _make_code_tests(sources: Sequence[str], record: DataRecord, where: str) -> tuple[Test, ...]:
    """Makes one test of a program from each piece of code. The field `entry_point` names the function of the program
    that is tested. Without `entry_point`, the functions that the tests import from the program are tested. If the tests
    import no function of the program, the functions that they call but do not define are tested. Raises
    `UselessRecordError` if the code of a test is broken, or if the tests call no function of the program. Such a record
    is skipped, and the rest of the file is still read."""
    parts = [_list_texts(record.get(field), f"{where}: `{field}`") for field in _SETUP_FIELDS]
    setup = "\n".join(text for texts in parts for text in texts)
    try:
        trees = [ast.parse(source) for source in (setup, *sources)]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UselessRecordError(f"{where} contains text that is neither JSON nor Python: {error}.", _BROKEN) from error
    imports = ProgramImports()
    setup, *sources = [
        ast.unparse(imports.visit(tree)) if PROGRAM_MODULE in source else source
        for tree, source in zip(trees, (setup, *sources), strict=True)
    ]
    if imports.whole:
        raise UselessRecordError(f"{where}: {IMPORTS_WHOLE}.", IMPORTS_WHOLE)
    name = check_text(record.get("entry_point", ""), f"{where}: `entry_point`")
    functions = ({name: name, _CANDIDATE: name} if name else {}) | imports.functions
    functions = functions or {each: each for each in find_tested_functions((setup, *sources))}
    if not functions:
        raise UselessRecordError(f"{where}: {_TESTS_NO_FUNCTION}.", _TESTS_NO_FUNCTION)
    prelude = f"{setup}\n"
    recipe = Recipe(ProgramTask("check", prelude=prelude, functions=functions), function=next(iter(functions.values())))
    return tuple(Test(source, None, recipe) for source in sources)


def _list_texts(value: Any, where: str) -> list[str]:
    """Returns a text, or a list of texts, as a list of texts. If the value is None, the list contains one empty
    text."""
    texts = cast(list[Any], value) if isinstance(value, list) else [value or ""]
    return [check_text(text, where) for text in texts]


def _parse_json(value: Any) -> Any:
    """Returns the list or object that a JSON text represents. Returns any other value unchanged."""
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
