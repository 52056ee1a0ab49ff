"""Testbeds whose answers are Python programs, which the sandbox judges.

Each data set has one module, which turns a record into an `Exercise`. To read this package, start with the modules
`exercise` (the form of a problem) and `testbed` (files, splits, opening). The module `preflab.sandbox.answer` finds the
program in an answer.
"""
