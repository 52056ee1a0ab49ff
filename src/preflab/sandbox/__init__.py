"""Runs programs that nobody trusts, and judges them from outside.

The verdict is formed outside the sandbox, in the judge's process. A program produces only bytes. The program sees its input
and never an expected output. No marker, exit code, file or pickle that the program makes can say that the program passed.

Read the modules in this order: `judging` (takes answers, returns verdicts), `answer` (extracts the program from an answer),
`verdict` (judges a program by its tests), `compare` and `values` (decide what counts as the right answer), `wire` (encodes
arguments and results), `process` (runs one sandboxed process under its limits), `bubblewrap` (builds the walls around that
process).
"""
