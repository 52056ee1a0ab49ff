"""Reads HumanEval (Chen et al. 2021): 164 Python functions to complete. The tests are Python code. All problems are in
the split `test`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any, Literal

from preflab.data.lines import read_text_field
from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.evalplus import UNTYPED, holds_inputs, write_plus_comparison, write_plus_tests
from preflab.testbeds.code.exercise import Exercise, make_code_tests, split_checks
from preflab.testbeds.code.testbed import Code

_STATEMENT = "Complete this Python function.\n\n```python\n{}```"


class HumanEval(Code):
    """Python functions (HumanEval), each described by a docstring and judged by assertions in the sandbox.

    `data`: `HumanEval.jsonl[.gz]`, EvalPlus' `HumanEvalPlus.jsonl[.gz]`, a folder that contains one of these files, or
    the data set's name on the hub. `completion`: if true, the statement is only the beginning of the function, which a
    base model continues. If false, the statement also asks in words to complete the function.
    """

    kind: Literal["humaneval"] = "humaneval"
    data: str = "openai/openai_humaneval"
    completion: bool = False

    def parse_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        fields = ("prompt", "entry_point", "task_id", "canonical_solution")
        prompt, name, problem, solution = (read_text_field(record, field, where) for field in fields)
        plus = holds_inputs(record)
        if plus and problem.startswith("Mbpp/"):
            return Exercise(
                problem, prompt, Recipe(ProgramTask("check")), right=(solution,), split="test", unjudged=UNTYPED
            )
        functions = {"candidate": name, name: name}
        prelude = write_plus_comparison(prompt + solution, name, record.get("atol", 0)) if plus else prompt
        task = ProgramTask("check", limits=self.make_limits(), prelude=prelude, functions=functions)
        recipe = Recipe(task, prefix=_cut_helpers(prompt, name), opening=prompt, function=name)
        statement = prompt if self.completion else _STATEMENT.format(prompt)
        sources = write_plus_tests(record, where) if plus else split_checks(read_text_field(record, "test", where))
        tests = make_code_tests(sources, recipe)
        return Exercise(problem, statement, recipe, hidden=tests, right=(solution,), split="test")


def _cut_helpers(prompt: str, function: str) -> str:
    """Returns the part of the prompt before the function to complete, such as imports and helper functions. An answer
    that does not continue the prompt can use this code too."""
    starts = [
        node.lineno - 1
        for node in ast.parse(f"{prompt}\n    pass\n").body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == function
    ]
    if not starts:
        raise ValueError(f"the prompt does not contain the beginning of the function `{function}`")
    return "".join(prompt.splitlines(keepends=True)[: starts[-1]])
