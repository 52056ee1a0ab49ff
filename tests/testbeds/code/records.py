"""Hand-written records in each data set's official form."""

from __future__ import annotations

import json
from typing import Any

HUMANEVAL = {
    "task_id": "HumanEval/900",
    "prompt": "from typing import List\n\n\ndef total(xs: List[int]) -> int:\n"
    '    """ The sum.\n    >>> total([1])\n    1\n    """\n',
    "entry_point": "total",
    "canonical_solution": "    return sum(xs)\n",
    "test": "METADATA = {}\n\n\ndef check(candidate):\n"
    "    assert candidate([1, 2]) == 3\n    assert candidate([]) == 0\n",
}
LOOPED = {
    **HUMANEVAL,
    "task_id": "HumanEval/901",
    "test": "def check(candidate):\n    for n in range(5):\n        assert candidate([n]) == total([n]) == n\n",
}
MBPP = {
    "task_id": 11,
    "text": "Write a function to add two points.",
    "code": "import math\r\nclass Pt(object):\r\n\tdef __init__(self, x): self.x = x\r\ndef add(a, b):\r\n\treturn a.x + b.x",
    "test_setup_code": "p = Pt(1)",
    "test_list": ["assert add(p, Pt(2)) == 3", "assert add(p, p) == math.floor(2.5)"],
    "challenge_test_list": ["assert add(Pt(0), p) == 1"],
}
LEETCODE = {
    "task_id": "merge-it",
    "prompt": "from typing import *\nfrom heapq import *\n\nclass ListNode:\n    def __init__(self, val=0, next=None):\n"
    "        self.val = val\n        self.next = next\n\n"
    "def list_node(values):\n    return ListNode(values[0]) if values else None\n",
    "entry_point": "Solution().merge",
    "test": "def check(candidate):\n    assert candidate(node = list_node([4]), k = 1).val == 5\n"
    "    assert candidate(node = None, k = 1) is None\n",
    "completion": "class Solution:\n    def merge(self, node: Optional[ListNode], k: int):\n"
    "        if node: node.val += k\n        return node\n",
    "query": "Add k.",
    "meta": {"difficulty": "Easy"},
}
SUM = "a, b = map(int, input().split())\nprint(a + b)\n"
CONTEST: dict[str, Any] = {
    "name": "1_A. Sum",
    "description": "Print the sum of two numbers.",
    "public_tests": {"input": ["1 2\n"], "output": ["3\n"]},
    "private_tests": {"input": ["2 2\n"], "output": ["4\n"]},
    "generated_tests": {"input": ["5 5\n"], "output": ["10\n"]},
    "solutions": {"language": [2, 3, 3], "solution": ["int main() {}", SUM, SUM.replace("a + b", "b + a")]},
    "incorrect_solutions": {"language": [3, 1], "solution": [SUM.replace("a + b", "3"), "print 3"]},
    "time_limit": {"seconds": 1, "nanos": 500000000},
    "memory_limit_bytes": 256000000,
    "difficulty": 7,
}
APPS: dict[str, Any] = {
    "problem_id": 4001,
    "question": "Is it prime?",
    "solutions": json.dumps(
        ["class Solution:\n    def prime(self, n: List[int]) -> bool:\n        return n[0] in (2, 3, 5)\n"]
    ),
    "input_output": json.dumps({"fn_name": "prime", "inputs": [[[2]], [[4]]], "outputs": [[True], [False]]}),
    "difficulty": "introductory",
    "starter_code": "class Solution:\n    def prime(self, n: List[int]) -> bool:\n",
}
APPS_STDIN: dict[str, Any] = {
    "problem_id": 1,
    "question": "Add.",
    "solutions": json.dumps([SUM]),
    "input_output": json.dumps({"inputs": ["1 2\n", ["3 4"]], "outputs": ["3\n", ["7"]]}),
    "difficulty": "interview",
    "starter_code": "",
}
