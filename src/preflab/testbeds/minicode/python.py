"""Translates minicode programs into Python code that follows `def f ( x ) :`, such as `x = sorted ( x ) ; return x`.

Each step becomes an assignment. White space separates all words, so that a model with one token per word can write the
program. The sandbox runs the translation as ordinary Python. On the tests of its problem, a translation has the same
outputs as the minicode program (preflab's test suite checks this). On other inputs, the minicode program can fail where
the translation has an output, because Python's integers have no bounds.
"""

from __future__ import annotations

from collections.abc import Mapping

from preflab.testbeds.minicode.language import OPERATORS

OPENING = "def f ( x ) : "
_VALUES: Mapping[str, str] = {
    "add": "{i} + {k}",
    "sub": "{i} - {k}",
    "mul": "{i} * {k}",
    "div": "{i} // {k}",
    "mod": "{i} % {k}",
    "cap": "min ( {i} , {k} )",
    "floor": "max ( {i} , {k} )",
    "abs": "abs ( {i} )",
    "neg": "- {i}",
    "square": "{i} * {i}",
    "sort": "sorted ( x )",
    "down": "sorted ( x ) [ : : -1 ]",
    "reverse": "x [ : : -1 ]",
    "unique": "list ( dict . fromkeys ( x ) )",
    "sums": "[ sum ( x [ : i + 1 ] ) for i in range ( len ( x ) ) ]",
    "gaps": "[ b - a for a , b in zip ( x , x [ 1 : ] ) ]",
    "other": "x [ : : 2 ]",
    "take": "x [ : {k} ]",
    "drop": "x [ {k} : ]",
    "tail": "x [ max ( len ( x ) - {k} , 0 ) : ]",
    "rotate": "x [ {k} % len ( x ) : ] + x [ : {k} % len ( x ) ] if x else x",
    "keep": "[ i for i in x if {c} ]",
    "reject": "[ i for i in x if not {c} ]",
    "sum": "sum ( x )",
    "len": "len ( x )",
    "count": "sum ( {c} for i in x )",
    "max": "max ( x )",
    "min": "min ( x )",
    "first": "x [ 0 ]",
    "last": "x [ -1 ]",
}
_CONDITIONS: Mapping[str, str] = {"even": "i % 2 == 0", "odd": "i % 2 == 1", ">": "i > {k}", "<": "i < {k}"}
_TEXTS = (OPENING, "x = ; return [ for i in x ]", *_VALUES.values(), *_CONDITIONS.values())
PYTHON_WORDS = tuple(dict.fromkeys(word for text in _TEXTS for word in text.split() if "{" not in word))
"""Every word that can occur in a translated program, except integers."""


def translate_program(program: str) -> str:
    """Translates a minicode program into the Python code that follows `OPENING`."""
    steps: list[str] = []
    alone = False  # whether x is a single integer, not a list, before this step
    for text in program.split(" | "):
        name, *words = text.split()
        operator = OPERATORS[name]
        number = words[-1] if words else ""
        condition = _CONDITIONS[words[0]].format(k=number) if operator.argument == "condition" else ""
        value = _VALUES[name].format(i="x" if alone else "i", k=number, c=condition)
        steps.append(f"x = [ {value} for i in x ]" if operator.shape == "each" and not alone else f"x = {value}")
        alone = alone or operator.shape == "fold"
    return " ; ".join([*steps, "return x"])
