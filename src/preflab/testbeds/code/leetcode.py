"""LeetCodeDataset (Xia et al. 2025): problems with a class to complete, assertions that decide, a reference solution."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from preflab.sandbox.answer import Recipe
from preflab.sandbox.verdict import ProgramTask
from preflab.testbeds.code.exercise import Exercise, coded, pieces, several
from preflab.testbeds.code.testbed import Code
from preflab.testbeds.lines import text_field

ORDERLESS = re.compile(r"\b(sorted|set|Counter)\(")
"""What tests do that take an answer in any order."""
NODES = ("ListNode", "TreeNode", "Node")


class LeetCode(Code):
    """`data`: `train.jsonl[.gz]` and perhaps `test.jsonl`, their folder, or the hub's name."""

    kind: Literal["leetcode"] = "leetcode"
    data: str = "newfacade/LeetCodeDataset"

    def exercise(self, record: Mapping[str, Any], where: str) -> Exercise:
        prelude, test = text_field(record, "prompt", where), text_field(record, "test", where)
        name = text_field(record, "entry_point", where).replace("()", "")  # Solution().name: a method of a fresh object
        nodes = tuple(node for node in NODES if f"class {node}" in prelude)
        task = ProgramTask("check", limits=self.limits(), prelude=prelude, functions={"candidate": name}, nodes=nodes)
        recipe = Recipe(task, prefix=prelude, function="Solution")
        meta, query = record.get("meta") or {}, text_field(record, "query", where)
        return Exercise(
            name=text_field(record, "task_id", where),
            statement=query,
            recipe=recipe,
            hidden=coded(pieces(test, "check(candidate)"), recipe),
            right=(text_field(record, "completion", where),),
            level=str(record.get("difficulty") or meta.get("difficulty", "")).lower(),
            unjudged="" if ORDERLESS.search(test) else several(query),
        )
