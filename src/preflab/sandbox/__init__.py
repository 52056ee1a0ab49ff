"""Runs untrusted programs, and judges them from outside.

The verdict is formed outside the sandbox, in the judge's process. The program receives its input, but no expected
output, and returns only bytes. A program cannot pass a test by means of a marker, an exit code, a file or a pickle.

Read the modules in this order: `judging` (takes answers, returns verdicts), `answer` (extracts the program from an
answer), `verdict` (judges a program by its tests), `compare` and `values` (decide what counts as the right answer),
`wire` (encodes arguments and results), `process` (runs one sandboxed process under its limits), `bubblewrap` (isolates
that process). In the code, "walls" means what isolates a process.
"""
