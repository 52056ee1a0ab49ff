"""The program in an answer: what chat models and base models really write around it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflab.sandbox.answer import Recipe, build_program, extract_program, parses, prepend
from preflab.sandbox.verdict import ProgramTask
from preflab.types import Test

OPENING = 'def add(a, b):\n    """The sum."""\n'
WHOLE = "def add(a, b):\n    return a + b\n"


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("print(input())", "print(input())"),
        ("Here you are:\n```python\nprint(1)\n```\nIt prints 1.", "print(1)\n"),
        ("```py\nprint(1)\n```", "print(1)\n"),
        ("Sure! ```python\nprint(1)\n```\nDone.", "print(1)\n"),
        ("```python\ns = 'use ```python'\nprint(s)\n```", "s = 'use ```python'\nprint(s)\n"),
        ("```Python3\nprint(1)\n```", "print(1)\n"),
        ("```\nprint(1)\n```", "print(1)\n"),
        ("~~~python\nprint(1)\n~~~", "print(1)\n"),
        ("```python\r\nprint(1)\r\n```", "print(1)\n"),
        ("```python\nprint(1)", "print(1)"),  # cut off, or stopped at the fence
        (
            "Input:\n```\n1 2\n```\n```python\nprint(3)\n```\nOutput:\n```\n3\n```",
            "print(3)\n",
        ),  # examples are no program
        (
            "```python\nprint(1)\n```\nWait, that is wrong.\n```python\nprint(2)\n```",
            "print(2)\n",
        ),  # the second thought
        ("````python\ns = '''\n```\n'''\nprint(s)\n````", "s = '''\n```\n'''\nprint(s)\n"),  # a fence within a fence
        ("```cpp\nint main() {}\n```\n```python\nprint(1)\n```", "print(1)\n"),
        ("print(1)\nThis program prints 1, as wanted.", "print(1)\n"),
        (" n = int(input())\nprint(n)\n", "n = int(input())\nprint(n)\n"),  # a base model's leading space
        ("    n = 1\n    print(n)\n", "n = 1\nprint(n)\n"),
        ("[BEGIN]\nprint(1)\n[DONE]\n\nWrite another.\n[BEGIN]\nprint(2)\n[DONE]", "print(1)\n"),
        ("print(1)\n[DONE]\nQ: ...\n[BEGIN]\nprint(2)\n[DONE]", "print(1)\n"),
        ("```\nprint(1)\n```\nFor example\n```\n3 -1\n```", "print(1)\n"),
        ("```markdown\nIt is\n```python\nprint(1)\n```\n```", "print(1)\n"),
        ("x = 1\nprint(x)\n\n# Explanation:\nWe set x to 1.\n\nThat's all!", "x = 1\nprint(x)\n\n# Explanation:\n"),
        ("1. Do it:\n   ```python\n   if x:\n       print(1)\n   ```", "if x:\n    print(1)\n"),  # in a list
        (
            '```python\ndef f():\n    """\n    ```\n    f()\n    ```\n    """\nf()\n```',
            'def f():\n    """\n    ```\n    f()\n    ```\n    """\nf()\n',
        ),
        ("```python3.11\nprint(1)\n```", "print(1)\n"),
        ("```python\nprint(1)```", "print(1)"),
        ("```python\nprint(int(input()))\n```\nExample output:\n```python\n3\n```", "print(int(input()))\n"),
        ("Here is the program:\nimport sys\nprint(1)\n", "import sys\nprint(1)\n"),  # words before it, no fence
        ("print(1)\nand so on, for long:\n" + "and on, and on\n" * 200, "print(1)\n"),  # a base model that goes on
        ("", ""),
        ("no program at all", "no program at all"),
    ],
)
def test_scripts(text: str, program: str) -> None:
    assert extract_program(text) == program


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("    return a + b\n", OPENING + "    return a + b\n"),  # goes on
        ("    return a + b\n\nThe end.", OPENING + "    return a + b\n\n"),
        ("    return a + b\n\n\ndef test():\n    assert add(1", OPENING + "    return a + b\n\n\n"),  # beyond its end
        (f"```python\n{WHOLE}```", WHOLE),  # begins anew
        (f"```python\n{WHOLE}```\nUse it:\n```python\nprint(add(1, 2))\n```", WHOLE),  # the block that defines it
        (
            f"```python\n{WHOLE}```\nBetter:\n```python\ndef add(a, b): return b + a\n```",
            "def add(a, b): return b + a\n",
        ),
        ("```python\n    return a + b\n```", OPENING + "    return a + b\n"),  # the body alone, in a fence
        ("```python\nadd = lambda a, b: a + b\n```", "add = lambda a, b: a + b\n"),
        ("```python\nasync def add(a, b): return a\n```", "async def add(a, b): return a\n"),
    ],
)
def test_functions(text: str, program: str) -> None:
    assert extract_program(text, opening=OPENING, function="add") == program


def test_a_method_is_looked_for_by_its_class() -> None:
    solution = "class Solution:\n    def add(self, a, b): return a + b\n"
    text = f"```python\n{solution}```\n```python\nprint(Solution().add(1, 2))\n```"
    assert extract_program(text, function="Solution.add") == solution


def test_a_function_may_be_a_method_of_solution() -> None:
    """Protects APPS, where a function may be called in the class `Solution`: the block with the class, not one that uses it."""
    solution = "class Solution:\n    x = 1\n\n    def add(self, a, b): return a + b\n"
    text = f"```python\n{solution}```\n```python\nprint(Solution().add(1, 2))\n```"
    assert extract_program(text, function="add") == solution


@given(st.text(), st.sampled_from(["", OPENING]), st.sampled_from(["", "add"]))
def test_any_text_has_a_program(text: str, opening: str, function: str) -> None:
    """Protects training from what a policy writes: extraction never raises, and what is Python by itself stays whole."""
    extracted = extract_program(text, opening=opening, function=function)
    if not opening and "```" not in text and "~~~" not in text and "\r" not in text and parses(text):
        assert extracted == text


def test_imports_from_the_future_stay_first() -> None:
    """Protects programs behind a prefix: such an import may stand nowhere else, on however many lines."""
    program = '"""Doc."""\nfrom __future__ import (\n    annotations,\n)\nx: int = y\n'
    space: dict[str, int] = {}
    exec(prepend("y = 3\n", program), space)
    assert space["x"] == 3
    assert prepend("y = 3\n", "x = y") == "y = 3\nx = y" and prepend("", program) == program
    assert prepend("y = 3\n", "from __future__ import (") == "y = 3\nfrom __future__ import ("


def test_an_import_stands_before_programs_that_use_it() -> None:
    """Protects APPS' programs that lean on `np`, and the speed of those that do not."""
    recipe = Recipe(ProgramTask("stdin"), prefix="import sys\n", imports={"np": "import numpy as np\n"})
    tests = [Test("", "5", recipe)]
    assert build_program("print(np.int64(5))", tests)[0].startswith("import sys\nimport numpy as np\nprint")
    assert "numpy" not in build_program("print(inp)", tests)[0]


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("class Solution\n" * 20_000, "f"),
        ("~~~python\nx = 1\n~~~\n" * 12_000, ""),
        ("x = 1\n" * 32_000 + ") (\n" * 200, ""),
        ("x = 1\n" * 400_000 + ") (\n" * 200, ""),
    ],
)
def test_a_long_answer_costs_the_judge_little(text: str, function: str) -> None:
    """Protects the judge's own process, in which answers are searched: each of these took it ten seconds and more, and the time
    grew with the square of the length."""
    before = time.process_time()
    extract_program(text, function=function)
    assert time.process_time() - before < 5.0


def test_a_method_of_solution_is_found_behind_other_classes() -> None:
    """Protects right answers of the class `Solution`, whatever stands between its name and the method."""
    program = "class Solution:\n    x = 1\n\n    def g(self): pass\n\n    def f(self): return 1\n"
    assert extract_program(f"```python\n{program}```\n```python\ng()\n```", function="f") == program
