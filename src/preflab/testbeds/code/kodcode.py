"""Reads KodCode (Xu et al. 2025): programming questions, each with a solution and tests. The tests are functions
written for pytest."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Literal

from preflab.data.lines import read_text_field
from preflab.data.row import make_prompt_id
from preflab.data.tested_functions import IMPORTS_WHOLE, ProgramImports, find_tested_functions
from preflab.sandbox.answer import Recipe, parses
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.beyond_values import USES_OBJECTS, explain_beyond_values
from preflab.testbeds.code.defined_tests import explain_unrunnable, list_calls, list_test_functions
from preflab.testbeds.code.exercise import TESTLESS, Exercise, make_code_tests
from preflab.testbeds.code.several import explain_several
from preflab.testbeds.code.testbed import Code
from preflab.types import Turn


class KodCode(Code):
    """Programming questions (KodCode), answered in Python and judged by test functions in the sandbox.

    `data`: a file or folder of JSON lines, or the data set's name on the hub. Each function whose name begins
    with `test` is a test. The tests in test classes are used too.
    """

    kind: Literal["kodcode"] = "kodcode"
    data: str = "KodCode/KodCode-V1"

    def parse_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        question, solution, source = (read_text_field(record, name, where) for name in ("question", "solution", "test"))
        if not parses(source):
            raise ValueError("`test` is not Python")
        imports = ProgramImports()
        body = imports.visit(ast.parse(source)).body
        functions = imports.functions or {
            name: name for name in find_tested_functions([ast.unparse(ast.Module(body, []))])
        }
        defined = list_test_functions(body)
        beside = "".join(f"{ast.unparse(node)}\n" for node in body if node not in defined)
        tests = {node.name: f"{ast.unparse(node)}\n" for node in defined}
        task = ProgramTask("check", limits=self.make_limits(), prelude=beside, functions=functions)
        recipe = Recipe(task, function=next(iter(functions.values()), ""))
        sources = [tests.get(call.partition("(")[0], "") + call for call in list_calls(body, "")]
        turns = (Turn("user", question),)
        return Exercise(
            name=str(record.get("question_id") or make_prompt_id(turns)),
            statement=f"{question}\n\nThe program must define {', '.join(f'`{name}`' for name in functions.values())}.\n",
            recipe=recipe,
            hidden=make_code_tests(sources, recipe),
            right=(solution,),
            level=str(record.get("gpt_difficulty") or ""),
            unjudged=(IMPORTS_WHOLE if imports.whole else "")
            or explain_unrunnable(body, "")
            or explain_beyond_values(body, functions)
            or (USES_OBJECTS if _list_classes(solution) & {*functions.values()} else "")
            or (explain_several(question) if sources and functions else TESTLESS),
        )


def _list_classes(program: str) -> set[str]:
    """Returns the names of the classes that a program defines. The result is empty if the program is not valid
    Python."""
    body = ast.parse(program).body if parses(program) else []
    return {node.name for node in body if isinstance(node, ast.ClassDef)}
