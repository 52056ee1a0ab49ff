"""KodCode (Xu et al. 2025): questions, each with a solution and tests. The tests are functions written for pytest."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Literal

from preflab.data.lines import read_text_field
from preflab.data.problems import find_tested_functions
from preflab.data.row import make_prompt_id
from preflab.sandbox.answer import Recipe, parses
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.defined_tests import explain_unrunnable, list_calls, list_test_functions
from preflab.testbeds.code.exercise import TESTLESS, Exercise, make_code_tests
from preflab.testbeds.code.several import explain_several
from preflab.testbeds.code.testbed import Code
from preflab.types import Turn

_PROGRAM = "solution"
"""The module from which the tests import the program."""


class KodCode(Code):
    """`data`: a file or folder of JSON lines, or the hub's name. Each function whose name begins with `test` is a test. A
    class of tests counts too."""

    kind: Literal["kodcode"] = "kodcode"
    data: str = "KodCode/KodCode-V1"

    def parse_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        question, solution, source = (read_text_field(record, name, where) for name in ("question", "solution", "test"))
        if not parses(source):
            raise ValueError("`test` is not Python")
        body, functions = split_program(ast.parse(source))
        defined = list_test_functions(body)
        beside = "".join(f"{ast.unparse(node)}\n" for node in body if node not in defined)
        tests = {node.name: f"{ast.unparse(node)}\n" for node in defined}
        task = ProgramTask(
            "check", limits=self.make_limits(), prelude=beside, functions={name: name for name in functions}
        )
        recipe = Recipe(task, function=functions[0] if functions else "")
        sources = [tests.get(call.partition("(")[0], "") + call for call in list_calls(body, "")]
        turns = (Turn("user", question),)
        return Exercise(
            name=str(record.get("question_id") or make_prompt_id(turns)),
            statement=f"{question}\n\nThe program must define {', '.join(f'`{name}`' for name in functions)}.\n",
            recipe=recipe,
            hidden=make_code_tests(sources, recipe),
            right=(solution,),
            level=str(record.get("gpt_difficulty") or ""),
            unjudged=explain_unrunnable(body, "") or (explain_several(question) if sources and functions else TESTLESS),
        )


def split_program(tree: ast.Module) -> tuple[list[ast.stmt], tuple[str, ...]]:
    """Returns the statements of the tests without the import of the program, and the names of the program's functions.
    The names are those that the tests import from the program, or else those that the tests call but do not define."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom) and node.module == _PROGRAM]
    body = [node for node in tree.body if node not in imports]
    names = tuple(alias.name for node in imports for alias in node.names if alias.name != "*")
    return body, names or find_tested_functions([ast.Module(body, [])])
