"""LeetCodeDataset (Xia et al. 2025): problems with a class to complete, assertions that decide, a reference solution."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.exercise import Exercise, explain_several, make_code_tests, split_checks
from preflab.testbeds.code.testbed import Code
from preflab.testbeds.lines import read_text_field

_ORDERLESS = re.compile(r"\b(sorted|set|Counter)\(")
"""What tests call when they take an answer in any order."""
_NODES = ("ListNode", "TreeNode", "Node")


class LeetCode(Code):
    """`data`: `train.jsonl[.gz]` and perhaps `test.jsonl`, their folder, or the hub's name."""

    kind: Literal["leetcode"] = "leetcode"
    data: str = "newfacade/LeetCodeDataset"

    def parse_exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        prelude, test = read_text_field(record, "prompt", where), read_text_field(record, "test", where)
        # `Solution().name`: a method of a fresh object
        name = read_text_field(record, "entry_point", where).replace("()", "")
        nodes = tuple(node for node in _NODES if f"class {node}" in prelude)
        task = ProgramTask(
            "check", limits=self.make_limits(), prelude=prelude, functions={"candidate": name}, nodes=nodes
        )
        recipe = Recipe(task, prefix=prelude, function="Solution")
        meta, query = record.get("meta") or {}, read_text_field(record, "query", where)
        return Exercise(
            name=read_text_field(record, "task_id", where),
            statement=query,
            recipe=recipe,
            hidden=make_code_tests(split_checks(test, "check(candidate)"), recipe),
            right=(read_text_field(record, "completion", where),),
            level=str(record.get("difficulty") or meta.get("difficulty", "")).lower(),
            unjudged="" if _ORDERLESS.search(test) else explain_several(query),
        )
