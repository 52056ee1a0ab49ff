"""Reads MBPP (Austin et al. 2021): short functions, each described by a sentence and three assertions.

The number of a task decides its official split. Tasks 11 to 510 are in test, tasks 511 to 600 in validation, and tasks
601 to 974 in train. Tasks 1 to 10, which are meant as few-shot examples, are also in train.
"""

from __future__ import annotations

import ast
import builtins
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

from preflab.data.lines import check_text, read_text_field
from preflab.errors import UserError
from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.beyond_values import EXPECTS_EXCEPTION, expects_exception
from preflab.testbeds.code.exercise import Exercise, make_code_tests
from preflab.testbeds.code.testbed import Code
from preflab.types import Split

_STATEMENT = "You are an expert Python programmer, and here is your task: {} Your code should pass these tests:\n\n{}"


class MBPP(Code):
    """Short Python functions (MBPP), each described by a sentence and judged by assertions in the sandbox.

    `data`: `mbpp.jsonl[.gz]` or `sanitized-mbpp.json`, a folder that contains one of these files, or the data set's
    name on the hub. MBPP+ on the hub can be used too. Its field `test` becomes one more test. The statement lists every
    assertion of `test_list`, as the official statement does, although these assertions also judge the answer. If
    `public_first` is set, the statement lists only the public assertions.
    """

    kind: Literal["mbpp"] = "mbpp"
    data: str = "google-research-datasets/mbpp"

    def name_record(self, record: Mapping[str, Any], where: str) -> str:
        return f"mbpp/{super().name_record(record, where)}"

    def parse_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        number = record.get("task_id")
        if not isinstance(number, int):
            raise UserError(f"{where}: `task_id` must be a number.")
        text = read_text_field(record, "text" if "text" in record else "prompt", where)
        listed = _read_list(record["test_list"], f"{where}: `test_list`")
        tests = [*listed, *_read_list(record.get("challenge_test_list", []), f"{where}: `challenge_test_list`")]
        code = read_text_field(record, "code", where)
        imported = _read_list(record.get("test_imports", []), f"{where}: `test_imports`")
        setup = "\n".join([*imported, str(record.get("test_setup_code", ""))]).strip()
        imports, classes, defined = _read_prelude(code)
        names = _find_program_names([setup, *tests], imports, defined)
        nodes = tuple(name for name in names if name in classes)
        functions = {name: name for name in names if name not in classes}
        if not functions:
            raise UserError(f"{where}: no assertion calls a function of the program.")
        task = ProgramTask("check", limits=self.make_limits(), prelude=imports, functions=functions, nodes=nodes)
        recipe = Recipe(task, function=next(iter(functions)))
        more = [read_text_field(record, "test", where)] if record.get("test") else []
        asserted = [f"{setup}\n{test}" if setup.strip() else test for test in (*tests, *more)]
        public = tests[: self.public_first or len(listed)]
        statement = _STATEMENT.format(text, "\n".join(public))
        unjudged = EXPECTS_EXCEPTION if any(expects_exception(ast.parse(test), functions) for test in asserted) else ""
        tests, split = make_code_tests(asserted, recipe), _official_split(number)
        return Exercise(
            f"mbpp/{number}", statement, recipe, hidden=tests, right=(code,), split=split, unjudged=unjudged
        )


def _read_list(value: Any, where: str) -> list[str]:
    """Returns a value that must be a list of texts. Raises `UserError` if the value is not a list of texts."""
    if not isinstance(value, list):
        raise UserError(f"{where} must be a list of texts, not {json.dumps(value, default=str)[:60]}.")
    return [check_text(each, where) for each in cast(list[Any], value)]


def _official_split(number: int) -> Split:
    return "test" if 11 <= number <= 510 else "validation" if 511 <= number <= 600 else "train"


def _read_prelude(code: str) -> tuple[str, set[str], set[str]]:
    """Returns the imports of the reference solution as code, the names of its classes, and all names that it defines.
    Tests can use these imports and names."""
    body = ast.parse(code).body
    imports = [ast.unparse(node) for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
    classes = {node.name for node in body if isinstance(node, ast.ClassDef)}
    functions = {node.name for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    return (
        "\n".join(imports),
        classes,
        classes | functions | {each.id for each in targets if isinstance(each, ast.Name)},
    )


def _find_program_names(sources: Sequence[str], imports: str, defined: set[str]) -> tuple[str, ...]:
    """Returns the names that the test code in `sources` uses and that the program must therefore define. Leaves out
    names that the test code sets itself. Also leaves out imported and built-in names, such as `sum`, except if the
    reference solution defines them (`defined`)."""
    aliases = [node for node in ast.walk(ast.parse(imports)) if isinstance(node, ast.alias)]
    known = {*dir(builtins), *(alias.asname or alias.name for alias in aliases)} - defined
    used = [node for source in sources for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)]
    known |= {node.id for node in used if isinstance(node.ctx, ast.Store)}
    return tuple(dict.fromkeys(node.id for node in used if node.id not in known))
