"""Reads LeetCodeDataset (Xia et al. 2025). Each problem has a class to complete, assertions as tests, and a
solution."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from preflab.data.lines import read_text_field
from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.exercise import Exercise, make_code_tests, split_checks
from preflab.testbeds.code.several import explain_several
from preflab.testbeds.code.testbed import Code

_ORDERLESS = re.compile(
    r"\b(sorted|set|Counter)\("
)  # a test that calls one of these functions accepts the elements of an answer in any order
_NODES = ("ListNode", "TreeNode", "Node")


class LeetCode(Code):
    """Programming problems (LeetCode), answered in Python and judged by assertions in the sandbox.

    `data`: a file such as `train.jsonl[.gz]`, a folder with `train.jsonl[.gz]` and possibly `test.jsonl`, or the data
    set's name on the hub.
    """

    kind: Literal["leetcode"] = "leetcode"
    data: str = "newfacade/LeetCodeDataset"

    def parse_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        fields = ("prompt", "test", "entry_point", "query", "task_id", "completion")
        prelude, test, name, query, problem, solution = (read_text_field(record, field, where) for field in fields)
        nodes = tuple(node for node in _NODES if f"class {node}" in prelude)
        # `Solution().f` becomes `Solution.f`, because the sandbox makes a new `Solution` object for each call
        functions = {"candidate": name.replace("()", "")}
        task = ProgramTask("check", limits=self.make_limits(), prelude=prelude, functions=functions, nodes=nodes)
        recipe = Recipe(task, prefix=prelude, function="Solution")
        tests = make_code_tests(split_checks(test), recipe)
        meta = record.get("meta") or {}
        level = str(record.get("difficulty") or meta.get("difficulty", "")).lower()
        unjudged = "" if _ORDERLESS.search(test) else explain_several(query)
        return Exercise(problem, query, recipe, hidden=tests, right=(solution,), level=level, unjudged=unjudged)
