"""HumanEval (Chen et al. 2021): 164 functions to complete, with tests that are code. For evaluation alone: all is `test`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.exercise import Exercise, make_code_tests, split_checks
from preflab.testbeds.code.testbed import Code
from preflab.testbeds.lines import read_text_field

_STATEMENT = "Complete this Python function.\n\n```python\n{}```"


class HumanEval(Code):
    """`data`: `HumanEval.jsonl[.gz]`, its folder, or the hub's name. `completion`: the statement is the opened function alone,
    for a base model to go on from; else it is asked for in words."""

    kind: Literal["humaneval"] = "humaneval"
    data: str = "openai/openai_humaneval"
    completion: bool = False

    def exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        prompt, test, name = (read_text_field(record, field, where) for field in ("prompt", "test", "entry_point"))
        task = ProgramTask("check", limits=self.limits(), prelude=prompt, functions={"candidate": name, name: name})
        stub = f"{prompt}\n    pass\n\n"  # an answer that begins anew may lean on what the prompt imports and defines
        recipe = Recipe(task, prefix=stub, opening=prompt, function=name)
        return Exercise(
            name=read_text_field(record, "task_id", where),
            statement=prompt if self.completion else _STATEMENT.format(prompt),
            recipe=recipe,
            hidden=make_code_tests(split_checks(test, "check(candidate)"), recipe),
            right=(read_text_field(record, "canonical_solution", where),),
            split="test",
        )
