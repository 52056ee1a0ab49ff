"""Registers the testbeds by name. A testbed is data in three disjoint splits. If answers can be tested, the testbed
also has a judge."""

from __future__ import annotations

from typing import TYPE_CHECKING

from preflab.spec import Registry

if TYPE_CHECKING:
    from preflab.testbeds.base import TestbedSpec

_CLASSES = {
    "minicode": "preflab.testbeds.minicode:Minicode",
    "minicode-py": "preflab.testbeds.minicode.written:MinicodePy",
    "sentiment": "preflab.testbeds.sentiment:Sentiment",
    "safeworld": "preflab.testbeds.safeworld:Safeworld",
    "hh_rlhf": "preflab.testbeds.hh_rlhf:HH",
    "safe_rlhf": "preflab.testbeds.safe_rlhf:SafeRLHF",
    "jsonl": "preflab.testbeds.jsonl:Jsonl",
    "math": "preflab.testbeds.math.testbed:MathProblems",
    "apps": "preflab.testbeds.code.apps:APPS",
    "code_contests": "preflab.testbeds.code.code_contests:CodeContests",
    "humaneval": "preflab.testbeds.code.humaneval:HumanEval",
    "mbpp": "preflab.testbeds.code.mbpp:MBPP",
    "leetcode": "preflab.testbeds.code.leetcode:LeetCode",
    "livecodebench": "preflab.testbeds.code.livecodebench:LiveCodeBench",
    "kodcode": "preflab.testbeds.code.kodcode:KodCode",
}
TESTBEDS: Registry[TestbedSpec] = Registry("testbed", "preflab.testbeds", _CLASSES, "preflab.testbeds.base:TestbedSpec")
