"""Runs programs that nobody trusts, and judges them from outside.

The verdict is formed here, in the judge's process. A program produces nothing but bytes: it sees its input and never an
expected output, and no marker, exit code, file or pickle that it makes says that it passed.

Read `judging` (answers in, verdicts out), `answer` (the program in an answer), `verdict` (a program against its tests),
`compare` and `values` (what counts as the right answer), `wire` (how arguments and results cross), `process` (one sandboxed
process under its limits), `bubblewrap` (the walls around it).
"""
